"""What clients ask of an engine and what they get: orders, pieces of answers, and the ways in which it says no."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from biddable.run.records import Finish


class QueueFull(Exception):
    """The queue is full; `seconds` is a guess at when it is worth asking again."""

    def __init__(self, seconds: float) -> None:
        super().__init__("the queue is full")
        self.seconds = seconds


class DeadlineExceeded(Exception):
    """An order waited longer than it may."""


class EngineClosed(Exception):
    """The engine is shutting down, or its thread has failed."""


@dataclass(frozen=True)
class PromptRequest:
    """Answers wanted for one prompt. Of `count` sampled answers the `wanted` best by the reward model are given out; equal: all of them, as they come."""

    prompt: tuple[int, ...]
    seeds: tuple[int, ...]  # one an answer
    wanted: int
    max_tokens: int
    temperature: float = 1.0
    top_p: float = 1.0
    stop: tuple[str, ...] = ()
    top: int | None = None  # so many likeliest tokens beside each token drawn; none: no log-probabilities

    @property
    def scored(self) -> bool:
        return self.wanted < len(self.seeds)


class Token(NamedTuple):
    """One token of an answer with its log-probability (nats, temperature 1), and the likeliest alternatives."""

    id: int
    logp: float
    top: tuple[tuple[int, float], ...] = ()


class Piece(NamedTuple):
    """What is new of one answer. The last piece has `finish`; `score` is the reward model's, where one chose."""

    answer: int
    text: str
    tokens: tuple[Token, ...]
    finish: Finish | None = None
    score: float | None = None


Listener = Callable[[list[Piece] | Exception], None]
"""Called in the inference thread with what is new, or with what went wrong (then nothing more comes)."""


class Job:
    """One client's orders under way. `cancel` may be called from any thread."""

    def __init__(self, orders: Sequence[PromptRequest], tell: Listener, seconds: float) -> None:
        self.orders, self.tell = tuple(orders), tell
        self.until = time.monotonic() + seconds
        self.cancelled = False
        self.left = sum(order.wanted for order in orders)

    def cancel(self) -> None:
        """The client has gone: its seats are freed at the next step."""
        self.cancelled = True

    def give(self, pieces: list[Piece]) -> None:
        self.left -= sum(piece.finish is not None for piece in pieces)
        if pieces and not self.cancelled:
            self.tell(pieces)
