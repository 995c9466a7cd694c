"""Ratemill against a simulated Kafka, disk, clock and Elasticsearch, everything drawn from one seed (docs/simulation.md)."""
