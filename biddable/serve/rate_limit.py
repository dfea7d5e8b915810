"""How the server is doing, for people and for Prometheus; and how often somebody may ask."""

from __future__ import annotations

import time
from collections import OrderedDict

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

SECONDS = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0)


class Meters:
    """What is counted. Names begin with `biddable_`."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "biddable_requests", "Requests by path and status", ["path", "status"], registry=self.registry
        )
        self.first = Histogram(
            "biddable_first_token_seconds",
            "From request to first text",
            buckets=SECONDS,
            registry=self.registry,
        )
        self.whole = Histogram(
            "biddable_answer_seconds", "From request to last text", buckets=SECONDS, registry=self.registry
        )
        self.prompt = Counter(
            "biddable_prompt_tokens", "Prompt tokens of answered requests", registry=self.registry
        )
        self.answer = Counter("biddable_answer_tokens", "Answer tokens given out", registry=self.registry)
        self.gone = Counter(
            "biddable_hangups", "Clients that went away before the end", registry=self.registry
        )
        self.turns = Counter("biddable_turns_kept", "Turns kept with consent", registry=self.registry)
        self.busy = Gauge(
            "biddable_seats_taken", "Answers under way in our own engine", registry=self.registry
        )
        self.waiting = Gauge("biddable_waiting", "Prompts that wait for a seat", registry=self.registry)

    def text(self) -> bytes:
        """In Prometheus' text format."""
        return generate_latest(self.registry)


class Rates:
    """How often somebody may ask: a bucket each that fills evenly and holds a minute's worth. A caller that is quiet for long is forgotten."""

    def __init__(self, per_minute: int, most: int = 10_000) -> None:
        self.per_minute, self.most = per_minute, most
        self._buckets: OrderedDict[str, tuple[float, float]] = (
            OrderedDict()
        )  # who -> (what is left, at what time)

    def take(self, who: str, now: float | None = None) -> float:
        """Seconds to wait before asking again; 0 when this one may go ahead."""
        now = time.monotonic() if now is None else now
        left, at = self._buckets.pop(who, (float(self.per_minute), now))
        left = min(float(self.per_minute), left + (now - at) * self.per_minute / 60)
        wait = 0.0 if left >= 1 else (1 - left) * 60 / self.per_minute
        self._buckets[who] = (left - 1 if wait == 0 else left, now)
        while len(self._buckets) > self.most:
            self._buckets.popitem(last=False)
        return wait
