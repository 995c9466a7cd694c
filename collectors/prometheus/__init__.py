"""Usage of infrastructure that only has metrics, read from the HTTP API of Prometheus window by window.

    meters    what is asked for and what it is billed as; from samples to quantities, pure
    api       query_range, as Prometheus documents it
    run       the loop: window after window, with what the last one ended with

What a counter counted is the sum of the steps between its samples, and no `increase()`: that extrapolates to the edges of a window, so it is
neither exact nor do windows add up. docs/collectors-cloud.md says what samples cannot tell.
"""

from __future__ import annotations
