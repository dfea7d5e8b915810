"""Dialogues with K answers a turn: what the endpoint is asked, what the draft keeps, which comparisons come of
it. The endpoint is a server of the test's own that knows no `n`, or does."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from biddable.label import conversation, queue, turns
from biddable.run import jsonl
from biddable.run.config import UserError, Waiting
from biddable.run.context import StageContext
from biddable.run.records import Comparison, Message
from biddable.store import drafts
from biddable.store.store import Store, open_store
from biddable.store.types import Person, Task, TaskSet


class Endpoint:
    """Answers by `choices`, from a request's body to the texts; keeps what came."""

    def __init__(self) -> None:
        self.requests: list[dict[str, Any]] = []
        self.choices: Callable[[dict[str, Any]], list[Any]] = lambda body: [
            f"{body['messages'][-1]['content']} {number}" for number in range(body.get("n", 1))
        ]


@pytest.fixture
def endpoint() -> Iterator[tuple[Endpoint, str]]:
    here = Endpoint()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            here.requests.append(body)
            texts = here.choices(body)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(
                json.dumps({"choices": [{"message": {"content": text}} for text in texts]}).encode()
            )

        def log_message(self, *_: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield here, f"http://127.0.0.1:{server.server_port}/v1/chat/completions"
    server.shutdown()
    thread.join()
    server.server_close()


HELLO = (Message(role="user", content="hello"),)


def test_several_answers_are_asked_for_at_once(endpoint: tuple[Endpoint, str]) -> None:
    here, address = endpoint
    assert conversation.ask_for_several(address, "m", HELLO, 3) == ["hello 0", "hello 1", "hello 2"]
    assert [body.get("n") for body in here.requests] == [3]


def test_a_server_that_knows_no_n_is_asked_again(endpoint: tuple[Endpoint, str]) -> None:
    """One answer a request, the second one empty: of three wanted, one is missing after three requests."""
    here, address = endpoint
    here.choices = lambda body: [f"answer {len(here.requests)}"]
    assert conversation.ask_for_several(address, "m", HELLO, 3) == ["answer 1", "answer 2", "answer 3"]
    assert [body.get("n") for body in here.requests] == [3, 2, None]
    here.requests.clear()
    here.choices = lambda body: ["", None, "  "][: len(here.requests)]
    with pytest.raises(UserError, match=r"^the model answered nothing; say it in another way$"):
        conversation.ask_for_several(address, "m", HELLO, 3)
    assert len(here.requests) == 3
    here.choices = lambda body: ["a", "b", "c", "d", "e"]  # more than was asked for
    assert conversation.ask_for_several(address, "m", HELLO, 2) == ["a", "b"]


def assigned_task(store: Store, address: str, user: str = "labeler", most: int = 3) -> queue.AssignedTask:
    store.add_people([Person("ada", "ada-1", "training", False)])
    task = turns.TurnsTask.model_validate(
        {"turns": most, "user": user, "answers_each": 2, "endpoint": address, "model": "secret"}
    )
    name = "run/label.turns/1"
    store.put_tasks(
        TaskSet(name, "label.turns", "training", False), [Task(f"{name}#d", task.model_dump_json())]
    )
    assigned = queue.next_task(store, name, "ada")
    assert assigned is not None
    return assigned


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(tmp_path / "store.db", durable=False) as opened:
        yield opened


def fields_of(store: Store, task: queue.AssignedTask) -> dict[str, list[str]]:
    draft = drafts.load_draft(store, task.id, "ada")
    assert draft is not None
    return draft.fields


def test_the_dialogue_goes_on_from_the_chosen_answers(store: Store, endpoint: tuple[Endpoint, str]) -> None:
    here, address = endpoint
    task = assigned_task(store, address, most=2)
    guideline = store.add_guideline("training", "be helpful")
    turns.KIND.say(store, task, "ada", {"message": ["red"]}, guideline)
    fields = fields_of(store, task)
    turns.KIND.say(store, task, "ada", {**fields, "message": ["blue"], "choice": ["1"]}, guideline)
    assert here.requests[1]["messages"] == [
        {"role": "user", "content": "red"},
        {"role": "assistant", "content": "red 1"},
        {"role": "user", "content": "blue"},
    ]
    fields = fields_of(store, task)
    assert list(fields) == ["past"]  # the next turn begins with nothing chosen and nothing written
    assert [json.loads(text) for text in fields["past"]] == [
        {"message": "red", "answers": ["red 0", "red 1"], "choice": 1},
        {"message": "blue", "answers": ["blue 0", "blue 1"]},
    ]
    with pytest.raises(
        UserError, match=r"^the dialogue may have 2 turns; choose the best answer and send it$"
    ):
        turns.KIND.say(store, task, "ada", {**fields, "message": ["green"], "choice": ["0"]}, guideline)
    question = turns.KIND.question(task)
    assert "secret" not in question.model_dump_json() and "127" not in question.model_dump_json()
    answer = turns.KIND.form(question, {**fields, "choice": ["0"], "all_bad": ["on"]})
    turns.KIND.check(question, answer)
    assert [(turn.choice, turn.all_bad) for turn in answer.turns] == [(1, None), (0, True)]
    assert len(here.requests) == 2


def test_nothing_changes_until_the_model_has_answered(store: Store, endpoint: tuple[Endpoint, str]) -> None:
    here, address = endpoint
    task = assigned_task(store, address)
    guideline = store.add_guideline("training", "be helpful")
    turns.KIND.say(store, task, "ada", {"message": ["red"]}, guideline)
    before = fields_of(store, task)
    for fields, line in (
        ({"message": ["blue"]}, r"^choose the answer from which the dialogue goes on"),
        ({"message": ["blue"], "choice": ["2"]}, r"^choice: there are 2 answers$"),
        ({"message": [" "], "choice": ["1"]}, r"^write something to the model first$"),
    ):
        with pytest.raises(UserError, match=line):
            turns.KIND.say(store, task, "ada", {**before, **fields}, guideline)
    here.choices = lambda body: [""]
    with pytest.raises(UserError, match=r"^the model answered nothing"):
        turns.KIND.say(store, task, "ada", {**before, "message": ["blue"], "choice": ["1"]}, guideline)
    assert fields_of(store, task) == before
    gone = task._replace(question=task.question.replace(address, "http://127.0.0.1:9/v1"))
    with pytest.raises(UserError, match="does not answer at the moment") as error:
        turns.KIND.say(store, gone, "ada", {"message": ["red"]}, guideline)
    assert "127.0.0.1" not in str(error.value) and "secret" not in str(error.value)


def test_the_model_writes_the_users_turns(store: Store, endpoint: tuple[Endpoint, str]) -> None:
    """The first message is the labeler's; then the model gets the dialogue as a text to continue, unless the
    labeler writes the message."""
    here, address = endpoint
    task = assigned_task(store, address, user="model")
    guideline = store.add_guideline("training", "be helpful")
    with pytest.raises(UserError, match=r"^write something to the model first$"):
        turns.KIND.say(store, task, "ada", {}, guideline)
    turns.KIND.say(store, task, "ada", {"message": ["red"]}, guideline)
    here.choices = lambda body: ["and blue?"] if "n" not in body else ["yes", "no"]
    turns.KIND.say(store, task, "ada", {**fields_of(store, task), "choice": ["0"]}, guideline)
    assert here.requests[1]["messages"] == [
        {
            "role": "user",
            "content": "Here is a conversation.\n\nUser: red\n\nAssistant: red 0\n\n"
            "Write the user's next message, and nothing else.",
        }
    ]
    assert [turn["content"] for turn in here.requests[2]["messages"]] == ["red", "red 0", "and blue?"]
    written = {**fields_of(store, task), "choice": ["1"], "message": ["my own"]}
    turns.KIND.say(store, task, "ada", written, guideline)
    assert [turn["content"] for turn in here.requests[3]["messages"]][-2:] == ["no", "my own"]


def test_a_form_that_is_not_complete() -> None:
    question = turns.TurnsQuestion(turns=1, user="labeler")
    past = [turns.Turn(message="red", answers=("a", "b")).model_dump_json()]
    for fields, line in (
        ({}, r"^talk with the model first$"),
        ({"past": past}, r"^turn 1: choose the best answer$"),
        ({"past": past, "choice": ["0"], "message": ["more"]}, r"^your last message is not sent yet"),
        ({"past": past, "choice": ["2"]}, r"^choice: there are 2 answers$"),
    ):
        with pytest.raises(UserError, match=line):
            turns.KIND.form(question, fields)
    none_good = turns.KIND.form(question, {"past": past, "all_bad": ["on"]})
    assert none_good.turns[0].choice is None and none_good.turns[0].all_bad
    twice = turns.TurnsAnswer(turns=(none_good.turns[0].model_copy(update={"choice": 0}), none_good.turns[0]))
    with pytest.raises(UserError, match="2 turns; must be at most 1"):
        turns.KIND.check(question, twice)
    with pytest.raises(ValidationError, match="turn 1: choose the best answer"):
        turns.TurnsAnswer(turns=(none_good.turns[0], none_good.turns[0]))
    with pytest.raises(ValidationError, match="must be an address"):
        turns.Config(endpoint="file:///etc/passwd")


def test_the_stage_writes_a_comparison_for_each_turn(tmp_path: Path) -> None:
    """Two dialogues of two turns; in the second turn none is good and none is chosen: all share rank 1."""
    (tmp_path / "label.turns").mkdir()
    context = StageContext(tmp_path / "label.turns", "label.turns", 3, lambda step, steps, numbers: None)
    cfg = turns.Config(dialogues=2, answers=3, model="secret", valid_share=0)
    with pytest.raises(Waiting, match=r"^2 of 2 turns to go"):
        turns.run(cfg, context)
    answer = turns.TurnsAnswer(
        turns=(
            turns.Turn(message="red", answers=("a", "b", "c"), choice=2),
            turns.Turn(message="blue", answers=("d", "e", "f"), all_bad=True),
        )
    )
    with open_store(tmp_path / "store.db") as store:
        store.add_people([Person("ada", "ada-1", "training", False)])
        (task_set,) = store.task_sets()
        guideline = store.add_guideline("training", "be helpful")
        while (task := queue.next_task(store, task_set.name, "ada")) is not None:
            queue.submit(store, task, "ada", answer, guideline, 9.0)
    turns.run(cfg, context)
    rows = jsonl.read(context.path("comparisons.jsonl"), Comparison)
    assert [row.id for row in rows] == [f"dialogue-0000{n}-{turn}-ada-1" for n in (1, 2) for turn in (1, 2)]
    first, second = rows[:2]
    assert [turn.content for turn in first.prompt.messages] == ["red"]
    assert (first.ranks, first.all_bad, first.answers[0].model) == ((2, 2, 1), None, "secret")
    assert [(turn.role, turn.content) for turn in second.prompt.messages] == [
        ("user", "red"),
        ("assistant", "c"),
        ("user", "blue"),
    ]
    assert (second.ranks, second.all_bad, second.labeler) == ((1, 1, 1), True, "ada-1")
    assert [answer.text for answer in second.answers] == ["d", "e", "f"]
    assert len({row.prompt.id for row in rows}) == 4
    assert {row.prompt.split for row in rows} == {"train"}
    numbers = {
        name: context.summary[name] for name in ("turns", "prompts", "dialogues", "all_bad", "simulated")
    }
    assert numbers == {"turns": 4, "prompts": 4, "dialogues": 2, "all_bad": 2, "simulated": False}


def test_a_dialogue_is_of_one_split(tmp_path: Path) -> None:
    """Of 200 dialogues about a quarter; 0 and 1 are none and all of them. The mean is 50, four standard
    deviations are 24.5."""
    for share, fewest, most in ((0.0, 0, 0), (0.25, 26, 74), (1.0, 200, 200)):
        folder = tmp_path / str(share) / "label.turns"
        folder.mkdir(parents=True)
        context = StageContext(folder, "label.turns", 3, lambda step, steps, numbers: None)
        with pytest.raises(Waiting):
            turns.run(turns.Config(dialogues=200, valid_share=share), context)
        with open_store(folder.parent / "store.db") as store:
            (task_set,) = store.task_sets()
            tasks = [json.loads(store.question(name)[1]) for name in store.tasks(task_set.name)]
        assert fewest <= sum(task["split"] == "valid" for task in tasks) <= most
        assert {task["split"] for task in tasks} <= {"train", "valid"}
