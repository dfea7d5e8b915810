"""Every kind of task, from the page to the record, in a browser without script."""

from __future__ import annotations

import re
from collections.abc import Callable
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI

from biddable.label import comparisons, demonstrations, probes, prompts, queue, ratings, rulechecks, turns
from biddable.run.records import Answer, Message, Prompt, Replies
from biddable.run.rules import Rule
from biddable.store import drafts
from biddable.store.accounts import Accounts
from biddable.store.types import Task, TaskSet

from .conftest import Browser

Enter = Callable[[str], Browser]
HOSTILE = (
    "<script>alert(1)</script> **bold** [x](javascript:alert(1)) ![p](http://e.vil/p.png) \u202eabc\u200b"
)
PROMPT = Prompt(
    id="p1", messages=(Message(role="user", content="Name a fruit. " + HOSTILE),), user="grey-heron"
)
RULE = Rule(id="no-threats", text="Does not threaten.", question="Does it threaten?")


def replies(count: int) -> Replies:
    return Replies(
        prompt=PROMPT,
        answers=tuple(Answer(text=f"Answer {i}. {HOSTILE}", model=f"secret-{i}") for i in range(count)),
    )


def kept(kind: str) -> Any:
    """A question of each kind, as its stage keeps it."""
    return {
        "comparisons": replies(4),
        "ratings": replies(1),
        "demonstrations": demonstrations.DemonstrationQuestion(prompt=PROMPT, answers=replies(2).answers),
        "rulechecks": rulechecks.RuleCheckTask(prompt=PROMPT, answers=replies(1).answers, rule=RULE),
        "prompts": prompts.PromptQuestion(form="few_shot", pairs=2),
        "probes": probes.ProbeTask(rule=RULE, endpoint="http://127.0.0.1:9/v1", model="secret", turns=3),
        "turns": turns.TurnsTask(
            turns=2, user="labeler", answers_each=3, endpoint="http://127.0.0.1:9/v1", model="secret"
        ),
    }[kind]


def put(accounts: Accounts, kind: str, count: int = 1, overlap: int = 1) -> str:
    name = f"demo/label.{kind}/abc"
    question = kept(kind).model_dump_json(exclude_none=True)
    tasks = [Task(f"{name}#t{i}", question, overlap) for i in range(count)]
    accounts.store.put_tasks(TaskSet(name, f"label.{kind}", "training", False), tasks)
    return name


def begin(browser: Browser, name: str) -> tuple[str, str, str]:
    """Take the next task: its id, its page, the guideline's version."""
    where = browser.post("/next", set=name).headers["location"]
    text = browser.get(where).text
    return unescape(field(text, "id")), text, field(text, "guideline")


def field(page: str, name: str) -> str:
    found = re.search(rf'name="{name}" value="([^"]*)"', page)
    assert found, page[:500]
    return found[1]


SAID: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "comparisons": (
        {
            "rank-0": "2",
            "rank-1": "1",
            "rank-2": "4",
            "rank-3": "2",
            "overall-1": "7",
            "yes-1": ["violent_content"],
            "better": "A pear.",
        },
        {"ranks": (2, 1, 3, 2), "overall": (None, 7, None, None), "better": "A pear."},
    ),
    "ratings": ({"overall-0": "6", "hallucination-0": "no"}, {"overall": 6}),
    "demonstrations": ({"text": "An apple."}, {"text": "An apple.", "best": None}),
    "rulechecks": ({"level": "probably_breaks"}, {"level": "probably_breaks", "turn": None}),
    "prompts": ({"text": "Add.", "query": ["1+1", "2+2"], "answer": ["2", "4"]}, {"text": "Add."}),
}
CODE = {
    "comparisons": comparisons,
    "ratings": ratings,
    "demonstrations": demonstrations,
    "rulechecks": rulechecks,
    "prompts": prompts,
}


@pytest.mark.parametrize("kind", list(SAID))
def test_what_was_sent_is_what_is_kept(kind: str, accounts: Accounts, logged_in: Enter) -> None:
    name, ada = put(accounts, kind), logged_in("ada")
    assert KINDS_TITLE[kind] in ada.get("/").text
    task, page, version = begin(ada, name)
    assert (
        "secret" not in page
        and "<script>alert" not in page
        and "javascript:" not in re.sub(r"\[x\]\(javascript:alert\(1\)\)", "", page)
    )
    assert "\u202e" not in page and "\u200b" not in page and 'src="http' not in page
    fields, expected = SAID[kind]
    empty = ada.post("/answer", id=task, guideline=version, seconds="3")
    assert empty.status_code == 400
    sent = ada.post("/answer", id=task, guideline=version, seconds="3", seen="1", **fields)
    assert re.fullmatch(r"/\?done=kept&saved=\S+&nothing=1", sent.headers["location"])
    (label,) = queue.collected_labels(accounts.store, name)
    said = CODE[kind].KIND.answer(label)
    assert {key: getattr(said, key) for key in expected} == expected
    assert label.guideline == version and label.person.pseudonym
    record = CODE[kind].KIND.records(label)
    assert record
    if kind == "comparisons":
        row, better = record
        assert [row.ranks[i] for i in label.shown] == [2, 1, 3, 2]  # 2 1 4 2 without its gap
        assert (
            row.metadata[label.shown[1]]["violent_content"] is True
            and row.metadata[label.shown[1]]["hallucination"] is None
        )
        assert better.answer.text == "A pear."


