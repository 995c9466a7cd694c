"""`ratemill doctor`: says in words what is wrong with this installation, and what to do."""

from __future__ import annotations

import asyncio
import importlib.metadata
import json
import re
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import click
from elasticsearch import ApiError, AsyncElasticsearch, NotFoundError, TransportError

from ..schemas.errors import AccessDenied, BadConfig, RatemillError, Unavailable
from ..sinks.bulk import describe
from ..sinks.costs import UNPRICED
from ..sinks.elasticsearch import check, connect
from ..sinks.templates import TEMPLATE_VERSION, Names
from ..streams.config import Config, load_config
from .doctor_kafka import kafka_checks
from .findings import Finding, failed, ok, problem, warning

__all__ = ["command", "elasticsearch_checks", "installation_checks"]

LEAST_PYTHON = (3, 11)
LEAST_FREE_BYTES = 2 << 30
_STYLE = {"ok": "green", "warning": "yellow", "problem": "red"}


@click.command("doctor")
@click.option("--config", "path", metavar="FILE", help="Configuration file (default: ratemill.toml here, then RATEMILL_CONFIG).")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(path: str | None, as_json: bool) -> None:
    """Check this installation, Kafka, Elasticsearch, and whether usage flows and adds up.

    One line for each check: ok, warning or problem, and what to do. It changes nothing. Exit status 0: no problem, 1: some.
    """
    found: list[Finding] = []

    def take(findings: Sequence[Finding]) -> None:
        found.extend(findings)
        if not as_json:
            for finding in findings:
                click.echo(line(finding))

    take(installation_checks())
    try:
        config = load_config(path)
    except RatemillError as error:
        mistakes = error.mistakes if isinstance(error, BadConfig) else [str(error)]
        take([problem("configuration", mistake.removeprefix("configuration: "), "see docs/configuration.md") for mistake in mistakes])
    else:
        take([ok("configuration", f"valid: Kafka at {config.kafka.bootstrap}, Elasticsearch at {config.elasticsearch.url}")])
        take(folder_checks(config))
        take(asyncio.run(kafka_checks(config)))
        take(asyncio.run(elasticsearch_checks(config)))
    counts = {status: sum(finding.status == status for finding in found) for status in _STYLE}
    if as_json:
        click.echo(json.dumps({"checks": [finding._asdict() for finding in found], **counts}, ensure_ascii=False, indent=1))
    else:
        click.echo(f"{counts['problem']} problems, {counts['warning']} warnings, {counts['ok']} ok")
    if counts["problem"]:
        sys.exit(1)


def line(finding: Finding) -> str:
    """A finding as it is printed."""
    text = "".join(character if character.isprintable() else "\ufffd" for character in finding.text)
    todo = f" -> {finding.what_to_do}" if finding.what_to_do else ""
    return f"{click.style(f'{finding.status:<8}', fg=_STYLE[finding.status])} {finding.check}: {text}{todo}"


def installation_checks() -> list[Finding]:
    """Python and the packages that pyproject.toml asks for."""
    version = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info < LEAST_PYTHON:
        return [problem("python", f"this is Python {version}", "run Ratemill with Python 3.11 or newer")]
    missing = [name for name in required_packages() if not is_installed(name)]
    packages = (
        problem("packages", f"not installed: {', '.join(missing)}", "run `make setup`, or pip install -r requirements.lock")
        if missing
        else ok("packages", f"ratemill {importlib.metadata.version('ratemill')} and all it needs")
    )
    return [ok("python", version), packages]


def required_packages() -> list[str]:
    """Names of the packages that Ratemill needs to run; those of the extras are not needed."""
    lines = importlib.metadata.requires("ratemill") or []
    return [match[0] for each in lines if "extra ==" not in each and (match := re.match(r"[A-Za-z0-9._-]+", each))]


