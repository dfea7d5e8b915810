"""What clients ask of an engine and what they get: requests, pieces of answers, and the errors that say
no."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from biddable.run.records import Finish


class QueueFull(Exception):
    """Too much is waiting; `seconds` is a guess at when it is worth asking again."""

    def __init__(self, seconds: float) -> None:
        super().__init__("the queue is full")
        self.seconds = seconds


class DeadlineExceeded(Exception):
    """A request waited longer than it may."""


class EngineClosed(Exception):
    """The engine is shutting down, or its thread has failed."""


@dataclass(frozen=True)
class PromptRequest:
    """Answers to one prompt: one is sampled for each seed, and the `n` best of them by the reward model are
    sent. With as many seeds as `n` all are sent, as they come."""

    prompt: tuple[int, ...]
    seeds: tuple[int, ...]
    n: int
    max_tokens: int
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0  # 0: all tokens
    stop: tuple[str, ...] = ()
    top_logprobs: int | None = (
        None  # so many likeliest tokens beside each token drawn; none: no log-probabilities
    )
    continues_text: bool = False  # the answer goes on from the prompt's last word; no: a text of its own

    @property
    def scored(self) -> bool:
        return self.n < len(self.seeds)


class Alternative(NamedTuple):
    """A token that could have been drawn, with its log-probability (nats, temperature 1)."""

    id: int | None  # none: another server's
    logp: float
    text: str  # `bytes:\\xf0\\x9f` for a part of a character, its name for a control token
    utf8: bytes | None  # what it adds to the text; none: a control token, which adds nothing


class Token(NamedTuple):
    """One token of an answer, with its log-probability (nats, temperature 1) and the likeliest alternatives.
    The text fields are as in `Alternative`; they are filled where log-probabilities are asked for."""

    id: int | None
    logp: float
    text: str = ""
    utf8: bytes | None = None
    top: tuple[Alternative, ...] = ()
    offset: int = 0  # where it begins in the answer's text, in characters
    cut: bool = False  # it belongs to the stop string that ended the answer, no part of it is in the text


class Piece(NamedTuple):
    """What is new of one answer. The last piece has `finish`; `score` is the reward model's, where one
    chose."""

    answer: int
    text: str
    tokens: tuple[Token, ...]
    finish: Finish | None = None
    score: float | None = None
    near_rules: tuple[tuple[str, float], ...] | None = (
        None  # where rules had a say: (rule, P(broken)) it came near to
    )


Listener = Callable[[list[Piece] | Exception], None]
"""Called in the inference thread with what is new, or with what went wrong (then nothing more comes)."""


class Job:
    """One client's prompts under way, which share a deadline `seconds` from now. `cancel` may be called from
    any thread."""

    def __init__(self, requests: Sequence[PromptRequest], listener: Listener, seconds: float) -> None:
        self.requests, self.listener = tuple(requests), listener
        self.deadline = time.monotonic() + seconds
        self.cancelled = False
        self.unfinished = sum(request.n for request in requests)
        """Answers whose last piece has not been sent yet."""

    def cancel(self) -> None:
        """The client has gone: its rows are freed at the next step."""
        self.cancelled = True

    def send(self, pieces: list[Piece]) -> None:
        self.unfinished -= sum(piece.finish is not None for piece in pieces)
        if pieces and not self.cancelled:
            self.listener(pieces)
