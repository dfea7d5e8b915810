"""Where answers come from: `Local` is our own engine. What it gives, `Stream`, is all that the pages and the protocol know of it; an engine behind
HTTP (`remote.py`) gives the same."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Protocol

from biddable.base import models
from biddable.base.records import Message
from biddable.base.records import Policy as Answerer
from biddable.serve.engine import Engine
from biddable.serve.orders import Job, Order, Piece
from biddable.serve.protocol import Wrong


@dataclass(frozen=True)
class Ask:
    """Answers wanted of one model: to a dialogue, or to each of some prompts. Of `count` answers a prompt the best `wanted` are given out."""

    model: str
    messages: tuple[Message, ...] = ()
    prompts: tuple[str | tuple[int, ...], ...] = ()
    count: int = 1
    wanted: int = 1
    seed: int | None = None
    max_tokens: int | None = None
    temperature: float = 1.0
    top_p: float = 1.0
    stop: tuple[str, ...] = ()
    top: int | None = None


class Stream(Protocol):
    """Pieces of answers as they come. `close` says that nobody listens any more; it may be called at any time."""

    prompt_tokens: int
    answers: int
    max_tokens: int
    seed: int | None

    def __aiter__(self) -> AsyncIterator[Piece]: ...

    def close(self) -> None: ...


class Source(Protocol):
    """One served model."""

    @property
    def name(self) -> str: ...

    @property
    def answerer(self) -> Answerer: ...

    @property
    def scores(self) -> bool:
        """Whether it can choose the best of several answers."""
        ...

    async def open(self, ask: Ask) -> Stream: ...

    def spell(self, token: int) -> str:
        """A token's own text."""
        ...

    async def alive(self) -> bool:
        """Whether it can answer."""
        ...

    def load(self) -> tuple[int, int]:
        """How many answers are under way, and how many prompts wait."""
        ...


class _Answers:
    """What one job of our engine gives, brought from the inference thread into the event loop."""

    def __init__(self, orders: list[Order], seed: int | None, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        self._told: asyncio.Queue[list[Piece] | Exception] = asyncio.Queue()

        def tell(told: list[Piece] | Exception) -> None:
            loop.call_soon_threadsafe(self._told.put_nowait, told)

        self.job = Job(orders, tell, seconds)
        self.prompt_tokens = sum(len(order.prompt) for order in orders)
        self.answers = sum(order.wanted for order in orders)
        self.max_tokens = max(order.max_tokens for order in orders)
        self.seed = seed

    async def __aiter__(self) -> AsyncIterator[Piece]:
        left = self.answers
        while left:
            told = await self._told.get()
            if isinstance(told, Exception):
                raise told
            for piece in told:
                left -= piece.finish is not None
                yield piece

    def close(self) -> None:
        self.job.cancel()


@dataclass(frozen=True)
class Local:
    """A policy on our own engine."""

    name: str
    answerer: Answerer
    engine: Engine
    tokenizer: Any
    context: int  # tokens of prompt and answer together
    most_tokens: int  # of an answer
    seconds: float  # that an answer may take

    async def open(self, ask: Ask) -> Stream:
        """Queue the orders. Raises Wrong for prompts that cannot be answered, Full and Closed."""
        wanted = ask.max_tokens or self.most_tokens
        seed = secrets.randbits(62) if ask.seed is None else ask.seed
        orders = []
        for number, prompt in enumerate(self._prompts(ask)):
            room = self.context - len(prompt)
            if room < 1:
                raise Wrong(
                    f"the prompt has {len(prompt)} tokens; this server's context holds {self.context}",
                    param="messages" if ask.messages else "prompt",
                    code="context_length_exceeded",
                )
            seeds = tuple(_seed(seed, number, k) for k in range(ask.count))
            tokens = min(wanted, room, self.most_tokens)
            shape = (tokens, ask.temperature, ask.top_p, ask.stop, ask.top)
            orders.append(Order(prompt, seeds, ask.wanted, *shape))
        stream = _Answers(orders, seed, self.seconds)
        self.engine.submit(self.name, stream.job)
        return stream

    def _prompts(self, ask: Ask) -> list[tuple[int, ...]]:
        if ask.messages:
            return [self._rendered(ask.messages)]
        found = []
        for prompt in ask.prompts:
            if isinstance(prompt, str):
                ids = tuple(self.tokenizer(prompt).input_ids)
            else:
                ids = prompt
                if any(token >= len(self.tokenizer) for token in ids):
                    raise Wrong(f"prompt: token ids go up to {len(self.tokenizer) - 1}", param="prompt")
            if not ids:
                raise Wrong("the prompt is empty", param="prompt")
            found.append(ids)
        return found

    def _rendered(self, messages: tuple[Message, ...]) -> tuple[int, ...]:
        from jinja2 import TemplateError

        for number, message in enumerate(messages):
            self._clean(message.content, f"messages.{number}.content")
        try:
            return models.render(self.tokenizer, messages)
        except TemplateError as error:
            raise Wrong(f"this model's chat template refuses the dialogue: {error}", param="messages") from error

    def _clean(self, text: str, where: str) -> None:
        """A control token written out in a message would be read as one: somebody could speak in another's name."""
        for token in self.tokenizer.added_tokens_decoder.values():
            if token.special and (word := str(token)) in text:
                raise Wrong(f"{where}: holds {word}, which this model takes for a control token; leave it out", param=where)

    @property
    def scores(self) -> bool:
        return self.engine.decks[self.name].scorer is not None

    async def alive(self) -> bool:
        return self.engine.failed is None

    def load(self) -> tuple[int, int]:
        deck = self.engine.decks[self.name]
        return len(deck.live), len(deck.waiting)

    def spell(self, token: int) -> str:
        return str(self.tokenizer.decode([token], clean_up_tokenization_spaces=False))


def _seed(seed: int, prompt: int, answer: int) -> int:
    """A seed for each answer of a request, from the request's."""
    return int.from_bytes(hashlib.blake2b(f"{seed} {prompt} {answer}".encode(), digest_size=8).digest(), "big")
