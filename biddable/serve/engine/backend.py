"""Where answers come from: our own engine (`local.py`) or one behind HTTP (`remote.py`). This is all that
pages and protocol know of either."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Protocol

from biddable.run.records import Message
from biddable.run.records import Policy as Answerer
from biddable.serve.engine.requests import Piece


@dataclass(frozen=True)
class GenerationRequest:
    """What one model is asked to generate: answers to a dialogue, or to each of several prompts. For every
    prompt `best_of` answers are sampled and the best `n` returned."""

    model: str
    messages: tuple[Message, ...] = ()
    prompts: tuple[str | tuple[int, ...], ...] = ()
    best_of: int = 1
    n: int = 1
    seed: int | None = None
    max_tokens: int | None = None
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0  # 0: all tokens
    stop: tuple[str, ...] = ()
    top_logprobs: int | None = (
        None  # so many likeliest tokens beside each token drawn; none: no log-probabilities
    )


class Stream(Protocol):
    """Pieces of answers as they come. `close` says that nobody listens any more; it may be called at any
    time."""

    prompt_tokens: int
    completion_tokens: int | None  # none: as many as the pieces hold
    answers: int
    max_tokens: int
    seed: int | None

    def __aiter__(self) -> AsyncIterator[Piece]: ...

    def close(self) -> None: ...


class ServedModel(Protocol):
    """One served model."""

    @property
    def name(self) -> str: ...

    @property
    def answerer(self) -> Answerer: ...

    @property
    def scores(self) -> bool:
        """Whether it can choose the best of several answers."""
        ...

    async def open(self, request: GenerationRequest) -> Stream: ...

    async def alive(self) -> bool:
        """Whether it can answer."""
        ...

    def load(self) -> tuple[int, int]:
        """How many answers are under way, and how many prompts wait."""
        ...
