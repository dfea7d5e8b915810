"""Every labeling page in a real browser, by keys alone, by touch and without script: what is stored is what was
done, and the next page says what was kept."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from biddable.label import comparisons, conversation, kinds, queue
from biddable.label.form import LETTERS
from biddable.run.records import Answer, Message, Prompt, Replies
from biddable.store import drafts, reviews
from biddable.store.accounts import Accounts
from biddable.store.types import Task, TaskSet

from .browser import Hand, needs_chromium
from .conftest import Browser
from .test_tasks import put

Open = Callable[..., Any]
pytestmark = needs_chromium
TEXT = "a = b? Send 3 of them,\nX or N."
"""Typed into a field, these keys must do nothing else."""


@pytest.fixture(params=Hand.WAYS)
def hand(request: pytest.FixtureRequest, accounts: Accounts, opened: Open) -> Hand:
    return Hand(opened, "ada", request.param)


@pytest.fixture(autouse=True)
def model(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that repeats the last message, with a number."""

    def answer(endpoint: str, model: str, messages: Sequence[Message], count: int) -> list[str]:
        return [f"{number}: {messages[-1].content}" for number in range(count)]

    monkeypatch.setattr(conversation, "ask_for_several", answer)


def stored(accounts: Accounts, name: str) -> list[Any]:
    """The answers of a set, by task."""
    kind = kinds.find(name.split("/")[1])
    assert kind is not None
    return [kind.answer(label) for label in queue.collected_labels(accounts.store, name)]


def kept(hand: Hand) -> str:
    return str(hand.page.inner_text(".notice.good").partition("is kept: ")[2])


def put_rankings(accounts: Accounts, sizes: Sequence[int]) -> str:
    """A task of each size, in this order."""
    name = "demo/label.comparisons/abc"
    prompt = Prompt(id="p", messages=(Message(role="user", content="Name a fruit."),), user="u")
    rows = [
        Replies(prompt=prompt, answers=tuple(Answer(text=f"{i}", model="m") for i in range(k))) for k in sizes
    ]
    tasks = [
        Task(f"{name}#t{number}", row.model_dump_json(exclude_none=True)) for number, row in enumerate(rows)
    ]
    accounts.store.put_tasks(TaskSet(name, "label.comparisons", "training", False), tasks)
    return name


def rank(hand: Hand, ranks: Sequence[int]) -> None:
    """Give each answer shown its rank: by the keys of its letters, by tapping its chip on the board (ranks that
    are shared: on its card), or by its radio buttons."""
    order = sorted(range(len(ranks)), key=lambda i: ranks[i])
    for place, i in enumerate(order):
        tied = place > 0 and ranks[order[place - 1]] == ranks[i]
        if hand.way == "keys":
            hand.page.keyboard.type(f"{'=' if tied else ''}{LETTERS[i].lower()}")
        elif hand.way == "touch" and len(set(ranks)) == len(ranks):
            hand.page.locator(f".chip:text-is('{LETTERS[i]}')").tap()
        else:
            hand.choose(f"rank-{i}", str(ranks[i]))


def test_rankings_of_two_to_eight_answers(accounts: Accounts, hand: Hand) -> None:
    chance, name = random.Random(7), put_rankings(accounts, range(2, 9))
    hand.page.reload()
    hand.start()
    expected = []
    for k in range(2, 9):
        ranks = [chance.randint(1, k) for _ in range(k)] if k % 2 else chance.sample(range(1, k + 1), k)
        rank(hand, ranks)
        hand.send()
        expected.append(comparisons.dense(ranks))
        assert kept(hand).startswith(comparisons.spell_ranks(expected[-1]))
    assert [answer.ranks for answer in stored(accounts, name)] == expected
    assert "That was the last task for you" in hand.page.inner_text("main")
    assert hand.page.locator("main button").count() == 0  # no way into a set that is over


