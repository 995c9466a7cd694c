"""From the spool to the target: a thread that sends what waits, tries again for as long as it takes, and forgets only what was acknowledged."""

from __future__ import annotations

import logging
import threading
import time

from ...schemas.errors import RatemillError
from .spool import Spool
from .targets import Outcome, Sender, Target

__all__ = ["Delivery"]

_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.2, 30.0
_LONGEST_ASKED_S = 300.0  # whatever the other side asks for
_log = logging.getLogger(__name__)


class Delivery:
    """One thread. round_bytes: sent before the next acknowledgement is waited for; linger_s: how long a few events wait for more."""

    def __init__(self, spool: Spool, target: Target, *, linger_s: float, round_bytes: int) -> None:
        self._spool, self._linger_s, self._round_bytes = spool, linger_s, round_bytes
        self._sender: Sender = target.connect()
        self._changed = threading.Condition()
        self.stopped = self._hurry = self._idle = False
        self.delivered_events = self.retries = 0
        self.failure = ""
        self._thread = threading.Thread(target=self._run, name="ratemill-delivery", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """Something was accepted."""
        # A thread that lingers is left alone until a round is full: to wake it for each event would cost more than to accept one.
        if self._idle or self._spool.waiting_bytes >= self._round_bytes:
            with self._changed:
                self._changed.notify_all()

    def flush(self, through: int, timeout_s: float) -> bool:
        """Wait until no row up to this number waits; False when that takes longer."""
        deadline = time.monotonic() + timeout_s
        with self._changed:
            self._hurry = True
            self._changed.notify_all()
            while (first := self._spool.first()) is not None and first[0] <= through:
                left = deadline - time.monotonic()
                if left <= 0 or not self._thread.is_alive():
                    return False
                self._changed.wait(min(left, 1.0))
            return True

    def stop(self, timeout_s: float) -> bool:
        """Send nothing more; False when what is under way takes longer. The thread lets go of the spool at its end."""
        with self._changed:
            self.stopped = True
            self._changed.notify_all()
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            wait_s = 0.0
            while self._wait(wait_s):
                wait_s = self._round(wait_s)
        finally:
            try:
                self._sender.close()
            finally:
                self._spool.close()

    def _wait(self, wait_s: float) -> bool:
        """Wait for what there is to send, after a failure for wait_s seconds before. False: it is time to stop."""
        with self._changed:
            until = time.monotonic() + wait_s
            while not self.stopped and (left := until - time.monotonic()) > 0:
                self._changed.wait(left)
            self._idle = True  # before the spool is looked at: see `wake`
            while not self.stopped and not self._spool.waiting_events:
                self._hurry = False
                self._changed.wait()
            self._idle = False
            lingered = time.monotonic() + self._linger_s
            while not (self.stopped or self._hurry or self._spool.waiting_bytes >= self._round_bytes):
                if (left := lingered - time.monotonic()) <= 0:
                    break
                self._changed.wait(left)
            return not self.stopped

    def _round(self, waited_s: float) -> float:
        """Send some. The answer is how many seconds to wait before the next round, 0 unless something failed."""
        try:
            rows = self._spool.read(self._round_bytes)
            outcome = self._sender.deliver(rows)
            if outcome.done:
                self._spool.settle(outcome.done, outcome.refused)
                self.delivered_events += sum(row.events for row in outcome.done) - len(outcome.refused)
        except RatemillError as error:
            outcome = Outcome([], [], str(error))
        except Exception as error:  # a mistake in a target must not end delivery for good: it is said, and tried again
            _log.exception("delivery failed")
            outcome = Outcome([], [], f"{type(error).__name__}: {error}")
        if outcome.failure:
            self.retries += 1
            if outcome.failure != self.failure:
                _log.warning("usage waits in the spool: %s", outcome.failure)
        if outcome.refused:
            first = outcome.refused[0]
            _log.error("%d events were refused for good, the first as %s: %s", len(outcome.refused), first.reason, first.detail)
        self.failure = outcome.failure
        with self._changed:
            self._changed.notify_all()
        if not outcome.failure:
            return 0.0
        return min(_LONGEST_ASKED_S, outcome.wait_s) or min(_LONGEST_WAIT_S, max(_FIRST_WAIT_S, 2 * waited_s))
