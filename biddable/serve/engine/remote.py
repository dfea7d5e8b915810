"""An engine behind HTTP: any server that speaks the OpenAI protocol and has the merged policy loaded, such as
vLLM. It does the computing; keys, limits, consent, pages and the folder of turns stay here."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

import httpx2

from biddable.run.config import UserError
from biddable.run.outgoing import without_key
from biddable.run.parse import parse_json
from biddable.run.records import Finish
from biddable.run.records import Policy as Answerer
from biddable.run.redaction import redact_url
from biddable.serve.engine.backend import GenerationRequest
from biddable.serve.engine.requests import Alternative, DeadlineExceeded, Piece, QueueFull, Token
from biddable.serve.openai.bodies import APIError


def client(url: str, key: str | None, seconds: float) -> httpx2.AsyncClient:
    """A connection to the server at `url` (with or without /v1)."""
    base = url.rstrip("/").removesuffix("/v1")
    headers = {"authorization": f"Bearer {key}"} if key else {}
    limits = httpx2.Limits(max_connections=None, max_keepalive_connections=32)
    return httpx2.AsyncClient(
        base_url=base, headers=headers, timeout=httpx2.Timeout(seconds, connect=10), limits=limits
    )


def names(url: str, key: str | None) -> list[str]:
    """The models that the server has. Raises UserError when it does not answer as such a server would."""
    where = url.rstrip("/").removesuffix("/v1") + "/v1/models"
    try:
        response = httpx2.get(where, headers={"authorization": f"Bearer {key}"} if key else {}, timeout=10)
        response.raise_for_status()
        return [str(model["id"]) for model in response.json()["data"]]
    except (httpx2.HTTPError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f'[serve.api] engine = "{redact_url(url)}": does not list models under /v1/models: {error}'
        ) from error


async def _lines(response: httpx2.Response) -> AsyncIterator[str]:
    """The lines of a stream, cut at the newline only: httpx cuts at U+2028 and the like too, which JSON holds
    as text."""
    rest = b""
    async for chunk in response.aiter_bytes():
        *complete, rest = (rest + chunk).split(b"\n")
        for line in complete:
            yield line.decode().rstrip("\r")
    if rest:
        yield rest.decode().rstrip("\r")


class _EventStream:
    """The other server's event stream, as pieces."""

    def __init__(self, request: GenerationRequest, response: httpx2.Response, max_tokens: int) -> None:
        self.prompt_tokens, self.max_tokens, self.seed = 0, max_tokens, request.seed
        self.answers = request.n * max(1, len(request.prompts))
        self._request, self._response = request, response
        self.completion_tokens: int | None = 0
        self._closing: asyncio.Task[None] | None = None

    async def __aiter__(self) -> AsyncIterator[Piece]:
        unfinished = set(range(self.answers))
        try:
            async for line in _lines(self._response):
                if not line.startswith("data:") or line.endswith("[DONE]"):
                    continue
                for piece in self._pieces(parse_json(line.removeprefix("data:"))):
                    if piece.finish is not None:
                        unfinished.discard(piece.answer)
                    yield piece
            if unfinished:
                raise APIError("the engine broke off its answer", 502, code="engine_error", retry=10.0)
        except httpx2.TimeoutException as error:
            raise DeadlineExceeded("the engine took too long") from error
        except (httpx2.HTTPError, ValueError, KeyError, TypeError) as error:
            raise _engine_error(error) from error
        finally:
            await self._response.aclose()

    def _pieces(self, event: dict[str, Any]) -> list[Piece]:
        if event.get("error") or event.get("object") == "error":
            raise APIError(
                f"the engine says: {_error_fields(event, self._response)[0]}", 502, code="engine_error"
            )
        usage = event.get("usage") or {}
        self.prompt_tokens = usage.get("prompt_tokens") or self.prompt_tokens
        self.completion_tokens = usage.get("completion_tokens") or self.completion_tokens
        pieces = []
        for choice in event.get("choices") or []:
            text = (choice.get("delta") or {}).get("content") if "delta" in choice else choice.get("text")
            finish = choice.get("finish_reason")
            if finish in ("abort", "error"):
                raise APIError("the engine broke off its answer", 502, code="engine_error", retry=10.0)
            ended: Finish | None = None if finish is None else "length" if finish == "length" else "stop"
            tokens = _read_tokens(choice.get("logprobs") or {})
            if text or tokens or ended:
                pieces.append(Piece(int(choice["index"]), text or "", tokens, ended))
        return pieces

    def close(self) -> None:
        if not self._response.is_closed:
            self._closing = asyncio.get_running_loop().create_task(self._response.aclose())


