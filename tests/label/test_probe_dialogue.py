"""Talking with the model that is probed: what is sent, what is kept, and what a labeler reads when it fails.
The endpoint is a server of the test's own."""

from __future__ import annotations

import json
import logging
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from biddable.label import conversation, probes, queue
from biddable.run.config import UserError
from biddable.run.records import Message
from biddable.run.rules import Rule
from biddable.store import drafts
from biddable.store.store import Store, open_store
from biddable.store.types import Person, Task, TaskSet

RULE = Rule(id="kind", text="Be kind.", question="Is it unkind?")


class Endpoint:
    """Answers every request alike, and keeps what came."""

    status, body = 200, b""

    def __init__(self) -> None:
        self.requests: list[tuple[str, dict[str, str], Any]] = []

    def reply(self, text: Any) -> None:
        self.body = json.dumps({"choices": [{"message": {"content": text}}]}).encode()


@pytest.fixture
def endpoint() -> Iterator[tuple[Endpoint, str]]:
    here = Endpoint()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            content = self.rfile.read(int(self.headers["content-length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            here.requests.append((self.path, headers, json.loads(content)))
            self.send_response(here.status)
            self.end_headers()
            self.wfile.write(here.body)

        def log_message(self, *_: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield here, f"http://127.0.0.1:{server.server_port}/v1/chat/completions"
    server.shutdown()
    thread.join()
    server.server_close()


def messages(*texts: str) -> tuple[Message, ...]:
    return tuple(Message(role="assistant" if i % 2 else "user", content=t) for i, t in enumerate(texts))


def test_what_the_endpoint_is_sent(endpoint: tuple[Endpoint, str], monkeypatch: pytest.MonkeyPatch) -> None:
    here, address = endpoint
    here.reply(" go away ")
    monkeypatch.delenv(conversation.KEY, raising=False)
    assert conversation.ask(address, "secret", messages("hello")) == " go away "
    monkeypatch.setenv(conversation.KEY, "k-1")
    conversation.ask(address, "secret", messages("hello", "go away", "why?"))
    (path, first, body), (_, second, longer) = here.requests
    assert path == "/v1/chat/completions" and first["content-type"] == "application/json"
    assert body == {"model": "secret", "messages": [{"role": "user", "content": "hello"}]}
    assert [turn["role"] for turn in longer["messages"]] == ["user", "assistant", "user"]
    assert "authorization" not in first and second["authorization"] == "Bearer k-1"


@pytest.mark.parametrize(
    ("status", "body", "cause", "logged"),
    [
        (500, b"out of memory", "its server answered with status 500", "status 500: out of memory"),
        (404, b"x" * 900, "its server answered with status 404", "x" * 500),
        (200, b"not json", "its server sent something that is not an answer", "not: not json"),
        (200, b'{"choices": []}', "its server sent something that is not an answer", 'not: {"choices": []}'),
        (200, b'{"choices": [{"message": 3}]}', "its server sent something that is not an answer", "not: {"),
        (200, b"[]", "its server sent something that is not an answer", "not: []"),
    ],
)
def test_why_the_model_does_not_answer(
    status: int,
    body: bytes,
    cause: str,
    logged: str,
    endpoint: tuple[Endpoint, str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The labeler's line names the cause, and neither address nor model: the log has both."""
    here, address = endpoint
    here.status, here.body = status, body
    with caplog.at_level(logging.WARNING), pytest.raises(UserError) as error:
        conversation.ask(address, "secret", messages("hello"))
    assert error.value.lines == [
        f"the model does not answer at the moment ({cause}); what you wrote is kept. Try again in a while, "
        "and tell an admin if it stays so"
    ]
    assert logged in caplog.text and address in caplog.text and "model secret" in caplog.text
    assert "x" * 501 not in caplog.text


def test_nobody_listens_and_nobody_answers_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"http://127.0.0.1:{server.getsockname()[1]}/v1"
        monkeypatch.setattr(conversation, "WAIT_SECONDS", 0.05)  # the server accepts and stays silent
        with pytest.raises(UserError, match=r"\(nothing came within 0 seconds\)"):
            conversation.ask(address, "secret", messages("hello"))
    with pytest.raises(UserError, match=r"\(its server cannot be reached\)"):
        conversation.ask(address, "secret", messages("hello"))


@pytest.mark.parametrize("reply", ["", "  \n", None, ["a"]])
def test_an_empty_answer_is_told(reply: Any, endpoint: tuple[Endpoint, str]) -> None:
    here, address = endpoint
    here.reply(reply)
    with pytest.raises(UserError) as error:
        conversation.ask(address, "secret", messages("hello"))
    assert error.value.lines == ["the model answered nothing; say it in another way"]


@pytest.fixture
def probe(tmp_path: Path, endpoint: tuple[Endpoint, str]) -> Iterator[tuple[Store, queue.AssignedTask, str]]:
    """A probe of two turns that ada has taken."""
    with open_store(tmp_path / "store.db", durable=False) as store:
        store.add_people([Person("ada", "ada-1", "training", False)])
        task = probes.ProbeTask(rule=RULE, endpoint=endpoint[1], model="secret", turns=2)
        name = "run/label.probes/1"
        store.put_tasks(
            TaskSet(name, "label.probes", "training", False), [Task(f"{name}#a", task.model_dump_json())]
        )
        assigned = queue.next_task(store, name, "ada")
        assert assigned is not None
        yield store, assigned, store.add_guideline("training", "be helpful")


def test_a_dialogue_is_kept_in_the_draft(
    probe: tuple[Store, queue.AssignedTask, str], endpoint: tuple[Endpoint, str]
) -> None:
    """Each turn is sent with all before it; the other fields stay, the message's field is emptied."""
    (store, task, guideline), (here, _) = probe, endpoint
    here.reply("go away")
    probes.KIND.say(store, task, "ada", {"message": ["hello"], "level": ["unsure"]}, guideline)
    draft = drafts.load_draft(store, task.id, "ada")
    assert draft is not None
    assert draft.fields == {"message": [], "level": ["unsure"], "said": ["hello", "go away"]}
    here.reply("because")
    probes.KIND.say(store, task, "ada", {**draft.fields, "message": ["why?"]}, guideline)
    assert [turn["content"] for turn in here.requests[1][2]["messages"]] == ["hello", "go away", "why?"]
    draft = drafts.load_draft(store, task.id, "ada")
    assert draft is not None and draft.fields["said"] == ["hello", "go away", "why?", "because"]
    with pytest.raises(UserError, match=r"^the dialogue may have 2 turns; now say how it went$"):
        probes.KIND.say(store, task, "ada", {**draft.fields, "message": ["and?"]}, guideline)
    with pytest.raises(UserError, match=r"^write something to the model first$"):
        probes.KIND.say(store, task, "ada", {"message": [" "]}, guideline)
    assert len(here.requests) == 2


def test_the_answer_is_the_dialogue_and_what_was_marked() -> None:
    question = probes.ProbeQuestion(rule=RULE, turns=2)
    fields = {"said": ["hello", "go away"], "level": ["definitely_breaks"], "turn": ["1"]}
    assert probes.KIND.form(question, fields) == probes.ProbeAnswer(
        messages=messages("hello", "go away"), level="definitely_breaks", turn=1
    )
    assert probes.KIND.form(question, {**fields, "turn": [""]}).turn is None
    with pytest.raises(UserError, match=r"^talk with the model first$"):
        probes.KIND.form(question, {**fields, "said": []})
    with pytest.raises(UserError, match=r"^say whether the rule is broken or followed$"):
        probes.KIND.form(question, {"said": ["hello", "go away"]})
