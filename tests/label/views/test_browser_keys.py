"""Faults that once changed or lost what people said, each as the person's own keys in a real browser: what is
stored is what was done."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from biddable.label import conversation, queue, screening
from biddable.run.config import Waiting
from biddable.store import drafts
from biddable.store.accounts import Accounts
from tests.label.test_screening import setting

from .browser import TIMEOUT_MS, needs_chromium, ranks, start
from .test_counts import put as put_gold
from .test_tasks import put

pytestmark = needs_chromium
Open = Callable[..., Any]


def test_a_module_has_one_address_and_keys_act_once(accounts: Accounts, opened: Open) -> None:
    name, page = put(accounts, "comparisons"), opened("ada")
    scripts: list[str] = []
    page.on("request", lambda request: scripts.append(request.url) if "task.js" in request.url else None)
    start(page)
    assert len(set(scripts)) == 1
    for key in "abcd":
        page.keyboard.press(key)
    page.keyboard.press("w")
    page.keyboard.type("dcba =1")
    assert page.input_value("#better") == "dcba =1"
    page.keyboard.press("Control+Enter")
    page.wait_for_url("**nothing=1")
    assert ranks(accounts, name) == [[1, 2, 3, 4]]
    assert "dcba =1" in queue.collected_labels(accounts.store, name)[0].answer


def test_a_ranking_is_corrected_by_typing_it_anew(accounts: Accounts, opened: Open) -> None:
    name, page = put(accounts, "comparisons"), opened("ada")
    start(page)
    for key in ("a", "b", "c", "d", "Enter"):
        page.keyboard.press(key)
    page.wait_for_url("**nothing=1")
    page.click("text=Correct it")
    page.wait_for_selector(".slot[data-rank='4'] .chip")
    for key in ("c", "a", "=", "d", "b"):
        page.keyboard.press(key)
    assert page.inner_text("#order") == "C > A = D > B"
    page.keyboard.press("Enter")
    page.wait_for_url("**/mine?saved=**")
    assert ranks(accounts, name) == [[2, 3, 1, 2]]


def test_a_report_by_keys_is_a_report(accounts: Accounts, opened: Open) -> None:
    name, page = put(accounts, "comparisons"), opened("ada")
    start(page)
    page.keyboard.press("s")
    page.keyboard.type("two answers are alike")
    page.keyboard.press("Enter")
    page.wait_for_url("**nothing=1")
    assert "Reported" in page.inner_text("main")
    (skip,) = drafts.list_skips(accounts.store, name)
    assert skip.flag and skip.reason == "two answers are alike"


@pytest.mark.parametrize("same_page", [True, False])
def test_what_is_typed_after_the_session_ended_is_kept(
    accounts: Accounts,
    opened: Open,
    same_page: bool,
) -> None:
    name, page = put(accounts, "demonstrations"), opened("ada")
    start(page)
    cookies = page.context.cookies()
    page.context.request.post("/logout", form={"token": page.input_value("#answer input[name=token]")})
    page.context.add_cookies(cookies)  # the browser still has the cookie, but its session is over
    page.fill("#text", "An apple, typed too late.")
    page.keyboard.press("Control+Enter")
    page.wait_for_selector("#state:has-text('You are logged out')")
    where = page.url
    login = page.context.new_page()
    login.goto("/login")
    login.fill("#name", "ada")
    login.fill("#password", "nine quiet horses")
    login.click("text=Log in >> nth=-1")
    login.wait_for_url("**/")
    if not same_page:
        page.close()
        page = login
        page.goto(where)
        page.wait_for_selector("#state:has-text('Draft kept')")
    assert page.input_value("#text") == "An apple, typed too late."
    page.click("button[value=send]")
    page.wait_for_url("**nothing=1")
    assert "An apple, typed too late." in queue.collected_labels(accounts.store, name)[0].answer


def test_a_probe_keeps_the_focus_for_the_next_turn(
    accounts: Accounts,
    opened: Open,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(conversation, "ask", lambda endpoint, model, messages: "I heard you")
    put(accounts, "probes")
    page = opened("ada")
    start(page)
    page.fill("#message", "Hello")
    page.keyboard.press("Shift+Enter")
    page.wait_for_selector("text=I heard you")
    page.wait_for_load_state("load")
    page.keyboard.type("2 more")
    assert page.input_value("#message") == "2 more"
    assert page.locator("input[name=level]:checked").count() == 0


def test_keep_for_later_brings_another_task(accounts: Accounts, opened: Open) -> None:
    put(accounts, "demonstrations", count=2)
    page = opened("ada")
    start(page)
    first = page.input_value("#answer input[name=id]")
    page.fill("#text", "Half an answer")
    page.click("button[value=draft]")
    page.wait_for_url("**done=later**")
    assert page.input_value("#answer input[name=id]") != first
    page.click("text=Back to it")
    page.wait_for_selector("#text:has-text('Half an answer')")
    assert page.input_value("#answer input[name=id]") == first


def test_gold_counts_as_any_other_answer(accounts: Accounts, opened: Open) -> None:
    """Two gold tasks come first: the counter beside the task goes on by one with each."""
    put_gold(accounts.store, gold=2, tasks=2)
    page = opened("ada")
    start(page)
    for count in range(3):
        assert f"{count} answered by you" in page.inner_text("main")
        for key in ("a", "b", "c"):
            page.keyboard.press(key)
        with page.expect_navigation(wait_until="load", timeout=TIMEOUT_MS):
            page.keyboard.press("Enter")
    assert "3 answered by you" in page.inner_text("main")


def test_the_screening_counts_what_was_answered(accounts: Accounts, opened: Open, tmp_path: Path) -> None:
    cfg, context = setting(tmp_path, rankings=None, prompts=None, groups=())
    with pytest.raises(Waiting):
        screening.run(cfg, context)
    page = opened("ada")
    assert "0 of 4 done" in page.inner_text("main")
    start(page)
    for count in range(4):
        assert f"{count} of 4 answered" in page.inner_text("main")
        page.keyboard.press("1")
        with page.expect_navigation(wait_until="load", timeout=TIMEOUT_MS):
            page.keyboard.press("Control+Enter")
    assert "You have answered all of it" in page.inner_text("main")
    (candidate,) = screening.decision.candidates(accounts.store)
    score = candidate.parts["sensitive"]
    assert (score.answered, score.task_count, score.value) == (4, 4, 0.5)  # two of the four are sensitive


def test_a_model_that_does_not_answer_says_why_and_nothing_is_lost(
    accounts: Accounts, opened: Open, caplog: pytest.LogCaptureFixture
) -> None:
    put(accounts, "probes")  # its endpoint is a port where nobody listens
    page = opened("ada")
    start(page)
    page.keyboard.type("Hello 2")
    with page.expect_navigation(wait_until="load", timeout=TIMEOUT_MS):
        page.keyboard.press("Shift+Enter")
    assert "its server cannot be reached" in page.inner_text("[role=alert]")
    assert page.input_value("#message") == "Hello 2"
    assert page.evaluate("document.activeElement.id") == "message"
    (line,) = [record.getMessage() for record in caplog.records if record.name == "biddable.label.probes"]
    assert "http://127.0.0.1:9/v1" in line and "refused" in line
    assert "127.0.0.1" not in page.content()


@pytest.mark.parametrize("kind", ["probes", "turns"])
def test_a_message_that_was_not_sent_is_not_dropped(
    accounts: Accounts, opened: Open, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr(conversation, "ask_for_several", lambda *request: [f"{n}" for n in range(request[3])])
    name, page = put(accounts, kind), opened("ada")
    start(page)
    page.keyboard.type("Hello")
    with page.expect_navigation(wait_until="load", timeout=TIMEOUT_MS):
        page.keyboard.press("Shift+Enter")
    page.fill("#message", "One more thing")
    page.click("input[type=radio][data-key='1']")
    with page.expect_navigation(wait_until="load", timeout=TIMEOUT_MS):
        page.keyboard.press("Control+Enter")
    assert "your last message is not sent yet" in page.inner_text("[role=alert]")
    assert page.input_value("#message") == "One more thing"
    assert queue.collected_labels(accounts.store, name) == []
