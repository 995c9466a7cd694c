"""What the embedded stack is made of: the one place where its versions stand.

After a change, run `python -m ratemill.local.resolve` once: it writes the new checksums to `artifacts.json`,
without which nothing that was downloaded is started.
"""

from __future__ import annotations

__all__ = ["ELASTICSEARCH", "ELASTICSEARCH_ARTIFACT", "KAFKA", "KAFKA_ARTIFACTS", "MAVEN_CENTRAL", "NETTY_ARTIFACT"]

KAFKA = "4.4.0"
ELASTICSEARCH = "9.5.3"
SCALA = "2.13"  # Kafka names its server jar after it
SLF4J = "1.7.36"  # the slf4j-api that Kafka brings; without a binding of the same version the broker logs nothing at all

KAFKA_ARTIFACTS = (f"org.apache.kafka:kafka_{SCALA}:{KAFKA}", f"org.slf4j:slf4j-simple:{SLF4J}")
ELASTICSEARCH_ARTIFACT = f"org.elasticsearch:elasticsearch:{ELASTICSEARCH}"
NETTY_ARTIFACT = f"org.elasticsearch.plugin:transport-netty4:{ELASTICSEARCH}"  # the HTTP and transport layer

MAVEN_CENTRAL = "https://repo.maven.apache.org/maven2"
