"""The HTTP interface: usage in, costs out. It knows Kafka and Elasticsearch by what it is given, and rates nothing itself."""
