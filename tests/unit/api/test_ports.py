"""How much may be under way at once, and what only operators may do."""

from __future__ import annotations

import pytest
from ratemill.api.access import needs_operator
from ratemill.api.ports import Gate
from ratemill.api.problems import Problem
from ratemill.api.tokens import Principal


def test_whoever_comes_beyond_the_limit_is_sent_away() -> None:
    gate = Gate(2)
    with gate.passed(), gate.passed(), pytest.raises(Problem) as refused, gate.passed():
        raise AssertionError("a third one is inside")
    assert (refused.value.status, "retry-after" in refused.value.headers) == (429, True)
    with gate.passed(), gate.passed():
        pass
    with pytest.raises(ValueError), gate.passed():
        raise ValueError
    with gate.passed(), gate.passed():
        pass


async def test_the_key_of_an_account_is_no_operators_whatever_its_scopes() -> None:
    allowed = needs_operator("periods:close")
    operator = Principal("a", None, frozenset({"periods:close"}))
    assert await allowed(operator) == operator
    with pytest.raises(Problem) as refused:
        await allowed(Principal("b", "acme", frozenset({"admin"})))
    assert refused.value.status == 403
