"""What `ratemill api` has of Kafka and of the rating core: implementations of `api.ports`, with the code of the commands."""