def test_all_that_a_ranking_page_asks(accounts: Accounts, hand: Hand) -> None:
    name = put_rankings(accounts, [3])
    hand.page.reload()
    hand.start()
    rank(hand, (2, 1, 2))
    hand.choose("overall-1", "7")
    hand.choose("overall-0", "2")
    hand.press("article[data-place='1'] summary")
    hand.tick("input[name=yes-1][value=expresses_opinion]")
    hand.pick("select[name=hallucination-1]", "yes")
    hand.tick("#all_bad")
    for details, field in (("write", "better"), ("remark", "comment")):
        hand.press(f"#{details} summary")
        hand.write(f"#{field}", TEXT)
    hand.send()
    (answer,) = stored(accounts, name)
    assert (answer.ranks, answer.overall, answer.all_bad) == ((2, 1, 2), (2, 7, None), True)
    assert (answer.better, answer.comment) == (TEXT, TEXT)
    assert {name for name, ticked in answer.metadata[1].items() if ticked} == {
        "expresses_opinion",
        "hallucination",
    }
    assert kept(hand).startswith(
        "B > A = C; scores A 2, B 7; all are bad; with a better answer; with a comment"
    )


def test_answers_that_cannot_be_ranked(accounts: Accounts, hand: Hand) -> None:
    name = put_rankings(accounts, [4])
    hand.page.reload()
    hand.start()
    hand.tick("#not_ranked")
    hand.send()
    (answer,) = stored(accounts, name)
    assert answer.ranks is None and kept(hand).startswith("not ranked")


def rate(hand: Hand) -> dict[str, Any]:
    hand.choose("overall-0", "6")
    hand.tick("input[name=yes-0][value=violent_content]")
    hand.pick("select[name=hallucination-0]", "no")
    return {"overall": 6}


def write_demonstration(hand: Hand) -> dict[str, Any]:
    hand.write("#text", TEXT)
    return {"text": TEXT, "best": None}


def take_an_answer(hand: Hand) -> dict[str, Any]:
    hand.press("#answer details summary")
    hand.choose("best", "1")
    return {"text": None, "best": 1}


def check_a_rule(hand: Hand) -> dict[str, Any]:
    hand.choose("level", "probably_follows")
    return {"level": "probably_follows", "turn": None}


def write_a_prompt(hand: Hand) -> dict[str, Any]:
    hand.write("#text", TEXT)
    pairs = [("1+1?", "2"), ("2+2?", "4")]
    for number, (query, answer) in enumerate(pairs):
        hand.write(f"#query-{number}", query)
        hand.write(f"#answer-{number}", answer)
    return {"text": TEXT, "pairs": tuple({"query": query, "answer": answer} for query, answer in pairs)}


def probe(hand: Hand) -> dict[str, Any]:
    for text in ("Hello 2", "And 5"):
        hand.write("#message", text)
        hand.say()
        assert f"0: {text}" in hand.page.inner_text("main")
    hand.choose("turn", "3")
    hand.choose("level", "definitely_breaks")
    texts = ["Hello 2", "0: Hello 2", "And 5", "0: And 5"]
    messages = tuple(
        {"role": "assistant" if i % 2 else "user", "content": text} for i, text in enumerate(texts)
    )
    return {"messages": messages, "level": "definitely_breaks", "turn": 3}


def talk(hand: Hand) -> dict[str, Any]:
    hand.write("#message", "Hello 2")
    hand.say()
    hand.choose("choice", "1")
    hand.write("#message", "And 5")
    hand.say()
    hand.choose("choice", "2")
    turns = [
        {
            "message": text,
            "answers": tuple(f"{n}: {text}" for n in range(3)),
            "choice": choice,
            "all_bad": None,
        }
        for text, choice in (("Hello 2", 1), ("And 5", 2))
    ]
    return {"turns": tuple(turns)}


