"""The OpenAI-compatible API: /v1/chat/completions, /v1/completions, /v1/models, and /health and /metrics beside it."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from biddable.serve import recorder
from biddable.serve.engine.backend import GenerationRequest, ServedModel
from biddable.serve.engine.requests import Piece
from biddable.serve.exchange import Completion, Exchange, ServerState
from biddable.serve.openai import protocol
from biddable.serve.openai.http import (
    REFUSALS,
    EventStream,
    RequestLogMiddleware,
    cancel_on_disconnect,
    error_response,
    format_event,
    read_body,
    to_api_error,
)
from biddable.serve.openai.protocol import (
    APIError,
    BaseCompletionRequest,
    ChatCompletionRequest,
    CompletionRequest,
)
from biddable.serve.recorder import Requester
from biddable.store.types import Key


async def _caller(request: Request) -> Key | None:
    """Whose key a request has. Raises APIError for a missing or unknown key, and for one that asks too often."""
    server: ServerState = request.app.state.server
    who = request.client.host if request.client else "unknown"
    key = None
    if server.keys is not None:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise APIError(
                "an API key is missing; send it as `Authorization: Bearer KEY`", 401, code="missing_api_key"
            )
        keys = server.keys
        key = keys.find(token.strip()) if keys.fresh() else await run_in_threadpool(keys.find, token.strip())
        if key is None:
            raise APIError("this API key is not known, or it was closed", 401, code="invalid_api_key")
        who = key.id
    if wait := server.rate_limiter.take(who):
        raise APIError("you ask too often; wait a little", 429, code="rate_limit_exceeded", retry=wait)
    return key


def _asker(server: ServerState, key: Key | None, asked: BaseCompletionRequest, store: bool) -> Requester:
    owner = key.pseudonym if key else "everybody"
    user = owner
    if asked.user is not None and server.recorder is not None:
        user = server.recorder.pseudonym(owner, asked.user)
    return Requester(user, recorder.consent_version(recorder.API_CONSENT) if store else None, "api")


def _counts(
    server: ServerState, source: ServedModel, asked: BaseCompletionRequest, prompts: int
) -> tuple[int, int]:
    """How many answers a prompt are sampled, and how many given out. Raises APIError when that is too much."""
    count = asked.best_of or max(server.best_of, asked.n)
    if count < asked.n:
        raise APIError(f"best_of = {count} answers are fewer than n = {asked.n}", param="best_of")
    if count * prompts > server.max_answers:
        raise APIError(
            f"at most {server.max_answers} answers a request, {count * prompts} were asked for", param="n"
        )
    if count > asked.n and not source.scores:
        said = 'best_of: this server has no reward model to choose with; its [serve.api] needs reward = "learn.reward"'
        raise APIError(said, param="best_of", code="unsupported_parameter")
    return count, asked.n


async def chat(request: Request) -> Response:
    """POST /v1/chat/completions."""
    server: ServerState = request.app.state.server
    key = await _caller(request)
    asked = protocol.parse_request(ChatCompletionRequest, await read_body(request, server.max_request_bytes))
    source = server.source(asked.model)
    count, wanted = _counts(server, source, asked, 1)
    ask = GenerationRequest(
        source.name,
        messages=tuple(turned.message() for turned in asked.messages),
        best_of=count,
        n=wanted,
        seed=asked.seed,
        max_tokens=asked.max_completion_tokens or asked.max_tokens,
        temperature=asked.temperature,
        top_p=asked.top_p,
        stop=asked.stops,
        top_logprobs=asked.top_logprobs if asked.logprobs else None,
    )
    talk = Exchange(server, source, ask, _asker(server, key, asked, asked.store), recorder.new_id("chatcmpl"))
    return await _answer(request, asked, talk, _Chat(talk))


async def text(request: Request) -> Response:
    """POST /v1/completions."""
    server: ServerState = request.app.state.server
    key = await _caller(request)
    asked = protocol.parse_request(CompletionRequest, await read_body(request, server.max_request_bytes))
    source = server.source(asked.model)
    prompts = asked.prompts()
    if not prompts:
        raise APIError("prompt: the list is empty", param="prompt")
    count, wanted = _counts(server, source, asked, len(prompts))
    ask = GenerationRequest(
        source.name,
        prompts=tuple(prompts),
        best_of=count,
        n=wanted,
        seed=asked.seed,
        max_tokens=asked.max_tokens or 16,
        temperature=asked.temperature,
        top_p=asked.top_p,
        stop=asked.stops,
        top_logprobs=asked.logprobs,
    )
    talk = Exchange(server, source, ask, _asker(server, key, asked, False), recorder.new_id("cmpl"))
    return await _answer(request, asked, talk, _Text(talk))


class _Chat:
    """How the chat protocol writes answers."""

    kind, chunk = "chat.completion", "chat.completion.chunk"

    def __init__(self, talk: Exchange) -> None:
        self.talk = talk

    def choice(self, index: int, said: Completion, turn: str | None) -> dict[str, Any]:
        shown = (
            None
            if self.talk.ask.top_logprobs is None
            else protocol.chat_logprobs(said.tokens, self.talk.source.spell)
        )
        message = {"role": "assistant", "content": said.text, "refusal": None}
        return {"index": index, "message": message, "logprobs": shown, "finish_reason": said.finish} | _ours(
            said.score, turn
        )

    def begin(self, index: int) -> dict[str, Any] | None:
        return {
            "index": index,
            "delta": {"role": "assistant", "content": ""},
            "logprobs": None,
            "finish_reason": None,
        }

    def piece(self, piece: Piece) -> dict[str, Any]:
        shown = (
            None
            if self.talk.ask.top_logprobs is None
            else protocol.chat_logprobs(piece.tokens, self.talk.source.spell)
        )
        return {
            "index": piece.answer,
            "delta": {"content": piece.text},
            "logprobs": shown,
            "finish_reason": None,
        }

    def end(self, index: int, said: Completion, turn: str | None) -> dict[str, Any]:
        return {"index": index, "delta": {}, "logprobs": None, "finish_reason": said.finish} | _ours(
            said.score, turn
        )


class _Text:
    """How the completions protocol writes answers."""

    kind, chunk = "text_completion", "text_completion"

    def __init__(self, talk: Exchange) -> None:
        self.talk = talk

    def _logprobs(self, tokens: Any, offset: int) -> dict[str, Any] | None:
        return (
            None
            if self.talk.ask.top_logprobs is None
            else protocol.completion_logprobs(tokens, self.talk.source.spell, offset)
        )

    def choice(self, index: int, said: Completion, turn: str | None) -> dict[str, Any]:
        shown = self._logprobs(said.tokens, 0)
        return {"index": index, "text": said.text, "logprobs": shown, "finish_reason": said.finish} | _ours(
            said.score, turn
        )

    def begin(self, index: int) -> dict[str, Any] | None:
        return None

    def piece(self, piece: Piece) -> dict[str, Any]:
        before = len(self.talk.said[piece.answer].text) - len(piece.text)
        return {
            "index": piece.answer,
            "text": piece.text,
            "logprobs": self._logprobs(piece.tokens, before),
            "finish_reason": None,
        }

    def end(self, index: int, said: Completion, turn: str | None) -> dict[str, Any]:
        return {"index": index, "text": "", "logprobs": None, "finish_reason": said.finish} | _ours(
            said.score, turn
        )


def _ours(score: float | None, turn: str | None) -> dict[str, Any]:
    """What we say beyond the protocol: the reward model's score where it chose, and the turn's id once it is kept."""
    return ({} if score is None else {"score": score}) | ({} if turn is None else {"turn": turn})


async def _answer(
    request: Request, asked: BaseCompletionRequest, talk: Exchange, shape: _Chat | _Text
) -> Response:
    """Answer at once or piece by piece. Whatever is wrong before the first piece is told as a status of its own."""
    try:
        await talk.open()
        if asked.stream:
            pieces = talk.pieces()
            first = await cancel_on_disconnect(request.receive, _first(pieces))
            return EventStream(_events(asked, talk, shape, first, pieces), talk.close)
        said = await cancel_on_disconnect(request.receive, talk.all())
        choices = [shape.choice(index, one, await talk.keep(index)) for index, one in enumerate(said)]
    except BaseException:
        talk.close(whole=False)
        raise
    talk.close()
    return JSONResponse(_head(talk, shape.kind) | {"choices": choices, "usage": talk.usage()})


async def _first(pieces: AsyncIterator[Piece]) -> Piece:
    return await anext(pieces)


async def _events(
    asked: BaseCompletionRequest,
    talk: Exchange,
    shape: _Chat | _Text,
    first: Piece,
    rest: AsyncIterator[Piece],
) -> AsyncGenerator[str]:
    head = _head(talk, shape.chunk)
    more: dict[str, Any] = {"usage": None} if asked.stream_options.include_usage else {}
    begun: set[int] = set()

    async def all_of_it() -> AsyncIterator[Piece]:
        yield first
        async for piece in rest:
            yield piece

    try:
        async for piece in all_of_it():
            if piece.answer not in begun:
                begun.add(piece.answer)
                if (opening := shape.begin(piece.answer)) is not None:
                    yield format_event(head | {"choices": [opening]} | more)
            if piece.text or piece.tokens:
                yield format_event(head | {"choices": [shape.piece(piece)]} | more)
            if piece.finish is not None:
                turn = await talk.keep(piece.answer)
                yield format_event(
                    head | {"choices": [shape.end(piece.answer, talk.said[piece.answer], turn)]} | more
                )
        if more:
            yield format_event(head | {"choices": [], "usage": talk.usage()})
        yield "data: [DONE]\n\n"
    except Exception as error:
        if (said := to_api_error(error)) is None:
            raise
        yield format_event(said.body())


def _head(talk: Exchange, kind: str) -> dict[str, Any]:
    model = talk.source
    return {
        "id": talk.name,
        "object": kind,
        "created": int(time.time()),
        "model": model.name,
        "system_fingerprint": f"fp_{model.answerer.content[:12]}",
    }


async def all_models(request: Request) -> Response:
    """GET /v1/models."""
    await _caller(request)
    server: ServerState = request.app.state.server
    return JSONResponse({"object": "list", "data": [_model(server, name) for name in server.models]})


async def one_model(request: Request) -> Response:
    """GET /v1/models/NAME."""
    await _caller(request)
    server: ServerState = request.app.state.server
    return JSONResponse(_model(server, server.source(request.path_params["name"]).name))


def _model(server: ServerState, name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": server.started, "owned_by": "biddable"}


async def forget(request: Request) -> Response:
    """DELETE /v1/data?user=NAME: takes out what was kept of a program's user; without a name, of the key's owner."""
    key = await _caller(request)
    server: ServerState = request.app.state.server
    if server.recorder is None or key is None:
        raise APIError("nothing is kept here that belongs to a key", 404)
    name = request.query_params.get("user")
    user = key.pseudonym if name is None else server.recorder.pseudonym(key.pseudonym, name)
    turns, feedback = await server.recorder.forget(user)
    return JSONResponse({"object": "data.deleted", "turns": turns, "feedback": feedback})


async def health(request: Request) -> Response:
    """GET /health: 200 while every model can answer."""
    server: ServerState = request.app.state.server
    down = [name for name, source in server.models.items() if not await source.alive()]
    return JSONResponse(
        {"status": "failing" if down else "ok"} | ({"models": down} if down else {}), 503 if down else 200
    )


async def metrics(request: Request) -> Response:
    """GET /metrics, for Prometheus, with a key."""
    await _caller(request)
    server: ServerState = request.app.state.server
    loads = [source.load() for source in server.models.values()]
    server.metrics.running.set(sum(busy for busy, _ in loads))
    server.metrics.waiting.set(sum(waiting for _, waiting in loads))
    return Response(server.metrics.text(), media_type="text/plain; version=0.0.4")


ROUTES = [
    Route("/v1/chat/completions", chat, methods=["POST"]),
    Route("/v1/completions", text, methods=["POST"]),
    Route("/v1/models", all_models),
    Route("/v1/models/{name:path}", one_model),
    Route("/v1/data", forget, methods=["DELETE"]),
    Route("/health", health),
    Route("/metrics", metrics),
]
PATHS = frozenset(route.path for route in ROUTES)


def application(server: ServerState) -> Starlette:
    """The API as an application of its own: no cookies, no forms."""

    def count(path: str, status: int) -> None:
        server.metrics.requests.labels(path if path in PATHS else "other", str(status)).inc()

    app = Starlette(
        routes=ROUTES,
        exception_handlers=dict.fromkeys((HTTPException, *REFUSALS), error_response),
        middleware=[Middleware(RequestLogMiddleware, count=count)],
    )
    app.state.server = server
    return app
