"""One request being answered, whichever API or page it came by: its stream of pieces, the answers so far, and
keeping them."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field

from biddable.run.records import Answer, Finish, Sampling
from biddable.serve.engine.backend import GenerationRequest, ServedModel, Stream
from biddable.serve.engine.requests import Piece, Token
from biddable.serve.metrics import Metrics
from biddable.serve.openai import protocol
from biddable.serve.openai.bodies import APIError
from biddable.serve.rate_limit import RateLimiter
from biddable.serve.recorder import Requester, TurnRecorder
from biddable.store.api_keys import Keys


@dataclass(frozen=True)
class ServerState:
    """What all requests share: the models, the limits, and where turns are kept."""

    models: Mapping[str, ServedModel]
    recorder: TurnRecorder | None  # none: nothing is kept, whatever anybody agrees to
    keys: Keys | None  # none: whoever reaches the port may ask
    rate_limiter: RateLimiter
    metrics: Metrics
    max_request_bytes: int
    max_answers: int  # of one request
    best_of: int  # answers sampled for each one returned, unless a request says
    started_at: int = field(default_factory=lambda: int(time.time()))

    def limit_rate(self, caller: str) -> None:
        """Count a request. Raises APIError (429) when this caller asks too often."""
        if seconds := self.rate_limiter.take(caller):
            raise APIError("you ask too often; wait a little", 429, code="rate_limit_exceeded", retry=seconds)

    def model(self, name: str) -> ServedModel:
        """The model of this name. Raises APIError (404) when there is none."""
        if name not in self.models:
            names = ", ".join(self.models)
            raise APIError(
                f"there is no model {name!r} here; there are: {names}", 404, "model", "model_not_found"
            )
        return self.models[name]


@dataclass
class Completion:
    """One answer as far as it has been generated."""

    text: str = ""
    tokens: list[Token] = field(default_factory=list)
    finish: Finish | None = None
    score: float | None = None
    near_rules: tuple[tuple[str, float], ...] | None = None

    def append(self, piece: Piece) -> None:
        self.text += piece.text
        self.tokens += piece.tokens
        self.finish, self.score, self.near_rules = piece.finish, piece.score, piece.near_rules


class Exchange:
    """One request being answered. `open` it, read its `pieces` or `collect` them, `record` what has ended,
    and `close` it in any case."""

    def __init__(
        self,
        server: ServerState,
        model: ServedModel,
        request: GenerationRequest,
        requester: Requester,
        id: str,
        conversation: str = "",
    ) -> None:
        self.server, self.model, self.request, self.requester = server, model, request, requester
        self.id, self.conversation = id, conversation or id
        self.began = time.monotonic()
        self.completions: dict[int, Completion] = {}
        self._stream: Stream | None = None

    async def open(self) -> None:
        """Hand the request to the engine. Raises APIError, QueueFull or EngineClosed."""
        self._stream = await self.model.open(self.request)

    async def pieces(self) -> AsyncIterator[Piece]:
        """The pieces of all answers, as they are generated."""
        assert self._stream is not None
        async for piece in self._stream:
            if not self.completions:
                self.server.metrics.first_token.observe(time.monotonic() - self.began)
            self.completions.setdefault(piece.answer, Completion()).append(piece)
            yield piece
        self.server.metrics.duration.observe(time.monotonic() - self.began)

    async def collect(self) -> list[Completion]:
        """All answers, once the last has ended."""
        async for _ in self.pieces():
            pass
        return [self.completions[number] for number in sorted(self.completions)]

    async def record(self, number: int) -> str | None:
        """Keep a finished answer as a turn if its user agreed to that. Returns the turn's id once it is on
        disk; None: not kept."""
        recorder, completion, turn = self.server.recorder, self.completions[number], f"{self.id}-{number}"
        if recorder is None or self._stream is None:
            return None
        answer = Answer(
            text=completion.text,
            model=self.model.name,
            tokens=tuple(token.id for token in completion.tokens if token.id is not None) or None,
            finish=completion.finish or "length",
            score=completion.score,
        )
        request = self.request
        # The stream knows what the request left open: the seed that was drawn, the length that there was room
        # for.
        sampling = Sampling(
            temperature=request.temperature,
            top_p=request.top_p,
            top_k=request.top_k,
            max_tokens=self._stream.max_tokens,
            seed=self._stream.seed,
            stop=request.stop,
            best_of=request.best_of if request.n < request.best_of else 1,
        )
        is_kept = await recorder.record_turn(
            self.requester, turn, self.conversation, request.messages, answer, self.model.answerer, sampling
        )
        self.server.metrics.turns.inc(is_kept)
        return turn if is_kept else None

    def usage(self) -> dict[str, int]:
        """Tokens in and out, in the protocol's shape."""
        assert self._stream is not None
        completion_tokens = self._stream.completion_tokens
        if completion_tokens is None:
            completion_tokens = sum(len(completion.tokens) for completion in self.completions.values())
        return protocol.usage(self._stream.prompt_tokens, completion_tokens)

    def close(self, finished: bool = True) -> None:
        """Nobody listens any more: the engine may stop. `finished`: the client got everything."""
        if self._stream is not None:
            self._stream.close()
            usage = self.usage()
            self.server.metrics.prompt_tokens.inc(usage["prompt_tokens"])
            self.server.metrics.answer_tokens.inc(usage["completion_tokens"])
        self.server.metrics.hangups.inc(not finished)
