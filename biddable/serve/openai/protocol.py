"""The OpenAI protocol: what a request may say, how answers and errors look. Shapes only; nothing here waits or computes.

Fields that we do not know are ignored, as clients send many; fields that we know and cannot honour are refused by name, unless they ask for nothing
(a penalty of 0, an empty list of tools).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from biddable.run.records import Message
from biddable.serve.engine.requests import Token

MAX_STOPS = 16
MAX_STOP_CHARACTERS = 256


class APIError(Exception):
    """A request that is refused: HTTP status, what is wrong, and where."""

    def __init__(
        self,
        message: str,
        status: int = 400,
        param: str | None = None,
        code: str | None = None,
        retry: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message, self.status, self.param, self.code, self.retry = message, status, param, code, retry

    def body(self) -> dict[str, Any]:
        """The error in the shape that OpenAI's clients understand."""
        kind = ERROR_TYPES.get(self.status, "server_error" if self.status >= 500 else "invalid_request_error")
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}


ERROR_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    429: "rate_limit_error",
    503: "overloaded_error",
}


class RequestBody(BaseModel):
    """What all requests share: strict types, null means the default."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, values: Any) -> Any:
        return {k: v for k, v in values.items() if v is not None} if isinstance(values, dict) else values


class ContentPart(RequestBody):
    """A part of a message's content; only text is understood."""

    type: Literal["text", "input_text"]
    text: str


class ChatMessage(RequestBody):
    """One message of a dialogue."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[ContentPart]

    def message(self) -> Message:
        content = (
            self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)
        )
        return Message(role="system" if self.role == "developer" else self.role, content=content)


class StreamOptions(RequestBody):
    include_usage: bool = False


class BaseCompletionRequest(RequestBody):
    """What both kinds of request share."""

    model: str = Field(min_length=1, max_length=200)
    max_tokens: int | None = Field(default=None, ge=1)
    temperature: float = Field(default=1.0, ge=0, le=2)
    top_p: float = Field(default=1.0, gt=0, le=1)
    n: int = Field(default=1, ge=1)
    best_of: int | None = Field(default=None, ge=1)
    seed: int | None = Field(default=None, ge=-(2**63), lt=2**63)
    stop: (
        Annotated[str, Field(min_length=1, max_length=MAX_STOP_CHARACTERS)]
        | list[Annotated[str, Field(min_length=1, max_length=MAX_STOP_CHARACTERS)]]
    ) = Field(default=[], max_length=max(MAX_STOPS, MAX_STOP_CHARACTERS))
    stream: bool = False
    stream_options: StreamOptions = StreamOptions()
    user: str | None = Field(default=None, max_length=500)

    @property
    def stops(self) -> tuple[str, ...]:
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop)


class ChatCompletionRequest(BaseCompletionRequest):
    """The body of /v1/chat/completions."""

    messages: list[ChatMessage] = Field(min_length=1)
    max_completion_tokens: int | None = Field(default=None, ge=1)
    logprobs: bool = False
    top_logprobs: int = Field(default=0, ge=0, le=20)
    store: bool = False


class CompletionRequest(BaseCompletionRequest):
    """The body of /v1/completions."""

    prompt: str | list[str] | list[Annotated[int, Field(ge=0)]] | list[list[Annotated[int, Field(ge=0)]]]
    logprobs: int | None = Field(default=None, ge=0, le=5)

    def prompts(self) -> list[str | tuple[int, ...]]:
        """Each prompt as text or token ids."""
        if isinstance(self.prompt, str):
            return [self.prompt]
        texts = [one for one in self.prompt if isinstance(one, str)]
        numbers = [one for one in self.prompt if isinstance(one, int)]
        lists = [tuple(one) for one in self.prompt if isinstance(one, list)]
        return [*texts, *lists, *([tuple(numbers)] if numbers else [])]


NEUTRAL_VALUES: dict[str, tuple[Any, ...]] = {
    "tools": ([],),
    "functions": ([],),
    "tool_choice": ("none", "auto"),
    "function_call": ("none", "auto"),
    "response_format": ({"type": "text"},),
    "logit_bias": ({},),
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "modalities": (["text"],),
    "audio": (),
    "prediction": (),
    "echo": (False,),
    "suffix": ("",),
    "web_search_options": (),
}
"""Fields that would change the answer and that we do not have, with the values that ask for nothing."""

A = TypeVar("A", bound=BaseCompletionRequest)
B = TypeVar("B", bound=RequestBody)


class _Unknown(BaseModel):
    """A body as it came, to look for fields that we cannot honour."""

    model_config = ConfigDict(extra="allow")


def parse_request(kind: type[A], data: bytes) -> A:
    """The request in a body. Raises APIError for bytes that are no JSON, and for fields that are wrong or that we cannot honour."""
    try:
        asked = kind.model_validate_json(data)
        extra = _Unknown.model_validate_json(data).model_extra or {}
    except ValidationError as error:
        raise invalid_request(error) from None
    for name, neutral in NEUTRAL_VALUES.items():
        if extra.get(name) is not None and extra[name] not in neutral:
            raise APIError(
                f"{name} is not supported by this server; leave it out",
                param=name,
                code="unsupported_parameter",
            )
    if len(asked.stops) > MAX_STOPS:
        raise APIError(f"stop: at most {MAX_STOPS} stop words, got {len(asked.stops)}", param="stop")
    return asked


def invalid_request(error: ValidationError) -> APIError:
    """The first mistake of a body, in one line."""
    mistakes = error.errors(include_url=False, include_context=False)
    first = mistakes[0]
    if first["type"] == "json_invalid":
        return APIError(f"the body is not JSON: {first['msg']}", code="invalid_json")
    place = [
        str(part)
        for part in first["loc"]
        if not re.fullmatch(r"str|int|list\[.*|constrained-.*|function-.*", str(part))
    ]
    where = ".".join(place) or "body"
    value = repr(first.get("input"))
    shown = value if len(value) <= 80 else value[:77] + "..."
    more = f" (and {len(mistakes) - 1} more)" if len({m["loc"][:1] for m in mistakes}) > 1 else ""
    return APIError(f"{where}: {first['msg']}; got {shown}{more}", param=where, code="invalid_value")


def usage(prompt: int, completion: int) -> dict[str, int]:
    """How many tokens went in and out."""
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


def token_logprob(name: str, logp: float) -> dict[str, Any]:
    """One token with its log-probability as the chat protocol writes it."""
    whole = "\ufffd" not in name
    return {"token": name, "logprob": logp, "bytes": list(name.encode("utf-8", "replace")) if whole else None}


def chat_logprobs(tokens: Sequence[Token], spell: Any) -> dict[str, Any]:
    """Tokens as the chat protocol writes them. `spell`: id -> text."""
    content = [
        {
            **token_logprob(spell(token.id), token.logp),
            "top_logprobs": [token_logprob(spell(i), p) for i, p in token.top],
        }
        for token in tokens
    ]
    return {"content": content, "refusal": None}


def completion_logprobs(tokens: Sequence[Token], spell: Any, offset: int) -> dict[str, Any]:
    """Tokens as the completions protocol writes them; `offset` is where the first stands in the text."""
    names = [spell(token.id) for token in tokens]
    offsets = []
    for name in names:
        offsets.append(offset)
        offset += len(name)
    return {
        "tokens": names,
        "token_logprobs": [token.logp for token in tokens],
        "top_logprobs": [{spell(i): p for i, p in token.top} for token in tokens],
        "text_offset": offsets,
    }
