"""The compiled hashes are those of xxhash and of Kafka's partitioner; the compiled amounts are Decimals, or none."""

from __future__ import annotations

import random
from decimal import Decimal, localcontext

import pytest
import xxhash
from ratemill.pricing.money import EXACT, plain
from ratemill.schemas.usage_event import hot
from ratemill.streams.topics import partition_of

pytestmark = pytest.mark.skipif(hot is None, reason="not compiled")


@pytest.mark.parametrize("size", [*range(260), 1_000, 70_000])
def test_hashes(size: int) -> None:
    rng = random.Random(size)
    for _ in range(5):
        data = rng.randbytes(size)
        assert hot.hashes_of(data)[:2] == (xxhash.xxh3_128_digest(data), xxhash.xxh3_64_digest(data))
        text = "".join(rng.choice("abc-_/09é") for _ in range(size))
        assert hot.hashes_of(text.encode())[2] == partition_of(text, 1 << 31)


def number(rng: random.Random) -> Decimal:
    text = str(rng.randrange(10 ** rng.choice((1, 3, 9, 17, 18, 19, 20, 30, 36, 37))))
    if rng.random() < 0.7:
        text += "." + "".join(rng.choice("0000123456789") for _ in range(rng.choice((1, 2, 5, 9, 20, 30))))
    if rng.random() < 0.1:
        text = "0." + "0" * rng.randrange(20) + text.replace(".", "")
    if rng.random() < 0.1:
        return Decimal(text).normalize(EXACT)
    return Decimal("-" + text if rng.random() < 0.3 else text)


@pytest.mark.parametrize("seed", range(10))
def test_amounts(seed: int) -> None:
    rng, sums, products = random.Random(seed), 0, 0
    with localcontext(EXACT):
        for _ in range(3_000):
            one, other, bound = number(rng), number(rng), number(rng)
            found = hot.amounts_of(one, other, bound)
            if found is None:
                assert any(len(f"{n:f}") > 36 for n in (one, other, bound))
                continue
            total, product, beyond = found
            if total is not None:
                sums += 1
                assert total == plain(one + other).encode()
                assert beyond is None or beyond == (one + other > bound)
            if product is not None:
                products += 1
                assert product == plain(one * other).encode()
    assert sums > 500
    assert products > 200
