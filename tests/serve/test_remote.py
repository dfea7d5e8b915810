"""What other servers answer, in the shapes in which vLLM and llama.cpp write it."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx2
import pytest

from biddable.run.records import Message
from biddable.run.records import Policy as Answerer
from biddable.serve.engine.backend import GenerationRequest
from biddable.serve.engine.remote import RemoteModel
from biddable.serve.engine.requests import Alternative, DeadlineExceeded, Piece, QueueFull, Token
from biddable.serve.openai.bodies import APIError

HEAD = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1749994809, "model": "learn.ppo"}
ASK = GenerationRequest(
    "learn.ppo", messages=(Message(role="user", content="Name a fruit."),), seed=7, max_tokens=9, stop=("!",)
)
USAGE = {"prompt_tokens": 12, "total_tokens": 14, "completion_tokens": 2, "prompt_tokens_details": None}


def delta(index: int = 0, finish: str | None = None, **said: Any) -> dict[str, Any]:
    return {
        "choices": [
            {"index": index, "delta": said, "logprobs": None, "finish_reason": finish, "token_ids": None}
        ]
    }


def stream(*events: dict[str, Any], end: str = "data: [DONE]\n\n") -> bytes:
    return ("".join(f"data: {json.dumps(HEAD | one)}\n\n" for one in events) + end).encode()


def asked(
    answer: Callable[[httpx2.Request], httpx2.Response], ask: GenerationRequest = ASK
) -> tuple[list[Piece], Any]:
    """The pieces that a remote engine's answer becomes, and its stream."""

    async def go() -> tuple[list[Piece], Any]:
        async with httpx2.AsyncClient(
            transport=httpx2.MockTransport(answer), base_url="http://engine"
        ) as client:
            remote = RemoteModel("learn.ppo", Answerer(folder="x", content="y"), client, "theirs", 64)
            events = await remote.open(ask)
            return [piece async for piece in events], events

    return asyncio.run(go())


def says(*events: dict[str, Any], **more: Any) -> Callable[[httpx2.Request], httpx2.Response]:
    return lambda _: httpx2.Response(
        200, content=stream(*events, **more), headers={"content-type": "text/event-stream; charset=utf-8"}
    )


def test_a_dialogue_as_vllm_streams_it() -> None:
    sent: list[dict[str, Any]] = []
    opening = delta(role="assistant", content="", reasoning_content=None) | {
        "prompt_token_ids": None,
        "usage": None,
    }
    last = delta(content="", finish="stop")
    last["choices"][0]["stop_reason"] = "!"
    events = (
        opening,
        delta(reasoning="let me think", content=None),
        delta(content="An "),
        delta(content="apple", reasoning_content=None) | {"usage": None},
        last,
        {"choices": [], "usage": USAGE},
    )

    def answer(request: httpx2.Request) -> httpx2.Response:
        sent.append(json.loads(request.content))
        assert request.url.path == "/v1/chat/completions"
        return says(*events)(request)

    pieces, whole = asked(answer)
    assert pieces == [Piece(0, "An ", ()), Piece(0, "apple", ()), Piece(0, "", (), "stop")]
    assert (whole.prompt_tokens, whole.completion_tokens) == (12, 2)
    assert sent == [
        {
            "model": "theirs",
            "messages": [{"role": "user", "content": "Name a fruit."}],
            "n": 1,
            "max_tokens": 9,
            "temperature": 1.0,
            "top_p": 1.0,
            "stream": True,
            "stream_options": {"include_usage": True},
            "seed": 7,
            "stop": ["!"],
        }
    ]


def test_top_k_is_handed_on_where_it_was_asked_for() -> None:
    sent: list[dict[str, object]] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        sent.append(json.loads(request.content))
        return says(delta(0, content="a", finish="stop"))(request)

    asked(answer, dataclasses.replace(ASK, top_k=5))
    asked(answer, ASK)
    assert [body.get("top_k", "absent") for body in sent] == [5, "absent"]


def test_the_last_text_may_come_with_the_finish_and_answers_interleaved() -> None:
    ask = GenerationRequest("learn.ppo", messages=ASK.messages, best_of=2, n=2)
    pieces, _ = asked(
        says(
            delta(1, content="b"),
            delta(0, content="a", finish="length"),
            delta(1, content="c", finish="stop"),
        ),
        ask,
    )
    assert pieces == [Piece(1, "b", ()), Piece(0, "a", (), "length"), Piece(1, "c", (), "stop")]


def test_completions_count_answers_prompt_by_prompt() -> None:
    choices = [
        {
            "index": n,
            "text": f"t{n}",
            "logprobs": None,
            "finish_reason": "stop",
            "stop_reason": None,
            "prompt_logprobs": None,
        }
        for n in range(4)
    ]
    ask = GenerationRequest("learn.ppo", prompts=("one", (5, 6)), best_of=2, n=2)
    pieces, _ = asked(says(*({"object": "text_completion", "choices": [one]} for one in choices)), ask)
    assert [(piece.answer, piece.text) for piece in pieces] == [(0, "t0"), (1, "t1"), (2, "t2"), (3, "t3")]


