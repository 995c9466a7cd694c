"""Configuration: file, environment and secrets, every mistake at once; and docs/configuration.md, which cannot drift.

`python tests/unit/test_config.py` writes the tables of docs/configuration.md and ratemill.example.toml anew.
"""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import pytest
from annotated_types import Ge, Gt, Le
from pydantic import BaseModel, SecretStr
from pydantic_core import PydanticUndefined
from ratemill.schemas.errors import BadConfig, BadInput
from ratemill.streams.config import Config, load_config

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "configuration.md"
EXAMPLE = ROOT / "ratemill.example.toml"
BEGIN, END = "<!-- settings: begin -->\n", "<!-- settings: end -->\n"
CANARY = 'canary "7f3a9" \u00fc'  # what JSON and the repr of bytes write otherwise
ENCODED = base64.b64encode(f"me:{CANARY}".encode()).decode()

SASL = {
    "RATEMILL_KAFKA__SECURITY_PROTOCOL": "SASL_SSL", "RATEMILL_KAFKA__SASL_MECHANISM": "SCRAM-SHA-512", "RATEMILL_KAFKA__USERNAME": "me",
    "RATEMILL_KAFKA__PASSWORD": CANARY,
}  # fmt: skip
API_KEY = {"RATEMILL_ELASTICSEARCH__API_KEY": CANARY}
BASIC = {"RATEMILL_ELASTICSEARCH__USERNAME": "me", "RATEMILL_ELASTICSEARCH__PASSWORD": CANARY}


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No ratemill.toml and no stack of the folder that the tests run in."""
    monkeypatch.chdir(tmp_path)


def mistakes(path: Path | None = None, **environment: str) -> list[str]:
    with pytest.raises(BadConfig) as raised:
        load_config(None if path is None else str(path), environment=environment)
    assert raised.value.exit_status == 2
    return raised.value.mistakes


def written(folder: Path, text: str) -> Path:
    path = folder / "some.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_without_anything_the_defaults_hold() -> None:
    assert load_config(environment={}) == Config()


def test_the_environment_beats_the_file_and_the_command_line_beats_both(tmp_path: Path) -> None:
    path = written(tmp_path, '[kafka]\nbootstrap = "127.0.0.1:1"\ngroup = "file"\npartitions = 7\n[worker]\nname = "file"\n')
    environment = {"RATEMILL_KAFKA__BOOTSTRAP": "127.0.0.1:2", "RATEMILL_WORKER__NAME": "env"}
    config = load_config(str(path), environment=environment, overrides={"worker": {"name": "option"}})
    assert (config.kafka.bootstrap, config.kafka.group, config.kafka.partitions, config.worker.name) == ("127.0.0.1:2", "file", 7, "option")


def test_the_file_here_is_found_and_the_named_one_beats_it(tmp_path: Path) -> None:
    Path("ratemill.toml").write_text('[kafka]\ngroup = "here"\n', encoding="utf-8")
    other = written(tmp_path, '[kafka]\ngroup = "named"\n')
    assert load_config(environment={}).kafka.group == "here"
    assert load_config(environment={"RATEMILL_CONFIG": str(other)}).kafka.group == "named"


def test_a_secret_can_stand_in_a_file_which_beats_the_plain_variable(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text(f"{CANARY}\n", encoding="utf-8")
    config = load_config(environment={**SASL, "RATEMILL_KAFKA__PASSWORD_FILE": str(secret), "RATEMILL_KAFKA__PASSWORD": "other"})
    assert config.kafka.password.get_secret_value() == CANARY
    config = load_config(environment={"RATEMILL_ELASTICSEARCH__API_KEY_FILE": str(secret)})  # a secret, though it ends like kafka.key_file
    assert config.elasticsearch.api_key.get_secret_value() == CANARY


def test_names_that_end_in_file_by_themselves_are_settings() -> None:
    names = ("KAFKA__CA_FILE", "KAFKA__CERT_FILE", "KAFKA__KEY_FILE", "ELASTICSEARCH__CA_FILE")
    tls = {"RATEMILL_KAFKA__SECURITY_PROTOCOL": "SSL", "RATEMILL_ELASTICSEARCH__URL": "https://127.0.0.1:9200"}
    config = load_config(environment={**tls, **{f"RATEMILL_{name}": f"/{name}" for name in names}})
    assert (config.kafka.ca_file, config.kafka.cert_file, config.kafka.key_file, config.elasticsearch.ca_file) == tuple(f"/{name}" for name in names)


def test_agents_are_a_list_in_the_environment() -> None:
    assert load_config(environment={"RATEMILL_WORKER__AGENTS": "rate, index"}).worker.agents == ("rate", "index")


def test_every_mistake_is_named_at_once(tmp_path: Path) -> None:
    path = written(tmp_path, "[kafka]\npartitions = 0\nbrokers = 1\n[rating]\nwindow_s = 7\n[sinks]\nx = 1\n")
    found = mistakes(
        path,
        RATEMILL_WORKER__AGENTS="rate,fly",
        RATEMILL_KAFKA__PASSWORD_FILE="nowhere",
        RATEMILL_NONSENSE="1",
        RATEMILL_ELASTICSEARCH__URL="localhost",
        RATEMILL_WORKER__METRICS_PORT="many",
    )
    wanted = [
        "kafka.partitions: ", "kafka.brokers: there is no such setting", "rating.window_s: must divide an hour", "sinks: there is no such setting",
        "worker.agents.1: ", "RATEMILL_KAFKA__PASSWORD_FILE: cannot read nowhere", "RATEMILL_NONSENSE: unknown", "elasticsearch.url: ",
        "worker.metrics_port: ",
    ]  # fmt: skip
    for text in wanted:
        assert sum(text in mistake for mistake in found) == 1, (text, found)
    assert len(found) == len(wanted)


def test_a_mistake_says_where_to_mend_it() -> None:
    assert mistakes(RATEMILL_KAFKA__PARTITIONS="x")[0].endswith("set it in the file or by RATEMILL_KAFKA__PARTITIONS")


@pytest.mark.parametrize(
    ("environment", "text"),
    [
        ({"RATEMILL_KAFKA__SECURITY_PROTOCOL": "SASL_SSL"}, "SASL needs sasl_mechanism, username and password"),
        ({"RATEMILL_RATING__MAX_EVENT_AGE_S": "99999999"}, "must not exceed dedupe_window_s"),
    ],
)
def test_settings_that_do_not_go_together(environment: dict[str, str], text: str) -> None:
    assert text in mistakes(**environment)[0]


# -- never silently in the clear -------------------------------------------------------------------------------------

OTHER = "kafka.example:9092"
CLEAR = "sends everything in the clear to another machine"
USELESS = "has no use for"


def secure(**settings: str) -> dict[str, str]:
    return {f"RATEMILL_{name}": value for name, value in settings.items()}


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        (secure(KAFKA__BOOTSTRAP=OTHER), CLEAR),
        (secure(KAFKA__BOOTSTRAP=f"127.0.0.1:9092,{OTHER}"), CLEAR),
        (secure(KAFKA__BOOTSTRAP="0.0.0.0:9092"), CLEAR),
        (secure(KAFKA__BOOTSTRAP="127.0.0.1.example:9092"), CLEAR),
        ({**SASL, **secure(KAFKA__BOOTSTRAP=OTHER, KAFKA__SECURITY_PROTOCOL="SASL_PLAINTEXT")}, CLEAR),
        (secure(ELASTICSEARCH__URL="http://es.example:9200"), CLEAR),
        ({**API_KEY, **secure(ELASTICSEARCH__URL="http://es.example:9200")}, CLEAR),
        ({**SASL, **secure(KAFKA__SECURITY_PROTOCOL="PLAINTEXT")}, USELESS),
        ({**SASL, **secure(KAFKA__SECURITY_PROTOCOL="SSL")}, USELESS),
        (secure(KAFKA__USERNAME="me"), USELESS),
        (secure(KAFKA__SASL_MECHANISM="PLAIN"), USELESS),
        (secure(KAFKA__PASSWORD=CANARY), USELESS),
        (secure(KAFKA__CA_FILE="/ca"), USELESS),
        (secure(KAFKA__CERT_FILE="/cert", KAFKA__KEY_FILE="/key"), USELESS),
        ({**SASL, **secure(KAFKA__SECURITY_PROTOCOL="SASL_PLAINTEXT", KAFKA__CA_FILE="/ca")}, USELESS),
        (secure(ELASTICSEARCH__CA_FILE="/ca"), USELESS),
        (secure(KAFKA__SECURITY_PROTOCOL="SSL", KAFKA__CERT_FILE="/cert"), "cert_file and key_file go together"),
        (secure(KAFKA__SECURITY_PROTOCOL="SSL", KAFKA__KEY_FILE="/key"), "cert_file and key_file go together"),
        ({**API_KEY, **BASIC}, "two ways to log in"),
        (secure(ELASTICSEARCH__USERNAME="me"), "username and password go together"),
        (secure(ELASTICSEARCH__PASSWORD=CANARY), "username and password go together"),
        (secure(ELASTICSEARCH__URL=f"https://me:{CANARY}@es.example:9200"), "must not hold a user name or password"),
        (secure(KAFKA__BOOTSTRAP=f"me:{CANARY}@{OTHER}"), "it must be host:port"),
        (secure(KAFKA__BOOTSTRAP="kafka.example"), "it must be host:port"),
    ],
)
def test_what_would_go_in_the_clear_or_be_ignored_is_refused(settings: dict[str, str], text: str) -> None:
    found = mistakes(**settings)
    assert len(found) == 1
    assert text in found[0]
    assert "7f3a9" not in found[0]


@pytest.mark.parametrize(
    "settings",
    [
        secure(KAFKA__BOOTSTRAP="localhost:9092,127.8.8.8:1,[::1]:2", ELASTICSEARCH__URL="http://[::1]:9200"),
        secure(KAFKA__BOOTSTRAP=OTHER, KAFKA__ALLOW_PLAINTEXT="true"),
        secure(KAFKA__BOOTSTRAP=OTHER, KAFKA__SECURITY_PROTOCOL="SSL", KAFKA__CERT_FILE="/cert", KAFKA__KEY_FILE="/key"),
        {**SASL, **secure(KAFKA__BOOTSTRAP=OTHER, KAFKA__CA_FILE="/ca")},
        {**SASL, **secure(KAFKA__BOOTSTRAP=OTHER, KAFKA__SECURITY_PROTOCOL="SASL_PLAINTEXT", KAFKA__ALLOW_PLAINTEXT="true")},
        {**BASIC, **secure(ELASTICSEARCH__URL="http://es.example:9200", ELASTICSEARCH__ALLOW_PLAINTEXT="true")},
        {**API_KEY, **secure(ELASTICSEARCH__URL="https://es.example:9200", ELASTICSEARCH__CA_FILE="/ca")},
    ],
)
def test_what_is_meant_is_accepted(settings: dict[str, str]) -> None:
    load_config(environment=settings)


@pytest.mark.parametrize("text", ["[kafka", "kafka = \xff"])
def test_a_file_that_is_no_toml(tmp_path: Path, text: str) -> None:
    path = tmp_path / "bad.toml"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(BadInput, match=r"it must be TOML in UTF-8"):
        load_config(str(path), environment={})


def test_a_file_that_is_not_there() -> None:
    with pytest.raises(BadInput, match="give the right path"):
        load_config("nowhere.toml", environment={})


@pytest.mark.parametrize("login", [API_KEY, BASIC])
def test_secrets_are_in_no_text_of_the_configuration(login: dict[str, str]) -> None:
    config = load_config(environment={**SASL, **login})
    assert "7f3a9" not in repr(config) + str(config) + config.model_dump_json() + repr(config.model_dump())
    assert config.kafka.password.get_secret_value() == CANARY
    assert "7f3a9" in repr(config.elasticsearch.access)  # what is handed to the client


def test_every_setting_that_sounds_secret_is_one() -> None:
    for section, name, field in settings():
        if any(word in name for word in ("password", "secret", "token", "api_key")):
            assert field.annotation is SecretStr, f"{section}.{name}"


def test_secrets_are_in_no_mistake(tmp_path: Path) -> None:
    lines = ["[kafka]", 'password = ["?"]', 'security_protocol = "?"', "[elasticsearch]", 'api_keys = "?"', 'url = "?"', "api_key = 7"]
    path = written(tmp_path, "\n".join(lines).replace("?", "canary-7f3a9"))
    assert "7f3a9" not in "\n".join(mistakes(path, RATEMILL_KAFKA__PARTITIONS=CANARY))


@pytest.mark.parametrize("log_format", ["json", "text"])
def test_secrets_do_not_reach_the_logs(log_format: str) -> None:
    script = f"""
