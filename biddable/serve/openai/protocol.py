"""The OpenAI protocol: what a request may hold, and the shape of answers and errors. Nothing here waits or
computes.

Fields that we do not know are ignored, as clients send many. Fields that we know and cannot honour are
refused by name, unless their value asks for nothing (a penalty of 0, an empty list of tools).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from biddable.run.records import Message
from biddable.serve.engine.requests import Token

MAX_STOPS = 16
MAX_STOP_CHARACTERS = 256


class APIError(Exception):
    """A request that is refused: what is wrong, the HTTP status, the field it is about, OpenAI's code, and
    seconds until a retry may help."""

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
        error_type = ERROR_TYPES.get(
            self.status, "server_error" if self.status >= 500 else "invalid_request_error"
        )
        return {
            "error": {"message": self.message, "type": error_type, "param": self.param, "code": self.code}
        }


ERROR_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    429: "rate_limit_error",
    503: "overloaded_error",
}


class RequestBody(BaseModel):
    """Base of all request bodies: strict types, and null means the default."""

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

    def to_record(self) -> Message:
        """The message as records write it: one text, and developers speak as the system."""
        content = (
            self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)
        )
        return Message(role="system" if self.role == "developer" else self.role, content=content)


class StreamOptions(RequestBody):
    include_usage: bool = False


class BaseCompletionRequest(RequestBody):
    """What both completion endpoints understand."""

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
        """The stop words, however they were written."""
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
        texts = [item for item in self.prompt if isinstance(item, str)]
        token_lists = [tuple(item) for item in self.prompt if isinstance(item, list)]
        token_ids = tuple(item for item in self.prompt if isinstance(item, int))  # a flat list is one prompt
        return [*texts, *token_lists, *([token_ids] if token_ids else [])]


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
"""Fields that would change the answer and that we cannot honour, each with the values that ask for
nothing."""

CompletionBody = TypeVar("CompletionBody", bound=BaseCompletionRequest)
Body = TypeVar("Body", bound=RequestBody)


class _AnyFields(BaseModel):
    """A body as it came, to look for fields that we cannot honour."""

    model_config = ConfigDict(extra="allow")


def parse_request(kind: type[CompletionBody], data: bytes) -> CompletionBody:
    """The request in a body. Raises APIError for bytes that are not JSON, for wrong values, and for fields
    that we cannot honour."""
    body = parse_body(kind, data)
    fields = _AnyFields.model_validate_json(data).model_extra or {}
    for name, neutral in NEUTRAL_VALUES.items():
        if fields.get(name) is not None and fields[name] not in neutral:
            raise APIError(
                f"{name} is not supported by this server; leave it out",
                param=name,
                code="unsupported_parameter",
            )
    if len(body.stops) > MAX_STOPS:
        raise APIError(f"stop: at most {MAX_STOPS} stop words, got {len(body.stops)}", param="stop")
    return body


def parse_body(kind: type[Body], data: bytes) -> Body:
    """A body of our own or of the protocol's. Raises APIError for bytes that are not JSON and for wrong
    values."""
    try:
        return kind.model_validate_json(data)
    except ValidationError as error:
        raise invalid_request(error) from None


PYDANTIC_LOCATION = r"str|int|list\[.*|constrained-.*|function-.*"
"""What pydantic adds to the place of a mistake: which member of a union it tried. It means nothing to a
client."""
MAX_SHOWN = 80
"""Characters of a wrong value that an error repeats."""


def invalid_request(error: ValidationError) -> APIError:
    """The first mistake of a body, in one line."""
    mistakes = error.errors(include_url=False, include_context=False)
    first = mistakes[0]
    if first["type"] == "json_invalid":
        return APIError(f"the body is not JSON: {first['msg']}", code="invalid_json")
    path = [str(part) for part in first["loc"] if not re.fullmatch(PYDANTIC_LOCATION, str(part))]
    param = ".".join(path) or "body"
    value = repr(first.get("input"))
    if len(value) > MAX_SHOWN:
        value = value[: MAX_SHOWN - 3] + "..."
    fields = {mistake["loc"][:1] for mistake in mistakes}  # a union reports one field's mistake several times
    more = f" (and {len(mistakes) - 1} more)" if len(fields) > 1 else ""
    return APIError(f"{param}: {first['msg']}; got {value}{more}", param=param, code="invalid_value")


def usage(prompt_tokens: int, completion_tokens: int) -> dict[str, int]:
    """How many tokens went in and came out."""
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
    }


def token_logprob(text: str, logprob: float) -> dict[str, Any]:
    """One token with its log-probability (nats) as the chat protocol writes it."""
    # A token may be part of a character; it decodes to U+FFFD, and its own bytes are not to be had from that.
    is_whole = "\ufffd" not in text
    return {
        "token": text,
        "logprob": logprob,
        "bytes": list(text.encode("utf-8", "replace")) if is_whole else None,
    }


def chat_logprobs(tokens: Sequence[Token], spell: Callable[[int], str]) -> dict[str, Any]:
    """Tokens as the chat protocol writes them. `spell`: a token id's text."""
    content = [
        {
            **token_logprob(spell(token.id), token.logp),
            "top_logprobs": [token_logprob(spell(id), logp) for id, logp in token.top],
        }
        for token in tokens
    ]
    return {"content": content, "refusal": None}


def completion_logprobs(tokens: Sequence[Token], spell: Callable[[int], str], offset: int) -> dict[str, Any]:
    """Tokens as the completions protocol writes them; `offset` is where the first one begins in the text."""
    texts = [spell(token.id) for token in tokens]
    offsets = []
    for text in texts:
        offsets.append(offset)
        offset += len(text)
    return {
        "tokens": texts,
        "token_logprobs": [token.logp for token in tokens],
        "top_logprobs": [{spell(id): logp for id, logp in token.top} for token in tokens],
        "text_offset": offsets,
    }
