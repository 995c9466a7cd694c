"""Sequences of faults that a test runs on the real code and its negative control on code that is broken on purpose."""

from __future__ import annotations

import signal
from collections.abc import Sequence

from .traffic import PARTITIONS
from .workers import Bed, Worker, until

__all__ = ["kill_in_commit", "zombie"]


async def kill_in_commit(b: Bed, point: str, lane: str = "rate-", after: int = 10, breaks: Sequence[str] = ()) -> None:
    """A worker dies at a failpoint while traffic flows; a second one finishes."""
    first = b.worker("a", failpoints=[{"point": point, "lane": lane, "after": after, "action": "kill"}], breaks=breaks)
    await first.ready()
    b.start_traffic(per_second=400)
    assert await first.ended() == -signal.SIGKILL
    assert b.mid_run, f"killed at {b.published} of {len(b.traffic)} records"
    assert await b.rated() > 0
    last = b.worker("b", breaks=breaks)
    await b.settle()
    assert await last.terminate() == 0


async def zombie(b: Bed, point: str, breaks: Sequence[str] = ()) -> tuple[Worker, Worker]:
    """A worker stops at a failpoint of rate-0 beyond its session; another takes over and works on; the first wakes up and writes.

    It does not hear of the rebalance before it has written. Then the other is killed, so that the first has to restore and finish.
    """
    # Without fencing, other lanes' open transactions would only end by their timeout, and hold the takeover back until then.
    failpoint = {"point": point, "lane": "rate-0", "after": 4, "action": "stop", "quiet": bool(breaks)}
    first = b.worker("a", failpoints=[failpoint], breaks=breaks, deaf_s=3)
    await first.ready()
    b.start_traffic(per_second=250)
    await until(first.stopped, 60, "the failpoint was not passed")
    assert b.mid_run
    b.hold_traffic()
    asleep = await b.rated()
    other = b.worker("b", breaks=breaks)
    await other.ready(lanes=3 * PARTITIONS)
    b.resume_traffic()
    await b.rated_beyond(asleep + 300)
    first.signal(signal.SIGCONT)
    assert b.mid_run, f"woken at {b.published} of {len(b.traffic)} records"
    # Both work now, each on its share.
    await until(lambda: first.logged("assigned") >= 2 and first.logged("partition_owned") >= 3 * PARTITIONS + 2, 60, f"{first.log}: did not rejoin")
    await b.rated_beyond(await b.rated())
    await other.kill()
    return first, other
