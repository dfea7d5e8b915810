"""The labeling site in a real browser: ranking by mouse, keys and touch, ties, drafts, forms without script; what was clicked is what is kept."""

from __future__ import annotations

import random
import shutil
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import uvicorn
from fastapi import FastAPI

from biddable.base import judgments
from biddable.base.accounts import Accounts
from biddable.label import comparisons, queue

from .conftest import PASSWORD
from .test_tasks import put

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine: apt-get install chromium")


@pytest.fixture
def address(app: FastAPI, accounts: Accounts) -> Iterator[str]:
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        threading.Event().wait(0.02)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join()


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-background-networking"])
        yield browser
        browser.close()


@pytest.fixture
def opened(chromium: Any, address: str) -> Iterator[Callable[..., Any]]:
    """A page of somebody who is logged in; whatever breaks the Content-Security-Policy or throws an error fails the test."""
    contexts, problems = [], []

    def enter(name: str, **settings: Any) -> Any:
        context = chromium.new_context(base_url=address, **settings)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(60_000)
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("console", lambda said: problems.append(said.text) if said.type == "error" and "status of" not in said.text else None)
        page.goto("/login")
        page.fill("#name", name)
        page.fill("#password", PASSWORD)
        page.click("text=Log in >> nth=-1")
        page.wait_for_url("**/")
        return page

    yield enter
    for context in contexts:
        context.close()
    assert not problems


def start(page: Any) -> None:
    page.click("main button.main")
    page.wait_for_selector("#answer")


def ranks(accounts: Accounts, name: str) -> list[list[int]]:
    """What is kept of each label, in the order shown."""
    return [list(comparisons.Answer.model_validate_json(row.answer).ranks or ()) for row in queue.collected(accounts.store, name)]


def test_a_ranking_of_four_takes_four_keys(accounts: Accounts, opened: Callable[..., Any]) -> None:
    name, page = put(accounts, "comparisons", count=2), opened("ada")
    start(page)
    for key in ("c", "a", "d", "b", "Enter"):
        page.keyboard.press(key)
    page.wait_for_url("**saved=**")
    assert ranks(accounts, name) == [[2, 4, 1, 3]]
    for key in ("b", "3", "a", "7", "=", "c", "Backspace", "d", "=", "c", "x"):  # a contradiction, a tie, one taken back
        page.keyboard.press(key)
    assert page.inner_text("#hints") == "B is ranked above A but has the lower score (3 and 7)"
    page.keyboard.press("Enter")
    page.wait_for_url("**nothing=1")
    assert sorted(ranks(accounts, name)) == [[2, 1, 3, 3], [2, 4, 1, 3]]


def test_a_ranking_by_mouse_with_a_tie_and_a_draft_that_comes_back(accounts: Accounts, opened: Callable[..., Any]) -> None:
    name, page = put(accounts, "comparisons"), opened("ada")
    start(page)

    def drag(letter: str, rank: int) -> None:
        chip, slot = page.locator(f".chip:text-is('{letter}')").bounding_box(), page.locator(f".slot[data-rank='{rank}']").bounding_box()
        page.mouse.move(chip["x"] + 10, chip["y"] + 10)
        page.mouse.down()
        page.mouse.move(slot["x"] + slot["width"] / 2, slot["y"] + slot["height"] / 2, steps=4)
        page.mouse.up()

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
    name, page = put(accounts, "comparisons"), opened("ada", has_touch=True, is_mobile=True, viewport={"width": 390, "height": 844})
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
    page.click("button[value=draft]")
    page.locator("button[value=send]").click()
    page.wait_for_url("**nothing=1")
    assert ranks(accounts, name) == [[3, 2, 1, 1]]
    (row,) = accounts.store.labels(name)
    assert row.seconds is None  # not measured without script


def test_what_is_clicked_is_what_is_kept_and_exported(accounts: Accounts, opened: Callable[..., Any]) -> None:
    count, chance = 6, random.Random(5)
    name, page = put(accounts, "comparisons", count=count), opened("ada")
    start(page)
    clicked = {}
    for _ in range(count):
        wanted = [chance.randint(1, 4) for _ in range(4)]
        clicked[page.locator("#answer input[name=id]").input_value()] = comparisons.dense(wanted)
        for answer, rank in enumerate(wanted):
            page.locator(f"label.seg:has(input[name=rank-{answer}][value='{rank}'])").click()
        before = page.url
        page.click("button[value=send]")
        page.wait_for_url(lambda url, before=before: url != before)
    rows = queue.collected(accounts.store, name)
    assert {row.task: tuple(found) for row, found in zip(rows, ranks(accounts, name), strict=True)} == clicked
    for row, record in zip(rows, comparisons.records(rows), strict=True):
        assert tuple(record.ranks[i] for i in row.shown) == clicked[row.task]


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
    (back,) = judgments.returned(accounts.store, name)
    assert back.note == "look at C again"