@dataclass(frozen=True)
class RemoteModel:
    """A policy on another server."""

    name: str
    answerer: Answerer
    client: httpx2.AsyncClient
    model: str  # what the other server calls it
    max_tokens: int
    scores: bool = False

    async def open(self, request: GenerationRequest) -> _EventStream:
        """Hand the request on. Raises APIError for what the other server refuses, QueueFull when it is
        overloaded."""
        tokens = min(request.max_tokens or self.max_tokens, self.max_tokens)
        sent: dict[str, Any] = {
            "model": self.model,
            "n": request.best_of,
            "max_tokens": tokens,
            "temperature": request.temperature,
            "top_p": request.top_p,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        if request.top_k:
            sent["top_k"] = request.top_k
        if request.seed is not None:
            sent["seed"] = request.seed
        if request.stop:
            sent["stop"] = list(request.stop)
        if request.top_logprobs is not None and request.messages:
            sent |= {"logprobs": True, "top_logprobs": request.top_logprobs}
        elif request.top_logprobs is not None:
            sent["logprobs"] = request.top_logprobs
        if request.messages:
            path, sent["messages"] = (
                "/v1/chat/completions",
                [message.model_dump() for message in request.messages],
            )
        else:
            path = "/v1/completions"
            sent["prompt"] = [one if isinstance(one, str) else list(one) for one in request.prompts]
        try:
            response = await self.client.send(self.client.build_request("POST", path, json=sent), stream=True)
        except httpx2.TimeoutException as error:
            raise DeadlineExceeded("the engine took too long") from error
        except httpx2.HTTPError as error:
            raise _engine_error(error) from error
        if response.status_code != 200:
            raise await _to_error(response)
        return _EventStream(request, response, tokens)

    async def alive(self) -> bool:
        try:
            return (await self.client.get("/v1/models", timeout=5)).status_code == 200
        except httpx2.HTTPError:
            return False

    def load(self) -> tuple[int, int]:
        return 0, 0


def _read_tokens(logprobs: dict[str, Any]) -> tuple[Token, ...]:
    """An event's tokens, in the shape of chats (with bytes) or of completions (with offsets). The other
    server decides which tokens a stop string leaves."""
    if logprobs.get("content") is not None:
        return tuple(_read_token(entry) for entry in logprobs["content"])
    columns = [
        logprobs.get(name) or [] for name in ("tokens", "token_logprobs", "top_logprobs", "text_offset")
    ]
    tokens = []
    for text, logp, top, offset in zip_longest(*columns):
        alternatives = tuple(Alternative(None, value, word, None) for word, value in (top or {}).items())
        tokens.append(Token(None, float(logp), text, None, alternatives, offset or 0))
    return tuple(tokens)


def _read_token(entry: dict[str, Any]) -> Token:
    top = tuple(_read_alternative(other) for other in entry.get("top_logprobs") or [])
    drawn = _read_alternative(entry)
    return Token(drawn.id, drawn.logp, drawn.text, drawn.utf8, top)


def _read_alternative(entry: dict[str, Any]) -> Alternative:
    utf8 = entry.get("bytes")
    return Alternative(None, float(entry["logprob"]), entry["token"], None if utf8 is None else bytes(utf8))


def _engine_error(error: Exception) -> APIError:
    return APIError(
        f"the engine does not answer ({type(error).__name__})", 502, code="engine_error", retry=10.0
    )


async def _to_error(response: httpx2.Response) -> Exception:
    """What the other server said no with: its clients' mistakes are passed on, its own troubles are an
    overload."""
    await response.aread()
    await response.aclose()
    if response.status_code in (429, 503):
        seconds = response.headers.get("retry-after", "5")
        return QueueFull(float(seconds) if seconds.isdigit() else 5.0)
    try:
        message, param, code = _error_fields(response.json(), response)
    except ValueError:
        message, param, code = f"status {response.status_code}", None, None
    if 400 <= response.status_code < 500 and response.status_code not in (401, 403, 404):
        return APIError(message, response.status_code, param, code)
    return APIError(f"the engine refuses: {message}", 502, code="engine_error", retry=10.0)


def _error_fields(body: Any, response: httpx2.Response) -> tuple[str, str | None, str | None]:
    """Message, field and code of an error: in OpenAI's shape, flat as older servers write it, or as text
    alone. Codes that are numbers are statuses. Our clients don't learn the engine's key, if it repeats it."""
    key = response.request.headers.get("authorization", "").removeprefix("Bearer ")
    error = body.get("error", body) if isinstance(body, dict) else body
    if not isinstance(error, dict):
        return without_key(str(error), key), None, None
    message = without_key(str(error.get("message") or error.get("detail") or json.dumps(error)), key)
    param, code = error.get("param"), error.get("code")
    return message, param if isinstance(param, str) else None, code if isinstance(code, str) else None
