"""The protocol's shapes against values written out by hand."""

from __future__ import annotations

import json
from typing import Any

import pytest

from biddable.serve.engine.requests import Token
from biddable.serve.openai import protocol
from biddable.serve.openai.protocol import APIError, ChatCompletionRequest, CompletionRequest

CHAT = {"model": "m", "messages": [{"role": "user", "content": "Hi"}]}
TEXTS = {1: "Ap", 2: "ple", 3: "\ufffd", 4: "é"}


def parse(**fields: Any) -> ChatCompletionRequest:
    return protocol.parse_request(ChatCompletionRequest, json.dumps({**CHAT, **fields}).encode())


def refusal(**fields: Any) -> APIError:
    with pytest.raises(APIError) as caught:
        parse(**fields)
    return caught.value


@pytest.mark.parametrize(
    ("fields", "param", "message"),
    [
        (
            {"temperature": 2.1},
            "temperature",
            "temperature: Input should be less than or equal to 2; got 2.1",
        ),
        ({"temperature": "1"}, "temperature", "temperature: Input should be a valid number; got '1'"),
        ({"n": 0}, "n", "n: Input should be greater than or equal to 1; got 0"),
        ({"top_p": 0}, "top_p", "top_p: Input should be greater than 0; got 0"),
        (
            {"messages": []},
            "messages",
            "messages: List should have at least 1 item after validation, not 0; got []",
        ),
        ({"tools": [{}]}, "tools", "tools is not supported by this server; leave it out"),
        (
            {"frequency_penalty": 0.5},
            "frequency_penalty",
            "frequency_penalty is not supported by this server; leave it out",
        ),
        ({"stop": ["x"] * 17}, "stop", "stop: at most 16 stop words, got 17"),
    ],
)
def test_a_mistake_is_named_with_its_field(fields: dict[str, Any], param: str, message: str) -> None:
    error = refusal(**fields)
    assert (error.status, error.param, error.message) == (400, param, message)


def test_several_mistakes_are_counted_and_long_values_cut() -> None:
    assert refusal(n=0, top_p=0).message.endswith("(and 1 more)")
    assert refusal(n="x" * 200).message == f"n: Input should be a valid integer; got '{'x' * 76}..."


def test_limits_are_reached_and_neutral_values_accepted() -> None:
    body = parse(
        temperature=2, top_p=1, top_logprobs=20, stop=["x"] * 16, tools=[], tool_choice="auto", n=None
    )
    assert (body.temperature, body.n, len(body.stops)) == (2, 1, 16)
    assert parse(stop="abc").stops == ("abc",) and parse().stops == ()


@pytest.mark.parametrize(
    ("prompt", "prompts"),
    [
        ("The sea", ["The sea"]),
        (["a", "b"], ["a", "b"]),
        ([5, 6], [(5, 6)]),
        ([[5], [6, 7]], [(5,), (6, 7)]),
        ([], []),
    ],
)
def test_a_prompt_is_a_text_or_tokens_or_several_of_them(prompt: Any, prompts: list[Any]) -> None:
    data = json.dumps({"model": "m", "prompt": prompt}).encode()
    assert protocol.parse_request(CompletionRequest, data).prompts() == prompts


def test_messages_become_records() -> None:
    parts = [{"type": "text", "text": "Hi "}, {"type": "input_text", "text": "you"}]
    body = parse(messages=[{"role": "developer", "content": "Be brief."}, {"role": "user", "content": parts}])
    records = [message.to_record() for message in body.messages]
    assert [(record.role, record.content) for record in records] == [
        ("system", "Be brief."),
        ("user", "Hi you"),
    ]


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "invalid_request_error"),
        (401, "authentication_error"),
        (404, "invalid_request_error"),
        (429, "rate_limit_error"),
        (500, "server_error"),
        (503, "overloaded_error"),
    ],
)
def test_errors_have_openais_shape(status: int, kind: str) -> None:
    body = APIError("no", status, "n", "some_code").body()
    assert body == {"error": {"message": "no", "type": kind, "param": "n", "code": "some_code"}}


def test_logprobs_and_usage() -> None:
    tokens = (Token(1, -0.5, ((1, -0.5), (4, -1.5))), Token(2, -0.25), Token(3, -2.0))
    assert protocol.completion_logprobs(tokens, TEXTS.__getitem__, 7) == {
        "tokens": ["Ap", "ple", "\ufffd"],
        "token_logprobs": [-0.5, -0.25, -2.0],
        "top_logprobs": [{"Ap": -0.5, "é": -1.5}, {}, {}],
        "text_offset": [7, 9, 12],
    }
    first, _, part = protocol.chat_logprobs(tokens, TEXTS.__getitem__)["content"]
    assert first["token"] == "Ap" and first["logprob"] == -0.5 and first["bytes"] == [65, 112]
    assert first["top_logprobs"][1] == {"token": "é", "logprob": -1.5, "bytes": [195, 169]}
    assert part["bytes"] is None  # part of a character
    assert protocol.usage(3, 4) == {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}
