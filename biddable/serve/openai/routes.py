"""The OpenAI-compatible API: /v1/chat/completions, /v1/completions, /v1/models, and /health and /metrics
beside it."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from biddable.serve import recorder
from biddable.serve.engine.backend import GenerationRequest, ServedModel
from biddable.serve.exchange import Exchange, ServerState
from biddable.serve.openai import protocol
from biddable.serve.openai.bodies import APIError
from biddable.serve.openai.http import REFUSALS, RequestLogMiddleware, error_response, read_body
from biddable.serve.openai.messages import to_records
from biddable.serve.openai.protocol import BaseCompletionRequest, ChatCompletionRequest, CompletionRequest
from biddable.serve.openai.responses import ChatFormat, CompletionFormat, Json, respond
from biddable.serve.recorder import Requester, TurnRecorder
from biddable.store.api_keys import Keys
from biddable.store.types import Key
from biddable.web.gate import Gate
from biddable.web.sessions import client_address

DEFAULT_COMPLETION_TOKENS = 16
"""OpenAI's default of `max_tokens` at /v1/completions."""
OPEN = "everybody"
"""Whose requests they are where no key is needed."""


async def _authorize(request: Request) -> Key | None:
    """The key of a request; None where none is needed. Raises APIError: 401 for a missing or unknown key, 429
    for too many requests, and for too many wrong keys from one address."""
    server = _server(request)
    address = client_address(request)
    key = None
    if server.keys is not None:
        try:
            key = await _find_key(request, server.keys)
        except APIError:
            if seconds := server.rate_limiter.take(f"wrong key {address}"):
                raise too_many_attempts(seconds) from None
            raise
    server.limit_rate(key.id if key else address)
    return key


def too_many_attempts(seconds: float) -> APIError:
    """The answer to wrong keys, however many there are."""
    return APIError(
        "too many attempts with a wrong key; wait a little", 429, code="too_many_attempts", retry=seconds
    )


async def _find_key(request: Request, keys: Keys) -> Key:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise APIError(
            "an API key is missing; send it as `Authorization: Bearer KEY`", 401, code="missing_api_key"
        )
    token = token.strip()
    # Only a key list that is due for reading waits for the store, and that beside the event loop.
    key = keys.find(token) if keys.fresh() else await run_in_threadpool(keys.find, token)
    if key is None:
        raise APIError("this API key is not known, or it was closed", 401, code="invalid_api_key")
    return key


def _server(request: Request) -> ServerState:
    server = request.app.state.server
    assert isinstance(server, ServerState)
    return server


async def _requester(server: ServerState, key: Key | None, user: str | None, store: bool) -> Requester:
    """Whose request it is: the key's owner, or the user that the owner's program names. Raises APIError where
    nobody could ask for what is kept to be deleted: no key, and no name."""
    if server.recorder is None:
        return Requester(OPEN if key is None else key.pseudonym, None, "api")
    if store and key is None and user is None:
        raise APIError(
            "store: this server needs no key, so what it keeps is found again by `user` only; send a name too",
            param="user",
        )
    pseudonym = _pseudonym(server.recorder, key, user)
    agreement = await server.recorder.agree(pseudonym, "api") if store else None
    return Requester(pseudonym, agreement, "api")


def _pseudonym(turn_recorder: TurnRecorder, key: Key | None, user: str | None) -> str:
    owner = OPEN if key is None else key.pseudonym
    return owner if user is None else turn_recorder.pseudonym(owner, user)


def _best_of(server: ServerState, model: ServedModel, body: BaseCompletionRequest, prompts: int) -> int:
    """How many answers are sampled for each prompt. Raises APIError when the request cannot have so many, or
    none can be chosen."""
    best_of = body.best_of or max(server.best_of, body.n)
    if best_of < body.n:
        raise APIError(f"best_of = {best_of} answers are fewer than n = {body.n}", param="best_of")
    if best_of * prompts > server.max_answers:
        raise APIError(
            f"at most {server.max_answers} answers a request, {best_of * prompts} were asked for", param="n"
        )
    if best_of > body.n and not model.scores:
        raise APIError(
            "best_of: this server has no reward model to choose with; its [serve.api] needs reward = "
            '"learn.reward"',
            param="best_of",
            code="unsupported_parameter",
        )
    return best_of


async def chat_completions(request: Request) -> Response:
    """POST /v1/chat/completions."""
    server, key = _server(request), await _authorize(request)
    body = protocol.parse_request(ChatCompletionRequest, await read_body(request, server.max_request_bytes))
    model = server.model(body.model)
    generation = GenerationRequest(
        model.name,
        messages=to_records(body.messages),
        best_of=_best_of(server, model, body, 1),
        n=body.n,
        seed=body.seed,
        max_tokens=body.max_completion_tokens or body.max_tokens,
        temperature=body.temperature,
        top_p=body.top_p,
        top_k=max(body.top_k, 0),
        stop=body.stops,
        top_logprobs=body.top_logprobs if body.logprobs else None,
    )
    requester = await _requester(server, key, body.user, body.store)
    exchange = Exchange(server, model, generation, requester, recorder.new_id("chatcmpl"))
    return await respond(request, body, exchange, ChatFormat(exchange))


