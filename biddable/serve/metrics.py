"""What the server counts, for Prometheus: GET /metrics."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

SECONDS = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0)
"""Bucket limits of the latency histograms."""


class Metrics:
    """The server's counters, gauges and histograms. Their names begin with `biddable_`."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = self._counter("biddable_requests", "Requests by path and status", "path", "status")
        self.first_token = self._histogram("biddable_first_token_seconds", "From request to first text")
        self.duration = self._histogram("biddable_answer_seconds", "From request to last text")
        self.prompt_tokens = self._counter("biddable_prompt_tokens", "Prompt tokens of answered requests")
        self.answer_tokens = self._counter("biddable_answer_tokens", "Answer tokens given out")
        self.hangups = self._counter("biddable_hangups", "Clients that went away before the end")
        self.turns = self._counter("biddable_turns_kept", "Turns kept with consent")
        self.running = self._gauge("biddable_seats_taken", "Answers under way in our own engine")
        self.waiting = self._gauge("biddable_waiting", "Prompts that wait for a seat")

    def _counter(self, name: str, about: str, *labels: str) -> Counter:
        return Counter(name, about, labels, registry=self.registry)

    def _histogram(self, name: str, about: str) -> Histogram:
        return Histogram(name, about, buckets=SECONDS, registry=self.registry)

    def _gauge(self, name: str, about: str) -> Gauge:
        return Gauge(name, about, registry=self.registry)

    def text(self) -> bytes:
        """Everything in Prometheus' text format."""
        return generate_latest(self.registry)
