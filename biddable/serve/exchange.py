"""One request being answered, whoever asked and by whichever page: pieces as they come, what was said so far, and keeping it."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field

from biddable.run.records import Answer, Finish, Sampling
from biddable.serve.engine.backend import GenerationRequest, ServedModel, Stream
from biddable.serve.engine.requests import Piece, Token
from biddable.serve.metrics import Metrics
from biddable.serve.openai import protocol
from biddable.serve.openai.protocol import APIError
from biddable.serve.rate_limit import RateLimiter
from biddable.serve.recorder import Requester, TurnRecorder
from biddable.store.api_keys import Keys


@dataclass(frozen=True)
class ServerState:
    """What requests are answered with."""

    models: Mapping[str, ServedModel]
    recorder: TurnRecorder | None  # none: nothing is kept, whatever anybody agrees to
    keys: Keys | None  # none: whoever reaches the port may ask
    rate_limiter: RateLimiter
    metrics: Metrics
    max_request_bytes: int
    max_answers: int
    best_of: int  # answers sampled where a request does not say
    started: int = field(default_factory=lambda: int(time.time()))

    def source(self, name: str) -> ServedModel:
        """The model of this name. Raises APIError when there is none."""
        if name not in self.models:
            known = ", ".join(self.models)
            raise APIError(
                f"there is no model {name!r} here; there are: {known}", 404, "model", "model_not_found"
            )
        return self.models[name]


@dataclass
class Completion:
    """What one answer has said so far."""

    text: str = ""
    tokens: list[Token] = field(default_factory=list)
    finish: Finish | None = None
    score: float | None = None

    def add(self, piece: Piece) -> None:
        self.text += piece.text
        self.tokens += piece.tokens
        self.finish, self.score = piece.finish, piece.score


class Exchange:
    """One request being answered: its stream, what was said, and keeping it."""

    def __init__(
        self,
        server: ServerState,
        source: ServedModel,
        ask: GenerationRequest,
        asker: Requester,
        name: str,
        conversation: str = "",
    ) -> None:
        self.server, self.source, self.ask, self.asker = server, source, ask, asker
        self.name, self.conversation = name, conversation or name
        self.began = time.monotonic()
        self.said: dict[int, Completion] = {}
        self._stream: Stream | None = None

    async def open(self) -> None:
        """Hand the request to the engine. Raises APIError, QueueFull or EngineClosed."""
        self._stream = await self.source.open(self.ask)

    async def pieces(self) -> AsyncIterator[Piece]:
        """What comes, as it comes."""
        assert self._stream is not None
        async for piece in self._stream:
            if not self.said:
                self.server.metrics.first_token.observe(time.monotonic() - self.began)
            self.said.setdefault(piece.answer, Completion()).add(piece)
            yield piece
        self.server.metrics.duration.observe(time.monotonic() - self.began)

    async def all(self) -> list[Completion]:
        """Every answer, when the last has ended."""
        async for _ in self.pieces():
            pass
        return [self.said[number] for number in sorted(self.said)]

    async def keep(self, number: int) -> str | None:
        """Keep an ended answer as a turn, if its user agreed; returns the turn's id when it is on the disk."""
        keeper, said, turn = self.server.recorder, self.said[number], f"{self.name}-{number}"
        if keeper is None or self._stream is None:
            return None
        answer = Answer(
            text=said.text,
            model=self.source.name,
            tokens=tuple(token.id for token in said.tokens) or None,
            finish=said.finish or "length",
            score=said.score,
        )
        ask = self.ask
        sampling = Sampling(
            temperature=ask.temperature,
            top_p=ask.top_p,
            max_tokens=self._stream.max_tokens,
            seed=self._stream.seed,
            stop=ask.stop,
            best_of=ask.best_of if ask.n < ask.best_of else 1,
        )
        kept = await keeper.turn(
            self.asker, turn, self.conversation, ask.messages, answer, self.source.answerer, sampling
        )
        self.server.metrics.turns.inc(kept)
        return turn if kept else None

    def usage(self) -> dict[str, int]:
        assert self._stream is not None
        told = self._stream.completion_tokens
        drawn = sum(len(said.tokens) for said in self.said.values())
        return protocol.usage(self._stream.prompt_tokens, drawn if told is None else told)

    def close(self, whole: bool = True) -> None:
        """Nobody listens any more."""
        if self._stream is not None:
            self._stream.close()
            used = self.usage()
            self.server.metrics.prompt_tokens.inc(used["prompt_tokens"])
            self.server.metrics.answer_tokens.inc(used["completion_tokens"])
        self.server.metrics.hangups.inc(not whole)