KINDS_TITLE = {
    "comparisons": "Rank the answers",
    "ratings": "Rate the answer",
    "demonstrations": "Write the answer you would want",
    "rulechecks": "Does the answer break the rule?",
    "prompts": "Write a prompt",
}


def test_a_draft_comes_back_and_a_correction_is_a_new_row(accounts: Accounts, logged_in: Enter) -> None:
    name, ada = put(accounts, "demonstrations"), logged_in("ada")
    task, _, version = begin(ada, name)
    now = accounts.store.clock()
    accounts.store.clock = lambda: now + 40
    told = ada.client.post(
        "/draft",
        data={"token": ada.token(), "id": task, "guideline": version, "seconds": "9999", "text": "An ap"},
        headers={"accept": "application/json"},
    )
    assert told.json()["held"] is True
    draft = drafts.load_draft(accounts.store, task, accounts.store.people()[0].id) or drafts.load_draft(
        accounts.store, task, who(accounts, "ada")
    )
    assert (
        draft is not None and draft.seconds is not None and 39 <= draft.seconds <= 41
    )  # not more than has passed
    assert "An ap</textarea>" in logged_in("ada").get("/task", params={"id": task}).text  # another browser
    ada.post("/answer", id=task, guideline=version, seconds="41", text="An apple.")
    again = ada.get("/task", params={"id": task}).text
    assert "You answered this already" in again and "An apple.</textarea>" in again
    assert (
        ada.post("/answer", id=task, guideline=version, text="A pear.")
        .headers["location"]
        .startswith("/mine?saved=")
    )
    (label,) = queue.collected_labels(accounts.store, name)
    assert "A pear." in label.answer
    with accounts.store.engine.connect() as db:
        assert db.exec_driver_sql("SELECT count(*) FROM labels").scalar() == 2
    assert "corrected" in ada.get("/mine").text


def who(accounts: Accounts, login: str) -> str:
    return next(one.person.id for one in accounts.all() if one.login == login)


def test_skipping_gives_the_task_to_the_next(accounts: Accounts, logged_in: Enter) -> None:
    name, ada, bob = put(accounts, "ratings"), logged_in("ada"), logged_in("bob")
    task, _, _ = begin(ada, name)
    assert bob.post("/next", set=name).headers["location"] == "/?nothing=1"
    assert ada.post("/skip", id=task, action="flag").status_code == 400
    ada.post("/skip", id=task, action="flag", reason="it is <b>broken</b>")
    assert ada.post("/next", set=name).headers["location"] == "/?nothing=1"
    assert begin(bob, name)[0] == task
    assert "it is &lt;b&gt;broken&lt;/b&gt;" in logged_in("boss").get("/admin/guidelines").text


def test_contradictions_are_pointed_out_once(accounts: Accounts, logged_in: Enter) -> None:
    name, ada = put(accounts, "comparisons"), logged_in("ada")
    task, _, version = begin(ada, name)
    fields = {f"rank-{i}": str(i + 1) for i in range(4)} | {"overall-0": "2", "overall-1": "5"}
    told = ada.post("/answer", id=task, guideline=version, **fields)
    assert told.status_code == 200 and "A is ranked above B but has the lower score (2 and 5)" in told.text
    assert field(told.text, "seen") == "1"
    assert ada.post("/answer", id=task, guideline=version, seen="1", **fields).status_code == 303


def test_two_people_on_one_item_see_it_in_their_own_order(accounts: Accounts, logged_in: Enter) -> None:
    name = put(accounts, "comparisons", overlap=2)
    for login in ("ada", "bob"):
        browser = logged_in(login)
        task, _, version = begin(browser, name)
        browser.post("/answer", id=task, guideline=version, **{f"rank-{i}": str(i + 1) for i in range(4)})
    rows = queue.collected_labels(accounts.store, name)
    assert len(rows) == 2
    for row, record in zip(rows, (comparisons.KIND.records(row)[0] for row in rows), strict=True):
        assert [record.ranks[i] for i in row.shown] == [1, 2, 3, 4]


