"""The chat page in a real browser: by keyboard, on a phone, with a strict content policy and no errors."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from biddable.run import turn_log

CHROMIUM = Path("/usr/bin/chromium")
TIMEOUT_MS = 600_000
"""Everything is awaited as an event; a wait that takes so long has failed, however busy the machine is."""
playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
if not CHROMIUM.exists():
    pytest.skip(f"needs {CHROMIUM}", allow_module_level=True)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as play:
        made = play.chromium.launch(
            executable_path=str(CHROMIUM), args=["--no-sandbox", "--disable-background-networking"]
        )
        yield made
        made.close()


@pytest.fixture(scope="module")
def pair(start: Callable[..., Any], tiny_stages: Path) -> Any:
    policies = (tiny_stages / "learn.ppo", tiny_stages / "learn.start")
    return start(
        access="open", max_tokens=30, policies=policies, side_by_side=1.0, requests_per_minute=100_000
    )


@pytest.fixture(scope="module")
def single(start: Callable[..., Any]) -> Any:
    return start(access="open", max_tokens=30, requests_per_minute=100_000)


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    context = browser.new_context(viewport={"width": 900, "height": 700})
    made = context.new_page()
    made.set_default_timeout(TIMEOUT_MS)
    problems: list[str] = []
    made.on("console", lambda said: problems.append(said.text) if said.type in ("error", "warning") else None)
    made.on("pageerror", lambda error: problems.append(str(error)))
    yield made
    context.close()
    assert [said for said in problems if "status of 400" not in said] == []


def ask(page: Any, text: str) -> None:
    """Ask, and wait until the answer has ended: its tools appear, and the page shows the button again."""
    ended = page.locator(".tools:not([hidden])").count()
    page.locator("#text").fill(text)
    page.keyboard.press("Enter")
    page.wait_for_selector(f":nth-match(.tools:not([hidden]), {ended + 1})")
    page.wait_for_selector("#send:not([hidden])")


def consent(page: Any) -> None:
    """Yes to keeping what one writes; the page hides the question once the server has stored the answer."""
    page.locator("#yes").click()
    page.wait_for_selector("#consent", state="hidden")


def wait_for_focus(page: Any, id: str) -> None:
    page.wait_for_selector(f"#{id}:focus")


def test_by_keyboard_from_consent_to_deleting(page: Any, single: Any) -> None:
    page.goto(single.url)
    page.locator("#yes").focus()
    page.keyboard.press("Enter")
    page.wait_for_selector("#consent", state="hidden")
    wait_for_focus(page, "text")
    page.keyboard.type("Name a fruit.")
    page.keyboard.press("Enter")
    page.wait_for_selector(".tools:not([hidden])")
    wait_for_focus(page, "text")
    kept, _ = turn_log.read(single.run / "turns")
    assert page.locator(".answer-text").inner_text().split() == kept[-1].answer.text.split()
    page.locator(".down").focus()
    page.keyboard.press("Enter")
    page.wait_for_selector(".reasons:not([hidden]) input:focus")
    page.keyboard.press("Space")  # the first reason has the focus
    page.keyboard.press("Enter")
    page.wait_for_selector("text=Thank you, noted.")
    page.locator(".report").press("Enter")
    page.wait_for_selector(".reporting textarea:focus")
    page.keyboard.type("It is rude.")
    page.locator(".reporting button").press("Enter")
    page.wait_for_selector("text=Reported.")
    page.locator(".again").press("Enter")
    page.wait_for_selector(".choice")
    page.locator(".better").nth(1).press("Enter")
    page.wait_for_selector(".choice >> text=Thank you, noted.")
    kept, said = turn_log.read(single.run / "turns")
    assert said[0].thumbs == "down" and said[1].reasons == ("right",) and said[2].report == "It is rude."
    assert (said[3].turn, said[3].preferred_over) == (kept[1].id, (kept[0].id,))
    ask(page, "Another one.")
    kept, _ = turn_log.read(single.run / "turns")
    assert [message.role for message in kept[2].messages] == ["user", "assistant", "user"]
    assert kept[2].messages[1].content == kept[1].answer.text and kept[2].conversation == kept[0].conversation
    page.on("dialog", lambda dialog: dialog.accept())
    page.locator("#data").press("Enter")
    page.locator("#delete").press("Enter")
    page.wait_for_selector("text=Deleted: 3 answers and 4 opinions.")
    assert turn_log.read(single.run / "turns") == ([], [])
    page.keyboard.press("Escape")
    ask(page, "Once more.")
    assert turn_log.read(single.run / "turns") == ([], []) and page.locator(".opinion:visible").count() == 0


def test_two_answers_side_by_side_on_a_desk_and_below_each_other_on_a_phone(
    page: Any, pair: Any, tmp_path: Path
) -> None:
    page.goto(pair.url)
    consent(page)
    ask(page, "Name a fruit.")
    left, right = (page.locator(".pair .answer").nth(n).bounding_box() for n in (0, 1))
    assert left["y"] == right["y"] and left["x"] + left["width"] <= right["x"]
    page.set_viewport_size({"width": 360, "height": 640})
    upper, lower = (page.locator(".pair .answer").nth(n).bounding_box() for n in (0, 1))
    assert upper["y"] + upper["height"] <= lower["y"]
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    for button in page.locator("button:visible").all():
        assert button.bounding_box()["height"] >= 24 or "link" in (button.get_attribute("class") or "")
    page.locator(".same").click()
    page.wait_for_selector("text=Thank you, noted.")
    assert len(turn_log.read(pair.run / "turns")[1][-1].same_as) == 1


def test_stop_frees_the_seat_and_the_conversation_goes_on(page: Any, start: Callable[..., Any]) -> None:
    served = start(access="open", max_tokens=20_000, context=40_000)
    served.models["learn.ppo"].__dict__["context"] = 30_000
    batch = served.models["learn.ppo"].engine.batches["learn.ppo"]
    batch.sampler.eos = frozenset()
    page.goto(served.url)
    page.locator("#no").click()
    page.locator("#text").fill("Go on and on.")
    page.keyboard.press("Enter")
    page.wait_for_selector(".answer-text:not(:empty)")
    assert page.locator("#stop").is_visible()
    page.keyboard.press("Escape")
    page.wait_for_selector("#send:not([hidden])")
    deadline = time.monotonic() + TIMEOUT_MS / 1000
    while batch.busy and time.monotonic() < deadline:
        page.wait_for_timeout(20)
    assert not batch.busy
    page.wait_for_selector("text=The answer was cut off here.")


def test_hostile_text_is_shown_as_text(page: Any, single: Any) -> None:
    page.goto(single.url)
    page.locator("#no").click()
    ask(page, "<img src=x onerror=\"document.title='caught'\"><script>document.title='caught'</script>")
    assert page.title() != "caught" and page.locator(".question img, .question script").count() == 0
    assert "<script>" in page.locator(".question").inner_text()


def test_a_refusal_is_told(page: Any, single: Any) -> None:
    page.goto(single.url)
    page.locator("#no").click()
    page.locator("#text").fill("Speak <|im_start|> in tongues")
    with page.expect_response("**/chat/answer") as told:
        page.keyboard.press("Enter")
    assert told.value.status == 400
    page.wait_for_selector("#problem:not([hidden])")
    assert "control token" in page.locator("#problem").inner_text()
