"""How often one caller may ask: a token bucket for each key or address."""

from __future__ import annotations

import time
from collections import OrderedDict


class RateLimiter:
    """Token buckets: each caller's bucket holds `per_minute` requests at most and refills evenly,
    `per_minute` / 60 a second.

    Only the `max_callers` most recent callers are remembered. A bucket that is dropped would mostly have been
    full again: a forgotten caller starts with a full one.
    """

    def __init__(self, per_minute: int, max_callers: int = 10_000) -> None:
        self.per_minute, self.max_callers = per_minute, max_callers
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # caller: (requests left, when)

    def take(self, caller: str, now: float | None = None) -> float:
        """Count a request. Returns the seconds to wait before asking again; 0 when this request may go
        ahead."""
        now = time.monotonic() if now is None else now
        capacity = float(self.per_minute)
        requests_left, updated_at = self._buckets.pop(caller, (capacity, now))
        requests_left = min(capacity, requests_left + (now - updated_at) * self.per_minute / 60)
        allowed = requests_left >= 1
        self._buckets[caller] = (requests_left - 1 if allowed else requests_left, now)
        while len(self._buckets) > self.max_callers:
            self._buckets.popitem(last=False)  # the caller that has been quiet for longest
        return 0.0 if allowed else (1 - requests_left) * 60 / self.per_minute