def is_installed(name: str) -> bool:
    """Is a distribution of this name there?"""
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def folder_checks(config: Config) -> list[Finding]:
    """Can the local state be written where the configuration says?"""
    wanted = Path(config.worker.data_dir)
    folder = next((place for place in (wanted, *wanted.absolute().parents) if place.exists()), wanted)
    try:
        with tempfile.TemporaryFile(dir=folder):
            free = shutil.disk_usage(folder).free
    except OSError as error:
        return [problem("data folder", f"{wanted} cannot be written: {error.strerror}", "set worker.data_dir to a folder of the worker's own")]
    if free < LEAST_FREE_BYTES:
        return [warning("data folder", f"{wanted} has {free / 2**30:.1f} GiB left", "make room: identities of 35 days take 24 bytes each and more")]
    return [ok("data folder", f"{wanted} can be written, {free / 2**30:.0f} GiB free")]


async def elasticsearch_checks(config: Config) -> list[Finding]:
    """Does it answer, is it a version we know, are template and line items there, has everything a price?"""
    url, names = config.elasticsearch.url, Names(config.elasticsearch.index_prefix)
    try:
        client = connect(config.elasticsearch.url, **config.elasticsearch.access, request_timeout_seconds=10)
    except (ValueError, OSError) as error:
        return [problem("elasticsearch", f"{url}: {error}", "set elasticsearch.url to scheme, host and port")]
    except BadConfig as error:
        return [problem("elasticsearch", str(error), "see docs/configuration.md")]
    try:
        await check(client)
        return [await _version(client, url), await _template(client, names), await _unpriced(client, names)]
    except Unavailable as error:
        return [problem("elasticsearch", f"{url}: {error}", "start it (`ratemill local up`) or set elasticsearch.url; rating goes on without it")]
    except AccessDenied as error:
        return [failed("elasticsearch", f"{url}: ", str(error), "", "; rating goes on without it")]
    except (ApiError, TransportError, OSError) as error:
        return [failed("elasticsearch", f"{url} answers, but: ", describe(error)[1], "look at its log")]
    finally:
        await client.close()


async def _version(client: AsyncElasticsearch, url: str) -> Finding:
    status = (await client.cluster.health())["status"]
    nodes = (await client.nodes.info(filter_path="nodes.*.version")).get("nodes", {})
    versions = sorted({str(node["version"]) for node in nodes.values()})
    text = f"{url} answers: {', '.join(versions) or 'unknown version'}, {status}"
    if any(not version.startswith("9.") for version in versions):
        return warning("elasticsearch", text, "Ratemill is tested with Elasticsearch 9")
    if status == "red":
        return problem("elasticsearch", text, "some shards are missing: costs would be incomplete; look at its log")
    return ok("elasticsearch", text)


async def _template(client: AsyncElasticsearch, names: Names) -> Finding:
    try:
        found = await client.indices.get_index_template(name=names.template)
    except NotFoundError:
        if await client.indices.exists_alias(name=names.alias):
            return warning("index template", f"{names.template} is not there, its indices are", "restart a worker with the agent index: it makes it")
        return warning("index template", f"{names.template} is not there yet", "the first worker with the agent index makes it")
    version = found["index_templates"][0]["index_template"].get("version", 0)
    if version != TEMPLATE_VERSION:
        what = "restart the workers: they update it" if version < TEMPLATE_VERSION else "a newer Ratemill has been here: update this one"
        return warning("index template", f"{names.template} has version {version}, this Ratemill writes {TEMPLATE_VERSION}", what)
    return ok("index template", f"{names.template}, version {version}")


async def _unpriced(client: AsyncElasticsearch, names: Names) -> Finding:
    everything = (await client.count(index=names.alias, ignore_unavailable=True))["count"]
    count = (await client.count(index=names.alias, ignore_unavailable=True, query=UNPRICED))["count"]
    if count:
        text = f"{count:,} of {everything:,} line items have no price"
        return warning("unpriced", text, "see `ratemill costs --by sku` and publish prices for them: `ratemill prices publish FILE`")
    return ok("unpriced", f"all of {everything:,} line items have a price")
