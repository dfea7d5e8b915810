"""What the tests in a real browser share: where it is, how long it may take, how a task is opened and what is kept
of it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from typing import Any

import pytest

from biddable.label import comparisons, queue
from biddable.store.accounts import Accounts

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
TIMEOUT_MS = 600_000
"""Everything is awaited as an event; a wait that takes so long has failed, however busy the machine is."""
needs_chromium = pytest.mark.skipif(
    CHROMIUM is None, reason="no chromium on this machine: apt-get install chromium"
)


def start(page: Any) -> None:
    """Open the next task. Its scripts have run when the page has loaded: a key that comes earlier would be
    lost."""
    page.click("main button.main")
    page.wait_for_selector("#answer")
    page.wait_for_load_state("load")


def ranks(accounts: Accounts, name: str) -> list[list[int]]:
    """What is kept of each label, in the order shown."""
    return [
        list(comparisons.RankingAnswer.model_validate_json(row.answer).ranks or ())
        for row in queue.collected_labels(accounts.store, name)
    ]


class Hand:
    """How somebody works on a page: by `keys` alone, by `touch` on a phone, or with the mouse in a browser
    without `script`."""

    WAYS = ("keys", "touch", "no script")

    def __init__(self, opened: Callable[..., Any], name: str, way: str) -> None:
        phone = {"has_touch": True, "is_mobile": True, "viewport": {"width": 390, "height": 844}}
        settings = {"keys": {}, "touch": phone, "no script": {"java_script_enabled": False}}[way]
        self.way, self.page = way, opened(name, **settings)

    def tab_to(self, selector: str) -> None:
        """Press Tab until the focus is there; the page's end leads to its beginning."""
        wanted = self.page.locator(selector).first
        for _ in range(200):
            if wanted.evaluate("element => element === document.activeElement"):
                return
            self.page.keyboard.press("Tab")
        raise AssertionError(f"{selector} cannot be reached by keys")

    def press(self, selector: str) -> None:
        """A button, a link or what opens details."""
        if self.way == "keys":
            self.tab_to(selector)
            self.page.keyboard.press("Enter")
        else:
            self._point(self.page.locator(selector).first)

    def choose(self, name: str, value: str) -> None:
        """One of several radio buttons."""
        button = f"input[name='{name}'][value='{value}']"
        if self.way != "keys":
            return self._point(self.page.locator(f"label:has({button})"))
        self.tab_to(f"input[name='{name}']:checked, input[name='{name}']")
        self.page.keyboard.press("Space")
        group = self.page.locator(f"input[name='{name}']").count()
        for _ in range(group):
            if self.page.locator(button).is_checked():
                return
            self.page.keyboard.press("ArrowDown")
        raise AssertionError(f"{button} cannot be chosen by keys")

    def tick(self, selector: str) -> None:
        if self.way == "keys":
            self.tab_to(selector)
            self.page.keyboard.press("Space")
        else:
            self._point(self.page.locator(f"label:has({selector})"))

    def pick(self, selector: str, text: str) -> None:
        """One entry of a list."""
        if self.way == "keys":
            self.tab_to(selector)
            self.page.keyboard.type(text)
        else:
            self.page.locator(selector).select_option(text)

    def write(self, selector: str, text: str) -> None:
        if self.way == "keys":
            self.tab_to(selector)
        else:
            self._point(self.page.locator(selector))
        self.page.keyboard.type(text)

    def start(self) -> None:
        """The first button of the home page."""
        self.follow(lambda: self.press("main button.main"))

    def send(self) -> None:
        self.follow(
            lambda: (
                self.page.keyboard.press("Control+Enter")
                if self.way == "keys"
                else self._point(self.page.locator("button[value=send]"))
            )
        )

    def say(self) -> None:
        """Send the message to the model that the page talks with."""
        self.follow(
            lambda: (
                self.page.keyboard.press("Shift+Enter")
                if self.way == "keys"
                else self._point(self.page.locator("button[value=say]"))
            )
        )

    def follow(self, act: Callable[[], object]) -> None:
        """Do what leads to another page, and wait until its scripts have run."""
        with self.page.expect_navigation(wait_until="load", timeout=TIMEOUT_MS):
            act()

    def _point(self, target: Any) -> None:
        if self.way == "touch":
            target.tap()
        else:
            target.click()
