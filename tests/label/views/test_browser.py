"""The labeling site in a real browser: ranking by mouse, keys and touch, ties, drafts, forms without script;
what was clicked is what is kept."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from biddable.label import comparisons, exports, queue, screening
from biddable.run import jsonl
from biddable.run.config import Waiting
from biddable.run.context import StageContext
from biddable.run.records import Answer, Comparison, Message, Prompt, Replies
from biddable.store import reviews
from biddable.store.accounts import Accounts
from tests.label.test_screening import setting

from .browser import TIMEOUT_MS, needs_chromium, ranks, start
from .conftest import PASSWORD
from .test_tasks import put

pytestmark = needs_chromium


def context_in(folder: Path, key: str) -> StageContext:
    (folder / key).mkdir()
    return StageContext(folder / key, key, 3, lambda step, steps, numbers: None)


def test_a_ranking_of_four_takes_four_keys(accounts: Accounts, opened: Callable[..., Any]) -> None:
    name, page = put(accounts, "comparisons", count=2), opened("ada")
    start(page)
    for key in ("c", "a", "d", "b", "Enter"):
        page.keyboard.press(key)
    page.wait_for_url("**saved=**")
    assert ranks(accounts, name) == [[2, 4, 1, 3]]
    for key in (
        "b",
        "3",
        "a",
        "7",
        "=",
        "c",
        "Backspace",
        "d",
        "=",
        "c",
        "x",
    ):  # a contradiction, a tie, one taken back
        page.keyboard.press(key)
    page.wait_for_selector("#hints:has-text('B is ranked above A but has the lower score (3 and 7)')")
    page.keyboard.press("Enter")
    page.wait_for_url("**nothing=1")
    assert sorted(ranks(accounts, name)) == [[2, 1, 3, 3], [2, 4, 1, 3]]


def test_a_ranking_by_mouse_with_a_tie_and_a_draft_that_comes_back(
    accounts: Accounts, opened: Callable[..., Any]
) -> None:
    name, page = put(accounts, "comparisons"), opened("ada")
    start(page)

    def drag(letter: str, rank: int) -> None:
        chip, slot = (
            page.locator(f".chip:text-is('{letter}')").bounding_box(),
            page.locator(f".slot[data-rank='{rank}']").bounding_box(),
        )
        page.mouse.move(chip["x"] + 10, chip["y"] + 10)
        page.mouse.down()
        page.mouse.move(slot["x"] + slot["width"] / 2, slot["y"] + slot["height"] / 2, steps=4)
        page.mouse.up()

    def is_complete_draft(response: Any) -> bool:
        return response.url.endswith("/draft") and "rank-2=2" in (response.request.post_data or "")

    with page.expect_response(is_complete_draft, timeout=TIMEOUT_MS):  # earlier drafts may lack the last drag
        for letter, rank in (("A", 1), ("B", 2), ("C", 2)):
            drag(letter, rank)
    page.wait_for_selector("#state:has-text('Draft kept')")
    where = page.url
    page.context.close()
    page = opened("ada")
    page.goto(where)
    assert page.locator(".slot[data-rank='2'] .chip").all_inner_texts() == ["B", "C"]
    page.locator("label.seg:has(input[name=rank-3][value='3'])").click()
    page.click("button[value=send]")
    page.wait_for_url("**nothing=1")
    assert ranks(accounts, name) == [[1, 2, 2, 3]]


def test_a_ranking_by_touch_on_a_phone(accounts: Accounts, opened: Callable[..., Any]) -> None:
    name, page = (
        put(accounts, "comparisons"),
        opened("ada", has_touch=True, is_mobile=True, viewport={"width": 390, "height": 844}),
    )
    start(page)
    for letter in "DBAC":
        page.locator(f".chip:text-is('{letter}')").tap()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.locator("button[value=send]").tap()
    page.wait_for_url("**nothing=1")
    assert ranks(accounts, name) == [[3, 2, 4, 1]]


def test_a_form_without_script(accounts: Accounts, opened: Callable[..., Any]) -> None:
    name, page = put(accounts, "comparisons"), opened("ada", java_script_enabled=False)
    start(page)
    for answer, rank in enumerate((4, 3, 1, 1)):
        page.locator(f"label.seg:has(input[name=rank-{answer}][value='{rank}'])").click()
    with page.expect_navigation(timeout=TIMEOUT_MS):
        page.click("button[value=draft]")
    page.click("text=Back to it")
    page.locator("button[value=send]").click()
    page.wait_for_url("**nothing=1")
    assert ranks(accounts, name) == [[3, 2, 1, 1]]
    (row,) = accounts.store.labels(name)
    assert row.seconds is None  # not measured without script


def test_what_is_clicked_is_what_is_kept_frozen_and_exported(
    accounts: Accounts, opened: Callable[..., Any], tmp_path: Path
) -> None:
    """Random rankings of 2 to 9 answers, ties among them: from the browser to the store, to the run's JSONL,
    to TRL's pairs."""
    chance, page = random.Random(5), opened("ada")
    sizes = [2, 9, *(chance.randint(3, 7) for _ in range(4))]
    asked = [
        Replies(
            prompt=Prompt(id=f"p{n}", messages=(Message(role="user", content=f"question {n}"),), user="u"),
            answers=tuple(Answer(text=f"{n} {i}", model="m") for i in range(size)),
        )
        for n, size in enumerate(sizes)
    ]
    jsonl.write(tmp_path / "replies.jsonl", asked)
    cfg = comparisons.Config(
        replies=tmp_path / "replies.jsonl", double_share=0.0, store=str(tmp_path / "store.db")
    )
    freeze, out = context_in(tmp_path, "label.comparisons"), context_in(tmp_path, "label.exports")
    with pytest.raises(Waiting):
        comparisons.run(cfg, freeze)
    (name,) = [one.name for one in accounts.store.task_sets()]
    page.reload()
    start(page)
    clicked, by_text = {}, {}
    for _ in sizes:
        shown = page.locator("article.answer .as-is").all_text_contents()
        wanted = [chance.randint(1, len(shown)) for _ in shown]
        clicked[page.locator("#answer input[name=id]").input_value()] = comparisons.dense(wanted)
        by_text |= {text.strip(): rank for text, rank in zip(shown, comparisons.dense(wanted), strict=True)}
        for answer, rank in enumerate(wanted):
            page.locator(f"label.seg:has(input[name=rank-{answer}][value='{rank}'])").click()
        before = page.url
        page.click("button[value=send]")
        page.wait_for_url(lambda url, before=before: url != before)
    rows = queue.collected_labels(accounts.store, name)
    assert {row.task: tuple(found) for row, found in zip(rows, ranks(accounts, name), strict=True)} == clicked
    comparisons.run(cfg, freeze)
    frozen = jsonl.read(freeze.path("comparisons.jsonl"), Comparison)
    assert len(frozen) == len(sizes)
    assert {
        one.text: rank for row in frozen for one, rank in zip(row.answers, row.ranks, strict=True)
    } == by_text
    exports.run(exports.Config(comparisons=freeze.folder, demonstrations=None), out)
    pairs = [json.loads(line) for line in out.path("preferences.jsonl").read_text().splitlines()]
    told = {(one["chosen"][0]["content"], one["rejected"][0]["content"]) for one in pairs}
    assert told == {
        (a, b)
        for a, i in by_text.items()
        for b, j in by_text.items()
        if i < j and a.split()[0] == b.split()[0]
    }