async def completions(request: Request) -> Response:
    """POST /v1/completions."""
    server, key = _server(request), await _authorize(request)
    body = protocol.parse_request(CompletionRequest, await read_body(request, server.max_request_bytes))
    model = server.model(body.model)
    prompts = body.prompts()
    if not prompts:
        raise APIError("prompt: the list is empty", param="prompt")
    generation = GenerationRequest(
        model.name,
        prompts=tuple(prompts),
        best_of=_best_of(server, model, body, len(prompts)),
        n=body.n,
        seed=body.seed,
        max_tokens=body.max_tokens or DEFAULT_COMPLETION_TOKENS,
        temperature=body.temperature,
        top_p=body.top_p,
        top_k=max(body.top_k, 0),
        stop=body.stops,
        top_logprobs=body.logprobs,
    )
    # A bare prompt is no dialogue: turns are kept of chats only.
    requester = await _requester(server, key, body.user, store=False)
    exchange = Exchange(server, model, generation, requester, recorder.new_id("cmpl"))
    return await respond(request, body, exchange, CompletionFormat(exchange))


async def list_models(request: Request) -> Response:
    """GET /v1/models."""
    await _authorize(request)
    server = _server(request)
    return JSONResponse({"object": "list", "data": [_describe_model(server, name) for name in server.models]})


async def get_model(request: Request) -> Response:
    """GET /v1/models/NAME."""
    await _authorize(request)
    server = _server(request)
    return JSONResponse(_describe_model(server, server.model(request.path_params["name"]).name))


def _describe_model(server: ServerState, name: str) -> Json:
    return {"id": name, "object": "model", "created": server.started_at, "owned_by": "biddable"}


async def forget(request: Request) -> Response:
    """DELETE /v1/data?user=NAME: delete what was kept of a program's user; without a name, of the key's
    owner."""
    key = await _authorize(request)
    server, name = _server(request), request.query_params.get("user")
    if server.recorder is None:
        raise APIError("nothing is kept here", 404)
    if key is None and name is None:
        raise APIError("name whose data is to be deleted: DELETE /v1/data?user=NAME", param="user")
    user = _pseudonym(server.recorder, key, name)
    turns, feedback = await server.recorder.forget(user, "api")
    return JSONResponse({"object": "data.deleted", "turns": turns, "feedback": feedback})


async def health(request: Request) -> Response:
    """GET /health: 200 while every model can answer, else 503 and the models that cannot."""
    failing = [name for name, model in _server(request).models.items() if not await model.alive()]
    if failing:
        return JSONResponse({"status": "failing", "models": failing}, 503)
    return JSONResponse({"status": "ok"})


async def metrics(request: Request) -> Response:
    """GET /metrics, for Prometheus, with a key."""
    await _authorize(request)
    server = _server(request)
    loads = [model.load() for model in server.models.values()]
    server.metrics.running.set(sum(running for running, _ in loads))
    server.metrics.waiting.set(sum(waiting for _, waiting in loads))
    return Response(server.metrics.text(), media_type="text/plain; version=0.0.4")


ROUTES = [
    Route("/v1/chat/completions", chat_completions, methods=["POST"]),
    Route("/v1/completions", completions, methods=["POST"]),
    Route("/v1/models", list_models),
    Route("/v1/models/{name:path}", get_model),
    Route("/v1/data", forget, methods=["DELETE"]),
    Route("/health", health),
    Route("/metrics", metrics),
]
PATHS = frozenset(route.path for route in ROUTES)


def application(
    server: ServerState, address: str | None = None, hosts: frozenset[str] | None = None
) -> Starlette:
    """The API as an application of its own: no cookies, no forms. `address`, `hosts`: how it is reached, and
    the names by which it may be asked (`Gate`)."""
    https = address is not None and address.startswith("https:")

    def count(path: str, status: int) -> None:
        # Unknown paths share one label: a scanner must not fill the memory with counters.
        server.metrics.requests.labels(path if path in PATHS else "other", str(status)).inc()

    app = Starlette(
        routes=ROUTES,
        exception_handlers=dict.fromkeys((HTTPException, *REFUSALS), error_response),
        middleware=[
            Middleware(RequestLogMiddleware, count=count, https=https),
            Middleware(Gate, refuse=error_response, address=address, hosts=hosts),
        ],
    )
    app.state.server = server
    return app
