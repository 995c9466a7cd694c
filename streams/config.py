"""Configuration: a TOML file, then the environment (`RATEMILL_…`, `…_FILE` for secrets), checked as a whole at start.

Environment names follow the file: `[kafka] bootstrap` is `RATEMILL_KAFKA__BOOTSTRAP`. Every mistake is listed at once.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator, model_validator

from ..schemas.addresses import is_here
from ..schemas.errors import BadConfig, BadInput
from ..schemas.limits import Limits
from ..sinks.access import CLEAR, address, check_kafka, servers

__all__ = [
    "ApiConfig", "Config", "ElasticsearchConfig", "KafkaConfig", "MarketplaceConfig", "RatingConfig", "RawTopic", "WatchConfig", "WorkerConfig",
    "load_config",
]  # fmt: skip

ENVIRONMENT = "RATEMILL_"
# Set in the environment but not in the file: the file itself, where the embedded stack has its downloads from and keeps them, and whether compiled
# loops are used (native).
NOT_SETTINGS = frozenset({"CONFIG", "CACHE_DIR", "JAVA_OPTIONS", "MAVEN_URL", "NATIVE"})
_LISTS = ("agents", "expected_sources")  # in the environment with commas between


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class RawTopic(_Section):
    """One topic that collectors publish to."""

    name: str = Field(pattern=r"^[a-zA-Z0-9._-]{1,200}$")
    provider: Literal["cloudevents", "aws", "gcp", "azure"] = "cloudevents"
    keyed_by: Literal["", "account"] = ""  # "account": co-partitioned with usage.events, rated without a hop


def _default_raw() -> tuple[RawTopic, ...]:
    return tuple(RawTopic(name=f"usage.raw.{p}", provider=p) for p in ("aws", "gcp", "azure", "cloudevents"))



class KafkaConfig(_Section):
    """How to reach Kafka, and the topics."""

    bootstrap: str = Field(default="127.0.0.1:9092", description="host:port, several separated by commas")
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(default="PLAINTEXT", description="how to connect")
    allow_plaintext: bool = Field(default=False, description="without TLS to other machines too: only where nobody else can listen")
    sasl_mechanism: Literal["", "PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = Field(default="", description="needed with SASL_…")
    username: str = Field(default="", description="needed with SASL_…")
    password: SecretStr = Field(default=SecretStr(""), description="needed with SASL_…; better by …_FILE")
    ca_file: str = Field(default="", description="certificates to trust (PEM); empty: those of the system")
    cert_file: str = Field(default="", description="client certificate (PEM)")
    key_file: str = Field(default="", description="its private key (PEM)")
    partitions: int = Field(default=4, ge=1, le=1_000, description="of every topic that is made; frozen once usage was rated")
    replication_factor: int = Field(default=1, ge=1, le=9, description="of every topic that is made; 3 in production")
    topic_prefix: str = Field(default="", pattern=r"^[a-zA-Z0-9._-]{0,100}$", description="put before every topic name: several Ratemills on a Kafka")
    group: str = Field(default="ratemill", pattern=r"^[a-zA-Z0-9._-]{1,200}$", description="consumer group of all workers, behind the prefix")
    session_timeout_s: float = Field(default=10.0, ge=1, le=300, description="a worker silent for so long loses its partitions")
    raw_topics: tuple[RawTopic, ...] = Field(default_factory=_default_raw, description="what collectors publish to; in the file only, see below")

    @field_validator("bootstrap")
    @classmethod
    def _addresses(cls, value: str) -> str:
        servers(value)
        return value

    @property
    def group_id(self) -> str:
        """Consumer group of all workers of this Ratemill."""
        return self.topic_prefix + self.group

    @model_validator(mode="after")
    def _secure(self) -> KafkaConfig:
        check_kafka(self, self.password.get_secret_value())
        if len({t.name for t in self.raw_topics}) != len(self.raw_topics):
            raise ValueError("raw_topics: a name is there twice")
        return self


class ElasticsearchConfig(_Section):
    """How to reach Elasticsearch."""

    url: str = Field(default="http://127.0.0.1:9200", description="address, with port")
    allow_plaintext: bool = Field(default=False, description="http to other machines too: only where nobody else can listen")
    api_key: SecretStr = Field(default=SecretStr(""), description="how to log in; better by …_FILE")
    username: str = Field(default="", description="how to log in without an API key")
    password: SecretStr = Field(default=SecretStr(""), description="of username; better by …_FILE")
    ca_file: str = Field(default="", description="certificates to trust (PEM); empty: those of the system")
    refresh_interval_s: float = Field(
        default=0.5, ge=0.1, le=60, description="how soon a search finds what was written, at a cost to Elasticsearch; of indices made from then on"
    )
    index_prefix: str = Field(default="ratemill", pattern=r"^[a-z0-9][a-z0-9._-]{0,60}$", description="first part of every index name")

    @field_validator("url")
    @classmethod
    def _address(cls, value: str) -> str:
        address(value)
        return value

    @property
    def refresh_interval(self) -> str:
        """As Elasticsearch and `ElasticsearchSink` take it."""
        return f"{round(self.refresh_interval_s * 1_000)}ms"

    @property
    def access(self) -> dict[str, Any]:
        """How to log in, as `sinks.elasticsearch.connect` and `ElasticsearchSink` take it."""
        return {
            "api_key": self.api_key.get_secret_value() or None,
            "basic_auth": (self.username, self.password.get_secret_value()) if self.username else None,
            "ca_file": self.ca_file,
        }

    @model_validator(mode="after")
    def _secure(self) -> ElasticsearchConfig:
        parts = address(self.url)
        if self.api_key.get_secret_value() and (self.username or self.password.get_secret_value()):
            raise ValueError("api_key and username are two ways to log in; set one of them")
        if bool(self.username) != bool(self.password.get_secret_value()):
            raise ValueError("username and password go together; set both, or none")
        if parts.scheme == "http" and self.ca_file:
            raise ValueError("an http address has no use for ca_file; make it https, or remove ca_file")
        if parts.scheme == "http" and not is_here(parts.hostname or "") and not self.allow_plaintext:
            raise ValueError(f"an http address {CLEAR}; make it https, or set allow_plaintext = true if you mean it")
        return self


class RatingConfig(_Section):
    """What counts, and for how long."""

    window_s: int = Field(default=3_600, description="length of a usage window in seconds; divides an hour")
    dedupe_window_s: int = Field(default=35 * 86_400, ge=60, description="how long an identity is remembered, from arrival")
    max_event_age_s: int = Field(default=0, ge=0, description="0: the dedupe window; never longer, or a replay could count twice")
    max_clock_skew_s: int = Field(default=300, ge=0, le=86_400, description="how far ahead of our clock an event may be")
    max_record_bytes: int = Field(default=1 << 20, ge=1_024, le=16 << 20, description="a larger record goes to the dead letters, whole")
    max_header_bytes: int = Field(default=1 << 16, ge=1_024, le=1 << 20, description="the same for the Kafka headers of a record")
    max_events_per_record: int = Field(default=10_000, ge=1, le=100_000, description="a record with more goes to the dead letters, whole")
    max_depth: int = Field(default=32, ge=8, le=100, description="brackets open at once in the JSON of a record")
    max_dimensions: int = Field(default=64, ge=0, le=1_000, description="dimensions of an event, and its tags; an event with more is rejected")
    max_map_chars: int = Field(default=1 << 16, ge=1_024, le=1 << 18, description="characters of all dimensions of an event, and of its tags")
    cached_entries: int = Field(default=1_000_000, ge=1_000, description="windows kept in memory, over all partitions of a worker")
    commit_interval_s: float = Field(default=1.0, gt=0, le=60, description="longest time between two transactions of a busy partition")
    catch_up_interval_s: float = Field(default=10.0, gt=0, le=60, description="seconds between commits while far behind: fewer restated line items")
    commit_events: int = Field(default=150_000, ge=100, description="commit sooner once so many events wait")

    @field_validator("window_s")
    @classmethod
    def _divides(cls, value: int) -> int:
        if value <= 0 or 3_600 % value:
            raise ValueError("must divide an hour: 60, 300, 900, 3600, …")
        return value

    @model_validator(mode="after")
    def _remembers(self) -> RatingConfig:
        if self.max_event_age_s > self.dedupe_window_s:
            raise ValueError("max_event_age_s must not exceed dedupe_window_s, or a replayed event could count twice")
        return self

    @property
    def event_age_s(self) -> int:
        """Greatest age in seconds at which a live event still counts."""
        return self.max_event_age_s or self.dedupe_window_s

    @property
    def limits(self) -> Limits:
        """Bounds of what is decoded and accepted."""
        return Limits(
            max_record_bytes=self.max_record_bytes,
            max_header_bytes=self.max_header_bytes,
            max_events_per_record=self.max_events_per_record,
            max_depth=self.max_depth,
            max_dimensions=self.max_dimensions,
            max_map_chars=self.max_map_chars,
            max_clock_skew_s=self.max_clock_skew_s,
            max_event_age_s=self.event_age_s,
        )


class WorkerConfig(_Section):
    """One worker process."""

    agents: tuple[Literal["normalize", "rate", "index"], ...] = Field(default=("normalize", "rate", "index"), description="what this worker does")
    data_dir: str = Field(default=".ratemill/worker", description="local state; may be lost, and is then restored from Kafka")
    name: str = Field(default="", description="stable name of this worker; default: host name and data folder")
    keep_lost_state_s: int = Field(default=3_600, ge=0, description="seconds until the state of a partition that another worker has is deleted here")
    metrics_port: int = Field(default=0, ge=0, le=65_535, description="0: no metrics endpoint")
    metrics_host: str = Field(default="127.0.0.1", description="address that the metrics endpoint listens on")
    log_level: Literal["debug", "info", "warning", "error"] = Field(default="info", description="least level that is logged")
    log_format: Literal["auto", "json", "text"] = Field(default="auto", description="auto: text on a terminal, else JSON")


_GOOGLE_KEYS = "https://www.googleapis.com/oauth2/v3/certs"
_ORIGIN = r"(https://(\*\.)?[A-Za-z0-9.-]+|http://(localhost|127\.0\.0\.1))(:[0-9]{1,5})?"
_WEB_ADDRESS = r"^(https?://[^\s/?#@]+(/[^\s?#]*)?)?$"
_FRAMES = rf"^('none'|('self'|{_ORIGIN})( ('self'|{_ORIGIN}))*)$"  # nothing that could end the directive, or begin another one


class ApiConfig(_Section):
    """The HTTP interface."""

    host: str = Field(default="127.0.0.1", description="address to listen on")
    port: int = Field(default=8321, ge=0, le=65_535, description="port to listen on; 0: any that is free")
    database: SecretStr = Field(
        default=SecretStr("sqlite:///.ratemill/api.db"),
        description="tokens and the like: sqlite:///FILE or postgresql://USER:PASSWORD@HOST/NAME; better by …_FILE",
    )
    max_body_bytes: int = Field(default=8 << 20, ge=1_024, le=256 << 20, description="of a request, unpacked; a larger one is answered 413")
    max_events: int = Field(default=10_000, ge=1, le=100_000, description="of a request; one with more is answered 413")
    max_waiting_bytes: int = Field(default=64 << 20, ge=1 << 20, description="of all requests that send usage now; beyond that: 429")
    public_url: str = Field(default="", pattern=_WEB_ADDRESS, description="where browsers find the cost page; empty: where a request for a link went")
    frame_ancestors: str = Field(default="'none'", pattern=_FRAMES, description="who may show the page in a frame: origins with blanks between")
    allow_private_webhooks: bool = Field(default=False, description="alerts may go to http, and to addresses that are not public ones")

    pubsub_audience: str = Field(default="", description="audience of the Pub/Sub push subscription, as it stands there; empty: none pushes here")
    pubsub_email: str = Field(default="", description="service account whose token the subscription sends; goes with pubsub_audience")
    pubsub_keys_url: str = Field(default=_GOOGLE_KEYS, pattern=_WEB_ADDRESS, description="where Google publishes the keys that sign these tokens")

    @model_validator(mode="after")
    def _fits(self) -> ApiConfig:
        if bool(self.pubsub_audience) != bool(self.pubsub_email):
            raise ValueError("pubsub_audience and pubsub_email go together; set both, or none")
        if self.max_waiting_bytes < 2 * self.max_body_bytes:
            raise ValueError("max_waiting_bytes must be at least twice max_body_bytes, or the largest request would never find room")
        return self


class WatchConfig(_Section):
    """The watcher: alerts and completeness."""

    interval_s: float = Field(default=15.0, ge=0.1, le=3_600, description="between two looks at the costs that alert rules are about")
    lease_s: float = Field(default=30.0, ge=1, le=600, description="of several watchers another one takes over from one silent for so long")
    webhook_timeout_s: float = Field(default=10.0, ge=0.1, le=60, description="for one try to deliver an alert; at most a third of lease_s")
    expected_sources: tuple[str, ...] = Field(default=(), description="sources that are silent also when they were never heard of")
    metrics_port: int = Field(default=0, ge=0, le=65_535, description="0: no metrics endpoint")
    metrics_host: str = Field(default="127.0.0.1", description="address that the metrics endpoint listens on")

    @model_validator(mode="after")
    def _fits(self) -> WatchConfig:
        if self.lease_s < 3 * self.webhook_timeout_s:
            raise ValueError("lease_s must be at least three times webhook_timeout_s, so that no try outlives the lease")
        return self


class MarketplaceConfig(_Section):
    """The reporter to marketplaces."""

    listings: str = Field(default="", description="file with listings and customers (docs/marketplaces.md); empty: nothing is reported")
    settle_s: int = Field(default=600, ge=0, le=3_000, description="so long after its end an hour is left open for usage that is rated late")
    lease_s: float = Field(default=90.0, ge=1, le=600, description="of several reporters another one takes over from one silent for so long")
    timeout_s: float = Field(default=30.0, ge=0.1, le=60, description="for one request; at most a third of lease_s")
    azure_tenant: str = Field(default="", description="directory that the application of the offer is registered in")
    azure_client_id: str = Field(default="", description="id of that application")
    azure_client_secret: SecretStr = Field(default=SecretStr(""), description="its secret; better by …_FILE")
    azure_login_url: str = Field(default="https://login.microsoftonline.com", description="where its tokens come from")
    gcp_access_file: str = Field(default="", description="file with an access token that somebody keeps fresh; empty: that of the metadata server")
    gcp_metadata_url: str = Field(default="http://metadata.google.internal", description="the metadata server")
    stripe_api_key: SecretStr = Field(default=SecretStr(""), description="key that may write meter events; better by …_FILE")
    metrics_port: int = Field(default=0, ge=0, le=65_535, description="0: no metrics endpoint")
    metrics_host: str = Field(default="127.0.0.1", description="address that the metrics endpoint listens on")

    @model_validator(mode="after")
    def _fits(self) -> MarketplaceConfig:
        if self.lease_s < 3 * self.timeout_s:
            raise ValueError("lease_s must be at least three times timeout_s, so that no try outlives the lease")
        for name, url in (("azure_login_url", self.azure_login_url), ("gcp_metadata_url", self.gcp_metadata_url)):
            host = urlsplit(url).hostname or ""
            if not url.startswith("https://") and not is_here(host) and host != "metadata.google.internal":
                raise ValueError(f"{name} {CLEAR}; make it https")
        return self


class Config(_Section):
    """All settings."""

    kafka: KafkaConfig = KafkaConfig()
    elasticsearch: ElasticsearchConfig = ElasticsearchConfig()
    rating: RatingConfig = RatingConfig()
    worker: WorkerConfig = WorkerConfig()
    api: ApiConfig = ApiConfig()
    watch: WatchConfig = WatchConfig()
    marketplace: MarketplaceConfig = MarketplaceConfig()


def load_config(path: str | None = None, environment: Mapping[str, str] | None = None, overrides: Mapping[str, Any] | None = None) -> Config:
    """Configuration from a file (default: `ratemill.toml` here, if there), the environment, then `overrides` ({"kafka": {…}}).

    Without any address given, a stack that `ratemill local up` left in `.ratemill/local` is used. Raises BadConfig.
    """
    environment = os.environ if environment is None else environment
    chosen = path or environment.get(ENVIRONMENT + "CONFIG") or ""
    data: dict[str, Any] = _local_stack()
    mistakes: list[str] = []
    if chosen or Path("ratemill.toml").is_file():
        _merge(data, _read_toml(Path(chosen or "ratemill.toml")))
    _merge(data, _from_environment(environment, mistakes))
    _merge(data, overrides or {})
    try:
        config = Config.model_validate(data)
    except ValidationError as error:
        mistakes += [_in_words(dict(e)) for e in error.errors(include_url=False, include_input=False)]
    if mistakes:
        raise BadConfig([f"configuration: {m}" for m in mistakes])
    return config


def _in_words(error: dict[str, Any]) -> str:
    loc = error["loc"]
    where = ".".join(str(part) for part in loc)
    said = error["msg"].removeprefix("Value error, ")
    if error["type"] == "extra_forbidden":
        return f"{where}: there is no such setting; remove it, or see docs/configuration.md for its name"
    if len(loc) == 1 and loc[0] in Config.model_fields:  # settings of a section that do not go together
        return f"{where}: {said}; change it in the file or by {ENVIRONMENT}{where.upper()}__…"
    if len(loc) < 2 or loc[1] == "raw_topics" or loc[0] not in Config.model_fields:
        return f"{where or '(all)'}: {said}; change it in the file"  # what the environment has no name for
    return f"{where}: {said}; set it in the file or by {ENVIRONMENT}{'__'.join(str(part).upper() for part in loc[:2])}"


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadInput(f"configuration file {path}: {error.strerror}; give the right path by --config or {ENVIRONMENT}CONFIG") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadInput(f"configuration file {path}: {error}; it must be TOML in UTF-8") from error


def _from_environment(environment: Mapping[str, str], mistakes: list[str]) -> dict[str, Any]:
    data: dict[str, Any] = {}
    for name, value in sorted(environment.items()):
        if not name.startswith(ENVIRONMENT) or name[len(ENVIRONMENT) :] in NOT_SETTINGS:
            continue
        key = name[len(ENVIRONMENT) :]
        if key.endswith("_FILE") and not key.lower().endswith(("__ca_file", "__cert_file", "__key_file", "__gcp_access_file")):
            try:
                value = Path(value).read_text(encoding="utf-8").strip()
            except OSError as error:
                mistakes.append(f"{name}: cannot read {value}: {error.strerror}")
                continue
            key = key[: -len("_FILE")]
        section, _, field = key.lower().partition("__")
        if not field:
            mistakes.append(f"{name}: unknown; names are {ENVIRONMENT}SECTION__SETTING, such as {ENVIRONMENT}KAFKA__BOOTSTRAP")
            continue
        data.setdefault(section, {})[field] = tuple(v.strip() for v in value.split(",")) if field in _LISTS else value
    return data


def _local_stack() -> dict[str, Any]:
    from ..local.stack import read_stack

    found = read_stack(Path(".ratemill/local"))
    return {} if found is None else {"kafka": {"bootstrap": found.kafka}, "elasticsearch": {"url": found.elasticsearch}}


def _merge(into: dict[str, Any], more: Mapping[str, Any]) -> None:
    for key, value in more.items():
        if isinstance(value, Mapping) and isinstance(into.get(key), dict):
            _merge(into[key], value)
        else:
            into[key] = dict(value) if isinstance(value, Mapping) else value
