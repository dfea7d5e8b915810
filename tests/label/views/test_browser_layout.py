"""What stands in nobody's way: on a phone, at 400 % zoom and on a desk nothing covers the answers, texts are whole,
what is wide scrolls by itself, the focus stays, and changes of the ranking are spoken."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from biddable.run.records import Answer, Message, Prompt, Replies
from biddable.store.accounts import Accounts
from biddable.store.types import Task, TaskSet

from .browser import TIMEOUT_MS, Hand, needs_chromium, start
from .test_tasks import put

Open = Callable[..., Any]
pytestmark = needs_chromium
PHONE = {"has_touch": True, "is_mobile": True, "viewport": {"width": 390, "height": 844}}
LONG = "The rain had stopped by the time we reached the mill.\n\n" * 80
WIDE = (
    "".join(f"| column {n} " for n in range(12)) + "|\n" + "|---" * 12 + "|\n" + "| a long word " * 12 + "|"
)
TEXTS = (LONG, WIDE, "", "```\n" + "word " * 100 + "\n```", "x" * 500, "# One\n\n#### Four", "Yes.", "No.")
COVERED = """() => [...document.querySelectorAll('#answer *')]
    .filter((element) => getComputedStyle(element).position === 'sticky')
    .map((element) => element.getBoundingClientRect())
    .reduce((sum, box) => sum + Math.max(0, Math.min(box.bottom, innerHeight) - Math.max(box.top, 0)), 0) / innerHeight"""
"""The share of the screen's height that stays while the answers scroll."""


def put_eight(accounts: Accounts) -> None:
    prompt = Prompt(id="p", messages=(Message(role="user", content="Tell me."),), user="u")
    row = Replies(prompt=prompt, answers=tuple(Answer(text=text, model="m") for text in TEXTS))
    name = "demo/label.comparisons/abc"
    task_set = TaskSet(name, "label.comparisons", "training", False)
    accounts.store.put_tasks(task_set, [Task(f"{name}#t", row.model_dump_json(exclude_none=True))])


@pytest.mark.parametrize(
    ("settings", "most"),
    [
        (PHONE, 0.17),  # a line and two buttons
        ({"viewport": {"width": 320, "height": 256}}, 0.0),  # 1280 x 1024 zoomed in to 400 %
        ({"viewport": {"width": 768, "height": 1024}}, 0.17),
        ({"viewport": {"width": 1280, "height": 800}}, 0.35),
    ],
)
def test_eight_answers_are_read_on_any_screen(
    accounts: Accounts, opened: Open, settings: dict[str, Any], most: float
) -> None:
    put_eight(accounts)
    page = opened("ada", **settings)
    start(page)
    width = settings["viewport"]["width"]
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.locator("article.answer").nth(4).scroll_into_view_if_needed()
    assert page.evaluate(COVERED) <= most
    for text in page.locator("article.answer .text").all():  # whole, also what is long
        assert text.evaluate("element => element.scrollHeight <= element.clientHeight + 1")
    assert page.locator("article.answer :text('This text is empty')").count() == 1
    table = page.locator(".rendered .table").first
    table.focus()
    page.keyboard.press("End")
    page.wait_for_function("document.activeElement.matches('.table')")
    cells = table.locator("td").evaluate_all(
        "cells => cells.map((cell) => cell.getBoundingClientRect().width)"
    )
    assert min(cells) >= 60  # no column of single letters


def test_the_focus_stays_where_one_works(accounts: Accounts, opened: Open) -> None:
    put_eight(accounts)
    hand = Hand(opened, "ada", "keys")
    hand.start()
    page = hand.page

    def focused() -> str:
        return str(page.evaluate("document.activeElement.outerHTML"))

    hand.press(".chip:text-is('C')")  # moves to another row of the board
    assert 'data-place="2"' in focused()
    assert page.inner_text("#order") == "C; no rank yet: A, B, D, E, F, G, H"
    page.keyboard.type("a")
    page.keyboard.press("=")
    assert page.inner_text("#order").endswith("the next one shares the rank of A")
    page.keyboard.type("b")
    assert page.inner_text("#order").startswith("C > A = B; ")
    assert page.locator("#order").get_attribute("role") == "status"
    assert page.locator(".chip:text-is('B')").get_attribute("aria-label") == "Answer B, rank 2"
    page.keyboard.press("m")
    page.keyboard.type("a comment")
    page.keyboard.press("Escape")
    assert focused().startswith("<summary>Comment")
    with page.expect_navigation(wait_until="load", timeout=TIMEOUT_MS):
        page.keyboard.press("Control+Enter")
    assert "no rank yet: D, E, F, G, H" in focused()  # what is missing is read first


def test_hints_at_keys_are_for_keyboards(accounts: Accounts, opened: Open) -> None:
    put(accounts, "comparisons")
    for settings, shown in (({}, True), (PHONE, False)):
        page = opened("ada", **settings)
        start(page)
        hints = page.locator("kbd").all()
        assert any(hint.is_visible() for hint in hints) == shown
        assert page.locator("#keys").is_visible() == shown


def test_pages_print_in_light_colours_with_everything_unfolded(accounts: Accounts, opened: Open) -> None:
    put_eight(accounts)
    page = opened("ada", color_scheme="dark")
    start(page)
    page.emulate_media(media="print", color_scheme="dark")
    assert page.evaluate("getComputedStyle(document.body).color") == "rgb(29, 33, 38)"
    assert not page.locator("button[value=send]").is_visible()
    assert page.locator("input[name=yes-0]").first.is_visible()
