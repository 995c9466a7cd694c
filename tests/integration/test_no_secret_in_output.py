"""No secret is printed: not at level debug, not when a log-in fails, not by a crash, not in metrics or a list of processes."""

from __future__ import annotations

import base64
import sys
import urllib.request
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
import trustme
from harness.commands import COMMAND, Commands, leaks
from harness.documented import elasticsearch_rights
from harness.jobs import do_a_job, write_job
from harness.secure_elasticsearch import SecureElasticsearch, api_key, basic
from harness.secure_kafka import PLAIN_PASSWORD, SecureKafka
from ratemill.local.ports import free_ports
from ratemill.local.stack import Stack

pytestmark = pytest.mark.integration

# In PLAIN the password itself is in a request, which the client prints at level debug.
KEY, PASSWORD = 'canary "key" ü', "canary-password-5b"


@pytest.fixture
def commands(stack: Stack, secure_kafka: SecureKafka, tmp_path: Path) -> Callable[..., Commands]:
    name = f"can{uuid.uuid4().hex[:8]}"
    write_job(tmp_path)

    def make(url: str = "https://127.0.0.1:1", **changes: str) -> Commands:
        settings = {
            "KAFKA__BOOTSTRAP": secure_kafka.address("SECURE"), "KAFKA__SECURITY_PROTOCOL": "SASL_SSL", "KAFKA__SASL_MECHANISM": "PLAIN",
            "KAFKA__USERNAME": "plain", "KAFKA__PASSWORD": PLAIN_PASSWORD, "KAFKA__CA_FILE": str(secure_kafka.ca_file),
            "KAFKA__TOPIC_PREFIX": f"{name}.", "KAFKA__PARTITIONS": "2", "ELASTICSEARCH__URL": url,
            "ELASTICSEARCH__INDEX_PREFIX": name, "ELASTICSEARCH__API_KEY": api_key(KEY), "RATING__COMMIT_INTERVAL_S": "0.2",
            "WORKER__LOG_LEVEL": "debug",
        }  # fmt: skip
        return Commands(tmp_path, {**settings, **changes}, [PLAIN_PASSWORD, KEY, PASSWORD, api_key(KEY)])

    return make


def test_a_job_at_level_debug_prints_no_secret(commands: Callable[..., Commands], stack: Stack, tmp_path: Path) -> None:
    authority, port = trustme.CA(), free_ports(1)[0]
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    c = commands()
    roles = {f"ApiKey {api_key(KEY)}": elasticsearch_rights("worker", c.settings["ELASTICSEARCH__INDEX_PREFIX"])}
    roles = {header: role._replace(indices={name: has | {"read"} for name, has in role.indices.items()}) for header, role in roles.items()}
    roles[basic("me", PASSWORD)] = next(iter(roles.values()))
    with SecureElasticsearch(stack.elasticsearch, authority.issue_cert("127.0.0.1"), roles) as es:
        c = commands(es.url, ELASTICSEARCH__CA_FILE=str(tmp_path / "ca.pem"), WORKER__METRICS_PORT=str(port))
        with c.worker(command=(*COMMAND, "worker")) as worker:  # one with a command line of its own
            do_a_job(c, worker)
            for line in ("doctor", "doctor --json", "control list", "prices history"):
                assert c.run(*line.split()).status == 0
            running = worker.running
            command_line = Path(f"/proc/{running.pid}/cmdline").read_text()
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
                metrics = answer.read().decode()
            assert "ratemill_line_items_indexed_total" in metrics
            assert leaks(command_line + metrics, c.secrets) == []
            assert "SaslAuthenticateRequest" in worker.text  # what would hold the password is printed
            assert "***" in worker.text
        basic_auth = {"ELASTICSEARCH__API_KEY": None, "ELASTICSEARCH__USERNAME": "me", "ELASTICSEARCH__PASSWORD": PASSWORD}
        with c.worker(name="basic", **basic_auth) as worker:
            worker.wait_for('"partition_owned"')
        assert c.run("costs", **basic_auth).status == 0


def test_failed_log_ins_and_mistakes_print_no_secret(commands: Callable[..., Commands], stack: Stack) -> None:
    for changes in (
        {"KAFKA__USERNAME": "nobody"}, {"KAFKA__SECURITY_PROTOCOL": "PLAINTEXT"}, {"KAFKA__PARTITIONS": PLAIN_PASSWORD},
        {"KAFKA__BOOTSTRAP": f"me:{PLAIN_PASSWORD}@host:1"}, {"ELASTICSEARCH__URL": f"http://me:{PASSWORD}@127.0.0.1:1"},
        {"ELASTICSEARCH__USERNAME": "me"}, {"KAFKA__PASSWORD_FILE": "nowhere"}, {"KAFKA__CA_FILE": "nowhere"}, {"KAFKA__BOOTSTRAP": stack.kafka},
    ):  # fmt: skip
        c = commands(**changes)
        for line in ("doctor", "publish usage.ndjson", "costs"):
            said = c.run(*line.split())
            assert said.status in (1, 2), (changes, said)
            assert "Traceback" not in said.err
        with c.worker(name="mistaken") as worker:
            said = worker.ended()
        assert said.status in (1, 2)
    said = commands().run("costs", "--elasticsearch", f"http://me:{PASSWORD}@127.0.0.1:1")
    assert said.status == 2


CRASH = """
import asyncio
from ratemill.streams import app, config, worker
loaded = config.load_config()
async def run(self, stop):
    raise ValueError(f"cannot use {loaded.kafka.password.get_secret_value()} and {loaded.elasticsearch.access}")
app.RatemillWorker.run = run
worker.run_worker(loaded)
"""


def test_a_crash_prints_its_traceback_without_secrets(commands: Callable[..., Commands]) -> None:
    with commands().worker(command=(sys.executable, "-c", CRASH)) as worker:
        said = worker.ended()
    assert said.status == 70
    assert "worker_crashed" in said.err
    assert "cannot use ***" in said.err


UNMASKED = """
from ratemill.streams import logs, config, worker
logs._forms = lambda secret: ()
"""


@pytest.mark.parametrize("script", [UNMASKED + CRASH, UNMASKED + "worker.run_worker(config.load_config())"])
def test_without_masking_it_would_be_seen(commands: Callable[..., Commands], script: str) -> None:
    """Negative control: the same output, searched in the same way."""
    c = commands()
    searched, c.secrets = c.secrets, ()
    with c.worker(command=(sys.executable, "-c", script)) as worker:
        if "raise" in script:
            worker.ended()
        else:
            worker.wait_for("SaslAuthenticateRequest")
    assert leaks(worker.text, searched)


def test_a_secret_in_any_form_is_found() -> None:
    encoded = base64.b64encode(f"me:{PASSWORD}".encode()).decode()
    for said in (PASSWORD, encoded, PASSWORD.encode().hex(), repr(f"\0{KEY}".encode()), PASSWORD.upper()):
        assert leaks(f"before {said} after", [KEY, PASSWORD]), said
    assert leaks("nothing here", [KEY, PASSWORD]) == []