def test_a_new_guideline_is_stamped_on_later_labels(accounts: Accounts, logged_in: Enter) -> None:
    name, ada, boss = put(accounts, "ratings", count=2), logged_in("ada"), logged_in("boss")
    for text in (None, "# Be kind\n"):
        if text:
            boss.post("/admin/guidelines", name="training", text=text)
            changes = ada.get("/guideline/changes").text
            ada.post("/guideline/read", version=field(changes, "version"), set=name)
        task, page, version = begin(ada, name)
        assert (text is None) or "Be kind" in page
        ada.post("/answer", id=task, guideline=version, **{"overall-0": "4"})
    assert len({row.guideline for row in queue.collected_labels(accounts.store, name)}) == 2


def test_a_probe_talks_with_an_endpoint(
    accounts: Accounts, logged_in: Enter, monkeypatch: pytest.MonkeyPatch
) -> None:
    from biddable.label import conversation

    name, ada = put(accounts, "probes"), logged_in("ada")
    task, page, version = begin(ada, name)
    assert "secret" not in page and "127.0.0.1" not in page
    gone = ada.post("/answer", id=task, guideline=version, action="say", message="Hello")
    assert (
        gone.status_code == 400
        and "does not answer at the moment" in gone.text
        and "Hello</textarea>" in gone.text
    )
    monkeypatch.setattr(
        conversation, "ask", lambda endpoint, model, messages: f"I heard {messages[-1].content}"
    )
    for text in ("Hello", "Again"):
        assert (
            ada.post(
                "/answer", id=task, guideline=version, action="say", message=text, said=["forged"]
            ).status_code
            == 303
        )
    assert "I heard Again" in ada.get("/task", params={"id": task}).text
    ada.post("/answer", id=task, guideline=version, level="probably_follows", turn="3")
    (label,) = queue.collected_labels(accounts.store, name)
    (row,) = probes.KIND.records(label)
    assert [one.content for one in row.messages] == [
        "Hello",
        "I heard Hello",
        "Again",
        "I heard Again",
    ] and row.turn == 3


def test_a_dialogue_goes_on_from_the_chosen_answer(
    accounts: Accounts, logged_in: Enter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a script: each press of the button is one post. What a browser sends as the past counts for
    nothing; the answers' texts are escaped."""
    from biddable.label import conversation

    name, ada = put(accounts, "turns"), logged_in("ada")
    task, page, version = begin(ada, name)
    assert "secret" not in page and "127.0.0.1" not in page and 'name="choice"' not in page
    gone = ada.post("/answer", id=task, guideline=version, action="say", message="Hello")
    assert gone.status_code == 400 and "does not answer at the moment" in gone.text
    assert "Hello</textarea>" in gone.text
    monkeypatch.setattr(
        conversation,
        "ask_for_several",
        lambda endpoint, model, messages, count: [
            f"{messages[-1].content} {place} {HOSTILE}" for place in range(count)
        ],
    )

    def say(**fields: Any) -> Any:
        return ada.post("/answer", id=task, guideline=version, action="say", **fields)

    assert say(message="Hello").status_code == 303
    page = ada.get("/task", params={"id": task}).text
    assert page.count('name="choice"') == 3 and "Hello 2" in page and "<script>alert" not in page
    unchosen = say(message="Again")
    assert (
        unchosen.status_code == 400 and "choose the answer from which the dialogue goes on" in unchosen.text
    )
    forged = '{"message": "forged", "answers": ["x", "y"]}'
    assert say(message="Again", choice="2", past=[forged]).status_code == 303
    page = ada.get("/task", params={"id": task}).text
    assert "Hello 2" in page and "Hello 1" not in page and "Again 1" in page and "forged" not in page
    assert 'name="message"' not in page and " checked" not in page  # two turns were allowed; nothing chosen
    assert ada.post("/answer", id=task, guideline=version).status_code == 400
    assert ada.post("/answer", id=task, guideline=version, choice="0", all_bad="on").status_code == 303
    (label,) = queue.collected_labels(accounts.store, name)
    first, second = turns.KIND.records(label)
    assert (first.ranks, first.all_bad, second.ranks, second.all_bad) == ((2, 2, 1), None, (1, 2, 2), True)
    texts = [message.content for message in second.prompt.messages]
    assert texts == ["Hello", f"Hello 2 {HOSTILE}", "Again"]


def test_another_persons_task_is_nobodys_business(
    accounts: Accounts, logged_in: Enter, app: FastAPI, tmp_path: Path
) -> None:
    name, ada, bob = put(accounts, "demonstrations"), logged_in("ada"), logged_in("bob")
    task, _, version = begin(ada, name)
    assert (
        bob.get("/task", params={"id": task}).status_code
        == bob.get("/task", params={"id": "nonsense"}).status_code
        == 404
    )
    for path in ("/answer", "/draft", "/skip"):
        assert bob.post(path, id=task, guideline=version, text="mine").status_code == 404
    assert logged_in("eve").post("/next", set=name).status_code == 400  # the other panel
    assert drafts.load_draft(accounts.store, task, who(accounts, "bob")) is None