import logging, structlog
from ratemill.streams.config import load_config
from ratemill.streams.logs import set_up_logs
config = load_config(environment={{**{SASL!r}, **{BASIC!r}, "RATEMILL_WORKER__LOG_FORMAT": {log_format!r}}})
set_up_logs(config)
log = structlog.get_logger("ratemill.test")
canary = {CANARY!r}
log.info("starts", config=config, kafka=config.kafka, password=canary, api_key=canary, sasl_plain_password=canary)
log.info("header", Authorization=canary)
log.warning("refused", url="https://me:other-7f3a9@host:9200/x")
logging.getLogger("other.library").warning("config is %r", config)
logging.getLogger("aiokafka").error("SaslAuthenticateRequest(sasl_auth_bytes=%r)", b"\\0me\\0" + canary.encode())
logging.getLogger("http").error("Authorization: Basic %s", "{ENCODED}")
try:
    raise ValueError("cannot use " + canary)
except ValueError:
    log.critical("crashed", exc_info=True)
log.info("seen", marker="visible")
"""
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert "visible" in said.stderr  # else nothing at all was logged
    assert "host:9200" in said.stderr
    assert "7f3a9" not in said.stderr + said.stdout
    assert ENCODED not in said.stderr
    if log_format == "json":
        levels = ["info", "info", "warning", "warning", "error", "error", "critical", "info"]
        assert [json.loads(line)["level"] for line in said.stderr.splitlines()] == levels


FRAMES = ["", "*", "https:", "none", "'none' 'self'", "https://a.example; script-src *", "https://a.example,b", "http://a.example"]
ADDRESSES = ["costs.example.com", "javascript:alert(1)", "https://costs.example.com/#x", "https://me@costs.example.com"]


@pytest.mark.parametrize(("setting", "value"), [*(("frame_ancestors", v) for v in FRAMES), *(("public_url", v) for v in ADDRESSES)])
def test_what_a_browser_is_told_is_checked(setting: str, value: str) -> None:
    (mistake,) = mistakes(**{f"RATEMILL_API__{setting.upper()}": value})
    assert setting in mistake


# -- docs/configuration.md -------------------------------------------------------------------------------------------


def settings() -> list[tuple[str, str, Any]]:
    sections = [(name, field.annotation) for name, field in Config.model_fields.items()]
    return [(section, name, field) for section, model in sections if issubclass(model, BaseModel) for name, field in model.model_fields.items()]


def kind(field: Any) -> str:
    """What a setting may be."""
    if get_origin(field.annotation) is Literal:
        return ", ".join(f"`{value}`" if value else "empty" for value in get_args(field.annotation))
    if field.annotation is SecretStr:
        return "secret text"
    if field.annotation is bool:
        return "`true`, `false`"
    words = {int: "whole number", float: "number", str: "text"}.get(field.annotation, "list")
    signs = {Ge: "≥ {ge:,}", Gt: "> {gt:,}", Le: "≤ {le:,}"}
    bounds = [signs[type(b)].format(**{k: getattr(b, k) for k in ("ge", "gt", "le") if hasattr(b, k)}) for b in field.metadata if type(b) in signs]
    return " ".join([words, *([f"({', '.join(bounds)})"] if bounds else [])])


def default_of(field: Any) -> str:
    if field.annotation is SecretStr or field.default == "":
        return ""
    if field.default is PydanticUndefined:
        return "the four topics below"
    if field.annotation is bool:
        return f"`{str(field.default).lower()}`"
    return f"`{','.join(field.default) if isinstance(field.default, tuple) else field.default}`"


def tables() -> str:
    """The generated part of docs/configuration.md."""
    lines: list[str] = []
    section = ""
    for now, name, field in settings():
        if now != section:
            section = now
            lines += ["", f"## [{section}]", "", "| setting | environment | what may stand there | default | meaning |", "|---|---|---|---|---|"]
        variable = "" if name == "raw_topics" else f"`RATEMILL_{section.upper()}__{name.upper()}`"
        lines.append(f"| `{name}` | {variable} | {kind(field)} | {default_of(field)} | {field.description} |")
    return "\n".join(lines).lstrip("\n") + "\n"


def test_every_setting_says_what_it_is() -> None:
    assert [f"{section}.{name}" for section, name, field in settings() if not field.description] == []


def test_the_documentation_lists_every_setting_as_it_is() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert text.split(BEGIN)[1].split(END)[0] == tables(), "run: python tests/unit/test_config.py"


def test_the_example_file_is_valid_and_lists_every_default() -> None:
    assert load_config(str(EXAMPLE), environment={}) == Config()
    assert EXAMPLE.read_text(encoding="utf-8") == example(), "run: python tests/unit/test_config.py"


def example() -> str:
    """ratemill.example.toml."""
    lines = ["# Every setting with its default. Copy it to ratemill.toml and keep what differs; docs/configuration.md explains each."]
    section = ""
    for now, name, field in settings():
        if now != section:
            section = now
            lines += ["", f"[{section}]"]
        if name == "raw_topics":
            continue
        secret = field.annotation is SecretStr
        value = "" if secret else list(field.default) if isinstance(field.default, tuple) else field.default
        lines.append(f"{'#' if secret else ''}{name} = {json.dumps(value)}  # {field.description}")
    lines += ["", "# Topics that collectors publish to. Without any: usage.raw.aws, .gcp, .azure and .cloudevents."]
    lines += [f"# {line}" for line in ("[[kafka.raw_topics]]", 'name = "usage.raw.aws"', 'provider = "aws"', 'keyed_by = ""')]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    head, rest = PAGE.read_text(encoding="utf-8").split(BEGIN)
    PAGE.write_text(head + BEGIN + tables() + END + rest.split(END)[1], encoding="utf-8")
    EXAMPLE.write_text(example(), encoding="utf-8")