WORK: dict[str, tuple[str, Callable[[Hand], dict[str, Any]], str]] = {
    "ratings": ("ratings", rate, "6 of 7; Has violent content"),
    "demonstrations": ("demonstrations", write_demonstration, "your text: a = b? Send 3 of them, X or N."),
    "demonstrations, one taken": ("demonstrations", take_an_answer, "answer B"),
    "rulechecks": ("rulechecks", check_a_rule, "Probably follows it"),
    "prompts": ("prompts", write_a_prompt, "2 queries with answers for: a = b?"),
    "probes": ("probes", probe, "a dialogue of 2 turns; Definitely breaks it, in message 4"),
    "turns": ("turns", talk, "a dialogue; chosen: B, C"),
}
"""What is done on a page, and what the next one says of it."""


@pytest.mark.parametrize("work", list(WORK))
def test_what_was_done_is_what_is_stored(accounts: Accounts, hand: Hand, work: str) -> None:
    kind, act, told = WORK[work]
    name = put(accounts, kind)
    hand.page.reload()
    hand.start()
    expected = act(hand)
    hand.send()
    (answer,) = stored(accounts, name)
    assert expected.items() <= answer.model_dump().items()
    if kind == "ratings":
        ticked = {mark: value for mark, value in answer.metadata.items() if value}
        assert ticked == {"violent_content": True} and answer.metadata["hallucination"] is False
    assert kept(hand).startswith(told)


def test_what_was_sent_back_is_corrected(accounts: Accounts, hand: Hand, app: Any) -> None:
    name = put_rankings(accounts, [4, 2])
    hand.page.reload()
    hand.start()
    rank(hand, (1, 2, 3, 4))
    hand.send()
    (label,) = queue.collected_labels(accounts.store, name)
    boss = Browser(app)
    boss.login("boss")
    boss.post("/admin/review", task=label.task, label=label.id, action="returned", note="C is wrong")
    hand.page.goto("/")
    first = hand.page.locator("main section").first
    assert "1 answer was sent back to you" in first.inner_text()
    hand.start()
    assert "An admin sent this back to you: C is wrong" in hand.page.inner_text("main")
    rank(hand, (3, 2, 4, 1))
    hand.send()
    assert kept(hand).startswith("D > B > A > C")
    assert [answer.ranks for answer in stored(accounts, name)] == [(3, 2, 4, 1)]
    assert not reviews.returned_labels(accounts.store, name)


def test_a_draft_is_gone_on_with(accounts: Accounts, hand: Hand) -> None:
    name = put_rankings(accounts, [4, 2])
    hand.page.reload()
    hand.start()
    if hand.way == "keys":
        hand.page.keyboard.type("ab")
    else:
        for i, place in enumerate("12"):
            hand.choose(f"rank-{i}", place)
    hand.follow(lambda: hand.press("button[value=draft]"))
    assert "Kept as a draft, not sent" in hand.page.inner_text("main")
    hand.follow(lambda: hand.press(".notice a"))
    assert hand.page.locator("input[name=rank-1][value='2']").is_checked()
    rank(hand, (4, 3, 2, 1))
    hand.send()
    assert [answer.ranks for answer in stored(accounts, name)] == [(4, 3, 2, 1)]


@pytest.mark.parametrize("flag", [False, True])
def test_skipping_is_no_report_and_a_report_no_skip(accounts: Accounts, hand: Hand, flag: bool) -> None:
    name = put_rankings(accounts, [3])
    hand.page.reload()
    hand.start()
    hand.press("#skip summary")
    if flag:
        hand.write("#reason", "all are alike")
    hand.follow(lambda: hand.press(f"#skip form:has(input[value={'flag' if flag else 'skip'}]) button"))
    (skip,) = drafts.list_skips(accounts.store, name)
    assert (skip.flag, skip.reason) == (flag, "all are alike" if flag else "")
    assert ("Reported with your reason" if flag else "Skipped without a report") in hand.page.inner_text(
        "main"
    )
