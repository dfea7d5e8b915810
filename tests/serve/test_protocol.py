"""The protocol's shapes against values written out by hand."""

from __future__ import annotations

import json
from typing import Any

import pytest

from biddable.serve.engine.requests import Alternative, Token
from biddable.serve.openai import protocol
from biddable.serve.openai.bodies import APIError
from biddable.serve.openai.messages import to_records
from biddable.serve.openai.protocol import ChatCompletionRequest, CompletionRequest

CHAT = {"model": "m", "messages": [{"role": "user", "content": "Hi"}]}


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
        **{"temperature": 2, "top_p": 1, "logprobs": True, "top_logprobs": 20, "stop": ["x"] * 16},
        **{"tools": [], "tool_choice": "auto", "n": None},
        **{"top_k": 40, "min_p": 0, "repetition_penalty": 1.0},
    )
    assert parse(top_logprobs=0, top_k=0).top_logprobs == 0
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
    records = to_records(body.messages)
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
    """ "Apple é" with the é in two tokens, then an end token; a stop string's token is left out."""
    part = "bytes:\\xc3"
    tokens = (
        Token(
            1, -0.5, "Ap", b"Ap", (Alternative(1, -0.5, "Ap", b"Ap"), Alternative(4, -1.5, "Ap", b"Ap")), 0
        ),
        Token(2, -0.25, "ple ", b"ple ", (), 2),
        Token(3, -2.0, part, b"\xc3", (Alternative(6, -0.1, part, b"\xc3"),), 6),
        Token(5, -1.0, "bytes:\\xa9", b"\xa9", (), 6),
        Token(7, -3.0, "!!", b"!!", (), 7, cut=True),
        Token(9, -0.125, "<|im_end|>", None, (), 7),
    )
    assert protocol.completion_logprobs(tokens) == {
        "tokens": ["Ap", "ple ", part, "bytes:\\xa9", "<|im_end|>"],
        "token_logprobs": [-0.5, -0.25, -2.0, -1.0, -0.125],
        # two tokens with one text stay two; a text that is the drawn token's stands for no other token
        "top_logprobs": [{"Ap": -0.5, "token_id:4": -1.5}, {}, {"token_id:6": -0.1}, {}, {}],
        "text_offset": [0, 2, 6, 6, 7],
    }
    content = protocol.chat_logprobs(tokens)["content"]
    assert [entry["bytes"] for entry in content] == [[65, 112], [112, 108, 101, 32], [195], [169], None]
    assert [entry["bytes"] for entry in content[0]["top_logprobs"]] == [[65, 112], [65, 112]]
    assert content[2]["token"] == part and content[2]["logprob"] == -2.0
    assert protocol.usage(3, 4) == {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}


CALL = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
SDK_NULLS = {"annotations": [], "audio": None, "function_call": None, "tool_calls": None}
"""What the openai client writes when it sends its own answers back."""


@pytest.mark.parametrize(
    ("message", "content"),
    [
        ({"role": "assistant", "content": "Apple", "refusal": None, **SDK_NULLS}, "Apple"),
        ({"role": "assistant", "content": None, "refusal": "I will not.", **SDK_NULLS}, "I will not."),
        ({"role": "assistant", "content": None, "tool_calls": []}, ""),
        ({"role": "assistant"}, ""),
        ({"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]}, "No."),
        (
            {"role": "assistant", "content": [{"type": "output_text", "text": "Yes", "annotations": []}]},
            "Yes",
        ),
        ({"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}, "ab"),
        ({"role": "user", "content": [{"type": "text", "text": "a", "cache_control": {}}], "name": "x"}, "a"),
    ],
)
def test_messages_that_clients_send_back_are_read(message: dict[str, Any], content: str) -> None:
    (record,) = to_records(parse(messages=[message]).messages)
    assert (record.role, record.content) == (message["role"], content)


@pytest.mark.parametrize(
    ("message", "param", "text"),
    [
        (
            {"role": "assistant", "content": None, "tool_calls": [CALL]},
            "tool_calls",
            "a call of a tool is not",
        ),
        ({"role": "assistant", "content": "Wait", "tool_calls": [CALL]}, "tool_calls", "call no tools"),
        (
            {"role": "assistant", "function_call": {"name": "f"}},
            "function_call",
            "a call of a function is not",
        ),
        (
            {"role": "tool", "tool_call_id": "call_1", "content": "sunny"},
            "role",
            "role 'tool' is not supported",
        ),
        ({"role": "function", "name": "f", "content": "1"}, "role", "role 'function' is not supported"),
        ({"role": "assistant", "audio": {"id": "a"}}, "audio", "a spoken answer is not supported"),
        ({"role": "user", "content": None}, "content", "must be a text or a list of text parts"),
        ({"role": "user"}, "content", "must be a text or a list of text parts"),
        (
            {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]},
            "content.0.type",
            "a part of type 'image_url' is not supported",
        ),
        ({"role": "user", "content": [{"type": "text"}]}, "content.0.text", "must be a text"),
        ({"role": "user", "content": ["a"]}, "content.0", "content.0: Input should be"),
        ({"role": "user", "content": [{"text": "a"}]}, "content.0.type", "content.0.type: Field required"),
        ({"role": "user", "content": 5}, "content", "content: Input should be a valid string; got 5"),
        ({"role": "assistant", "tool_calls": "x"}, "tool_calls", "tool_calls: Input should be a valid array"),
    ],
)
def test_messages_that_no_model_here_can_read_are_refused_by_their_place(
    message: dict[str, Any], param: str, text: str
) -> None:
    with pytest.raises(APIError) as caught:
        to_records(parse(messages=[{"role": "user", "content": "Hi"}, message]).messages)
    assert (caught.value.status, caught.value.param) == (400, f"messages.1.{param}")
    assert text in caught.value.message and "\n" not in caught.value.message
