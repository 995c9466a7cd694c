"""Quix Streams: one stateful step on the account's key, RocksDB state with a changelog; exactly once or at least once."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

from .job import ready, settings, tariffs

COMMIT_EVERY_S = 5.0  # Quix's default


def main() -> None:
    """Rate until ended."""
    import orjson
    from quixstreams import Application, State
    from quixstreams.models import JSONDeserializer, JSONSerializer
    from quixstreams.state.rocksdb.options import RocksDBOptions

    told = settings()
    prices = tariffs(told.prices)

    class Told(Application):  # type: ignore[misc]
        def _on_assign(self, *given: Any) -> None:
            super()._on_assign(*given)
            ready()

    app = Told(
        broker_address=told.bootstrap, consumer_group=told.application, auto_offset_reset="earliest", processing_guarantee=told.guarantee,
        commit_interval=COMMIT_EVERY_S, state_dir=Path(told.folder) / "state", loglevel="WARNING",
        rocksdb_options=RocksDBOptions(dumps=orjson.dumps, loads=orjson.loads),
        producer_extra_config={"linger.ms": 50, "batch.size": 1 << 20},
    )  # fmt: skip
    source = app.topic(told.topic, key_deserializer="str", value_deserializer=JSONDeserializer(loads=orjson.loads))
    out = app.topic(told.out, key_serializer="str", value_serializer=JSONSerializer(dumps=orjson.dumps))

    def rate(event: dict[str, Any], state: State) -> dict[str, str] | None:
        # State belongs to the key, the account.
        identity = f"{event['source']} {event['id']}"
        if state.get_bytes(identity) is not None:
            return None
        state.set_bytes(identity, b"1")
        data, hour = event["data"], event["time"][:13]
        sku, added = data["sku"], Decimal(data["quantity"])
        month, window = f"{sku} {hour[:7]}", f"{sku} {hour}"
        before = Decimal(state.get(month, "0"))
        quantity, cost = state.get(window, ("0", "0"))
        result = str(Decimal(quantity) + added), str(Decimal(cost) + prices[sku].cost(before, before + added))
        state.set(month, str(before + added))
        state.set(window, result)
        return {"window": f"{event['subject']} {window}", "quantity": result[0], "cost": result[1]}

    rated = app.dataframe(source).apply(rate, stateful=True).filter(lambda result: result is not None)
    rated.to_topic(out, key=lambda result: result["window"])
    app.run()


if __name__ == "__main__":
    main()