@pytest.mark.parametrize(
    "answer",
    [
        says(delta(content="An")),  # ends without an end
        says(delta(content="An"), end=""),
        says(),
        says(delta(content="An"), delta(finish="abort")),
        says(
            delta(content="An"),
            {
                "error": {
                    "message": "EngineCore died",
                    "type": "InternalServerError",
                    "param": None,
                    "code": 500,
                }
            },
        ),
        says(delta(content="An"), {"object": "error", "message": "EngineCore died", "code": 400}),
        says(delta(content="An"), end="data: {broken\n\n"),
        says({"choices": [{"delta": {"content": "x"}}]}),
    ],
)
def test_what_breaks_off_is_told(answer: Any) -> None:
    with pytest.raises(APIError) as told:
        asked(answer)
    assert told.value.status == 502 and told.value.code == "engine_error"


LONG = (
    "This model's maximum context length is 8192 tokens. However, you requested 9000 tokens. Please "
    "reduce the length."
)
BODIES = [
    {"error": {"message": LONG, "type": "BadRequestError", "param": None, "code": 400}},
    {"object": "error", "message": LONG, "type": "BadRequestError", "param": None, "code": 400},
    {"detail": LONG},
    {"error": LONG},
]


@pytest.mark.parametrize("body", BODIES)
def test_a_clients_mistake_is_passed_on_in_any_of_their_shapes(body: Any) -> None:
    with pytest.raises(APIError) as told:
        asked(lambda _: httpx2.Response(400, json=body))
    assert (told.value.status, told.value.message, told.value.param, told.value.code) == (
        400,
        LONG,
        None,
        None,
    )


def test_the_engines_own_troubles() -> None:
    for status in (429, 503):
        with pytest.raises(QueueFull) as full:
            asked(lambda _, status=status: httpx2.Response(status, text="busy", headers={"retry-after": "7"}))
        assert full.value.seconds == 7
    for status, body in ((401, {"error": "Unauthorized"}), (404, BODIES[0]), (500, BODIES[0]), (502, None)):
        with pytest.raises(APIError) as told:
            asked(lambda _, status=status, body=body: httpx2.Response(status, json=body))
        assert told.value.status == 502 and told.value.message.startswith("the engine refuses: ")
    with pytest.raises(APIError, match="status 500"):
        asked(lambda _: httpx2.Response(500, text="<html>"))

    def late(request: httpx2.Request) -> httpx2.Response:
        raise httpx2.ReadTimeout("late", request=request)

    def down(request: httpx2.Request) -> httpx2.Response:
        raise httpx2.ConnectError("refused", request=request)

    with pytest.raises(DeadlineExceeded):
        asked(late)
    with pytest.raises(APIError, match="does not answer"):
        asked(down)


def test_log_probabilities_are_asked_for_and_passed_on() -> None:
    sent: list[dict[str, Any]] = []
    entry = {"token": " é", "logprob": -0.5, "bytes": [32, 195, 169]}
    end = {"token": "</s>", "logprob": -2.0, "bytes": None, "top_logprobs": []}
    event = delta(content=" é")
    event["choices"][0]["logprobs"] = {"content": [{**entry, "top_logprobs": [entry, entry]}]}
    last = delta(finish="stop")
    last["choices"][0]["logprobs"] = {"content": [end]}
    completion = {
        "tokens": ["a", "b"],
        "token_logprobs": [-1.0, -2.0],
        "top_logprobs": [{"a": -1.0}, None],
        "text_offset": [3, 4],
    }

    def answer(request: httpx2.Request) -> httpx2.Response:
        sent.append(json.loads(request.content))
        if request.url.path == "/v1/completions":
            choice = {"index": 0, "text": "ab", "logprobs": completion, "finish_reason": "length"}
            return says({"choices": [choice]})(request)
        return says(event, last)(request)

    other = Alternative(None, -0.5, " é", b" \xc3\xa9")
    pieces, _ = asked(answer, GenerationRequest("learn.ppo", messages=ASK.messages, top_logprobs=2))
    assert pieces == [
        Piece(0, " é", (Token(None, -0.5, " é", b" \xc3\xa9", (other, other)),)),
        Piece(0, "", (Token(None, -2.0, "</s>"),), "stop"),
    ]
    pieces, _ = asked(answer, GenerationRequest("learn.ppo", prompts=("x",), top_logprobs=1))
    top = (Alternative(None, -1.0, "a", None),)
    tokens = (Token(None, -1.0, "a", None, top, 3), Token(None, -2.0, "b", None, (), 4))
    assert pieces == [Piece(0, "ab", tokens, "length")]
    assert (sent[0]["logprobs"], sent[0]["top_logprobs"]) == (True, 2)
    assert sent[1]["logprobs"] == 1 and "top_logprobs" not in sent[1]


def test_lines_end_at_the_newline_only() -> None:
    """U+2028, U+2029, U+0085 and form feeds are text. The stream comes three bytes at a time, so that lines and
    characters are cut anywhere."""
    text = "one\u2028two\u2029three\x85four\x0cfive"
    event = json.dumps(HEAD | delta(content=text, finish="stop"), ensure_ascii=False)
    body = f"data: {event}\r\n\r\ndata: [DONE]".encode()

    class Pieces(httpx2.AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            for start in range(0, len(body), 3):
                yield body[start : start + 3]

    pieces, _ = asked(lambda _: httpx2.Response(200, stream=Pieces()))
    assert "".join(piece.text for piece in pieces) == text