def test_the_screening_by_keys(accounts: Accounts, opened: Callable[..., Any], tmp_path: Path) -> None:
    cfg, context = setting(tmp_path, prompts=None)
    with pytest.raises(Waiting):
        screening.run(cfg, context)
    put(accounts, "comparisons")
    page = opened("ada")
    assert page.locator("main section button").count() == 3
    assert "once you have passed the screening" in page.inner_text("main")
    for _ in range(3):  # a part that is done has no button any more
        page.goto("/")
        page.click("main button.main")
        page.wait_for_selector("#answer")
        while page.url.split("?")[0].endswith("/task"):
            before = page.url
            if page.locator("#board").count():
                for key in "abc":
                    page.keyboard.press(key)
                page.keyboard.press("Enter")
            elif page.locator("input[name=sensitive]").count():
                page.keyboard.press("1")
                page.keyboard.press("Control+Enter")
            else:
                page.locator("label.seg:has(input[name=group-0][value='4'])").click()
                page.click("button[value=send]")
            page.wait_for_url(lambda url, before=before: url != before)
    (one,) = screening.decision.candidates(accounts.store)
    assert one.finished and one.groups == {"old": 4, "young": None} and one.parts["sensitive"].answered == 4
    boss = opened("boss")
    boss.goto("/admin/screening")
    boss.click(f"text={one.pseudonym}")
    boss.click("text=Take on >> nth=0")
    boss.wait_for_url("**/admin/screening")
    page.goto("/")
    assert "Rank the answers" in page.inner_text("main") and "once you have passed" not in page.inner_text(
        "main"
    )


