"""How the protocol writes answers: at once as one JSON object, or piece by piece as events."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from biddable.serve.engine.requests import Piece, Token
from biddable.serve.exchange import Completion, Exchange
from biddable.serve.openai import protocol
from biddable.serve.openai.http import EventStream, cancel_on_disconnect, format_event, to_api_error
from biddable.serve.openai.protocol import BaseCompletionRequest

Json = dict[str, Any]


class ChatFormat:
    """The answers of /v1/chat/completions."""

    object_name, chunk_name = "chat.completion", "chat.completion.chunk"

    def __init__(self, exchange: Exchange) -> None:
        self.exchange = exchange

    def _logprobs(self, tokens: Sequence[Token]) -> Json | None:
        if self.exchange.request.top_logprobs is None:
            return None
        return protocol.chat_logprobs(tokens)

    def choice(self, index: int, completion: Completion, turn: str | None) -> Json:
        """A whole answer."""
        return {
            "index": index,
            "message": {"role": "assistant", "content": completion.text, "refusal": None},
            "logprobs": self._logprobs(completion.tokens),
            "finish_reason": completion.finish,
        } | _extensions(completion.score, turn)

    def first_delta(self, index: int) -> Json | None:
        """What a stream sends before an answer's first piece."""
        return {
            "index": index,
            "delta": {"role": "assistant", "content": ""},
            "logprobs": None,
            "finish_reason": None,
        }

    def delta(self, piece: Piece) -> Json:
        """One piece of an answer."""
        return {
            "index": piece.answer,
            "delta": {"content": piece.text},
            "logprobs": self._logprobs(piece.tokens),
            "finish_reason": None,
        }

    def last_delta(self, index: int, completion: Completion, turn: str | None) -> Json:
        """What a stream sends when an answer has ended."""
        end = {"index": index, "delta": {}, "logprobs": None, "finish_reason": completion.finish}
        return end | _extensions(completion.score, turn)


class CompletionFormat:
    """The answers of /v1/completions."""

    object_name, chunk_name = "text_completion", "text_completion"

    def __init__(self, exchange: Exchange) -> None:
        self.exchange = exchange

    def _logprobs(self, tokens: Sequence[Token]) -> Json | None:
        if self.exchange.request.top_logprobs is None:
            return None
        return protocol.completion_logprobs(tokens)

    def choice(self, index: int, completion: Completion, turn: str | None) -> Json:
        """A whole answer."""
        return {
            "index": index,
            "text": completion.text,
            "logprobs": self._logprobs(completion.tokens),
            "finish_reason": completion.finish,
        } | _extensions(completion.score, turn)

    def first_delta(self, index: int) -> Json | None:
        """Completions begin with their first piece."""
        return None

    def delta(self, piece: Piece) -> Json:
        """One piece of an answer."""
        return {
            "index": piece.answer,
            "text": piece.text,
            "logprobs": self._logprobs(piece.tokens),
            "finish_reason": None,
        }

    def last_delta(self, index: int, completion: Completion, turn: str | None) -> Json:
        """What a stream sends when an answer has ended."""
        end = {"index": index, "text": "", "logprobs": None, "finish_reason": completion.finish}
        return end | _extensions(completion.score, turn)


def _extensions(score: float | None, turn: str | None) -> Json:
    """What we add to the protocol: the reward model's score where it chose, and the turn's id once the turn
    is kept."""
    return ({} if score is None else {"score": score}) | ({} if turn is None else {"turn": turn})


async def respond(
    request: Request,
    body: BaseCompletionRequest,
    exchange: Exchange,
    answer_format: ChatFormat | CompletionFormat,
) -> Response:
    """Answer at once, or piece by piece. A stream's response begins with its first piece: until then an error
    has a status of its own."""
    try:
        await exchange.open()
        if body.stream:
            pieces = exchange.pieces()
            first = await cancel_on_disconnect(request.receive, _next(pieces))
            return EventStream(_events(body, exchange, answer_format, first, pieces), exchange.close)
        completions = await cancel_on_disconnect(request.receive, exchange.collect())
        choices = [
            answer_format.choice(index, completion, await exchange.record(index))
            for index, completion in enumerate(completions)
        ]
    except BaseException:
        exchange.close(finished=False)
        raise
    exchange.close()
    return JSONResponse(
        _head(exchange, answer_format.object_name) | {"choices": choices, "usage": exchange.usage()}
    )


async def _next(pieces: AsyncIterator[Piece]) -> Piece:
    return await anext(pieces)


async def _chain(first: Piece, rest: AsyncIterator[Piece]) -> AsyncIterator[Piece]:
    yield first
    async for piece in rest:
        yield piece


async def _events(
    body: BaseCompletionRequest,
    exchange: Exchange,
    answer_format: ChatFormat | CompletionFormat,
    first: Piece,
    rest: AsyncIterator[Piece],
) -> AsyncGenerator[str]:
    head = _head(exchange, answer_format.chunk_name)
    # With include_usage every chunk has the field; only the last one, which has no choices, fills it in.
    no_usage: Json = {"usage": None} if body.stream_options.include_usage else {}
    begun: set[int] = set()

    def chunk(choice: Json) -> str:
        return format_event(head | {"choices": [choice]} | no_usage)

    try:
        async for piece in _chain(first, rest):
            index = piece.answer
            if index not in begun:
                begun.add(index)
                if (opening := answer_format.first_delta(index)) is not None:
                    yield chunk(opening)
            if piece.text or piece.tokens:
                yield chunk(answer_format.delta(piece))
            if piece.finish is not None:
                turn = await exchange.record(index)
                yield chunk(answer_format.last_delta(index, exchange.completions[index], turn))
        if no_usage:
            yield format_event(head | {"choices": [], "usage": exchange.usage()})
        yield "data: [DONE]\n\n"
    except Exception as error:
        if (api_error := to_api_error(error)) is None:
            raise
        yield format_event(api_error.body())


def _head(exchange: Exchange, object_name: str) -> Json:
    model = exchange.model
    return {
        "id": exchange.id,
        "object": object_name,
        "created": int(time.time()),
        "model": model.name,
        "system_fingerprint": f"fp_{model.answerer.content[:12]}",
    }
