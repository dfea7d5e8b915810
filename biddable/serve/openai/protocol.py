"""The OpenAI protocol: what a request may hold, and the shape of answers and errors. Nothing here waits or
computes.

Fields that we do not know are ignored, as clients send many. Fields that we know and cannot honour are
refused by name, unless their value asks for nothing (a penalty of 0, an empty list of tools).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from biddable.serve.engine.requests import Alternative, Token
from biddable.serve.openai.bodies import APIError, RequestBody, parse_body
from biddable.serve.openai.messages import ChatMessage

MAX_STOPS = 16
MAX_STOP_CHARACTERS = 256


class StreamOptions(RequestBody):
    include_usage: bool = False


class BaseCompletionRequest(RequestBody):
    """What both completion endpoints understand."""

    model: str = Field(min_length=1, max_length=200)
    max_tokens: int | None = Field(default=None, ge=1)
    temperature: float = Field(default=1.0, ge=0, le=2)
    top_p: float = Field(default=1.0, gt=0, le=1)
    top_k: int = Field(default=0, ge=-1, le=2**31 - 1)
    """The likeliest tokens that are drawn from (vLLM's and llama.cpp's field); 0 and -1: all."""
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
    "min_p": (0,),
    "repetition_penalty": (1,),
    "suffix": ("",),
    "web_search_options": (),
}
"""Fields that would change the answer and that we cannot honour, each with the values that ask for
nothing."""

CompletionBody = TypeVar("CompletionBody", bound=BaseCompletionRequest)


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
    if isinstance(body, ChatCompletionRequest) and body.top_logprobs and not body.logprobs:
        raise APIError(
            "top_logprobs: needs logprobs = true beside it", param="top_logprobs", code="invalid_value"
        )
    if len(body.stops) > MAX_STOPS:
        raise APIError(f"stop: at most {MAX_STOPS} stop words, got {len(body.stops)}", param="stop")
    return body


def usage(prompt_tokens: int, completion_tokens: int) -> dict[str, int]:
    """How many tokens went in and came out."""
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
    }


def show_logprob(token: Token | Alternative) -> dict[str, Any]:
    """One token with its log-probability (nats) as the chat protocol writes it. `bytes` is null for control
    tokens: whoever joins the other tokens' bytes has the answer's text."""
    return {
        "token": token.text,
        "logprob": token.logp,
        "bytes": None if token.utf8 is None else list(token.utf8),
    }


def chat_logprobs(tokens: Sequence[Token]) -> dict[str, Any]:
    """Tokens as the chat protocol writes them, without those of a stop string."""
    content = [
        {**show_logprob(token), "top_logprobs": [show_logprob(other) for other in token.top]}
        for token in tokens
        if not token.cut
    ]
    return {"content": content, "refusal": None}


def completion_logprobs(tokens: Sequence[Token]) -> dict[str, Any]:
    """Tokens as the completions protocol writes them, without those of a stop string."""
    shown = [token for token in tokens if not token.cut]
    return {
        "tokens": [token.text for token in shown],
        "token_logprobs": [token.logp for token in shown],
        "top_logprobs": [_by_text(token) for token in shown],
        "text_offset": [token.offset for token in shown],
    }


def _by_text(token: Token) -> dict[str, float]:
    """A token's alternatives by their texts. Of two with one text the second goes by its id, and the drawn
    token's own text stands for no other token."""
    logprobs: dict[str, float] = {}
    for other in token.top:
        is_taken = other.text in logprobs or (other.text == token.text and other.id != token.id)
        logprobs[f"token_id:{other.id}" if is_taken else other.text] = other.logp
    return logprobs