def test_single_keys_can_be_switched_off(accounts: Accounts, opened: Callable[..., Any]) -> None:
    name, page = put(accounts, "comparisons"), opened("ada")
    page.goto("/profile")
    with page.expect_navigation(timeout=TIMEOUT_MS):
        page.click("button[value=off]")
    page.goto("/")
    start(page)
    for key in ("c", "a", "7", "x", "s", "?", "Enter"):
        page.keyboard.press(key)
    assert (
        page.locator(".slot[data-rank='0'] .chip").count() == 4 and not page.locator("#all_bad").is_checked()
    )
    for letter in "ABCD":
        page.locator(f".chip:text-is('{letter}')").click()
    page.keyboard.press("Control+Enter")
    page.wait_for_url("**nothing=1")
    assert ranks(accounts, name) == [[1, 2, 3, 4]]


def test_an_admin_decides_by_an_own_answer(accounts: Accounts, opened: Callable[..., Any]) -> None:
    name, page, boss = put(accounts, "comparisons"), opened("ada"), opened("boss")
    start(page)
    for key in ("a", "b", "c", "d", "Enter"):
        page.keyboard.press(key)
    page.wait_for_url("**nothing=1")
    (task,) = accounts.store.tasks(name)
    boss.goto(f"/admin/review/task?task={quote(task, safe='')}")
    boss.click("text=Answer it yourself")
    boss.wait_for_selector(".slot .chip")
    for key in ("d", "c", "b", "a", "Enter"):
        boss.keyboard.press(key)
    boss.wait_for_selector("text=stands >> nth=0")
    rows = queue.collected_labels(accounts.store, name)
    assert sorted(
        (row.stands, comparisons.RankingAnswer.model_validate_json(row.answer).ranks) for row in rows
    ) == [
        (False, (1, 2, 3, 4)),
        (True, (4, 3, 2, 1)),
    ]


def test_invited_answered_looked_at(accounts: Accounts, opened: Callable[..., Any], address: str) -> None:
    name, boss = put(accounts, "comparisons", overlap=2), opened("boss")
    boss.goto("/admin")
    boss.fill("#note", "Carol")
    boss.click("text=Make a link")
    link = boss.inner_text(".notice code")
    assert link.startswith(f"{address}/invitation/")
    carol = boss.context.browser.new_context(base_url=address).new_page()
    carol.goto(link)
    carol.fill("#name", "carol")
    carol.fill("#password", PASSWORD)
    carol.fill("#again", PASSWORD)
    carol.click("text=Make my account")
    carol.wait_for_selector("h1:text-is('Tasks')")
    for page, keys in ((carol, "abcd"), (opened("ada"), "dcba")):  # two people on one item, who disagree
        start(page)
        for key in (*keys, "Enter"):
            page.keyboard.press(key)
        page.wait_for_url("**nothing=1")
    carol.context.close()
    assert len(ranks(accounts, name)) == 2
    boss.goto("/admin/review")
    boss.click("main td a")
    boss.fill("#note1", "look at C again")
    boss.click("text=Send back >> nth=0")
    boss.wait_for_selector("text=sent back")
    (back,) = reviews.returned_labels(accounts.store, name)
    assert back.note == "look at C again"
