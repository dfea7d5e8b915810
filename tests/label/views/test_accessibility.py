"""Every page of the site as axe-core sees it: no findings, in light and dark, on a desk and on a phone; nothing wider
than the screen, little script, and nothing from elsewhere. What axe cannot see is listed in
`docs/accessibility.md`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe
from fastapi import FastAPI

from biddable.label import conversation, queue, screening
from biddable.label.site import ROUTERS
from biddable.run.config import Waiting
from biddable.run.records import Message
from biddable.store import invitations, password_resets
from biddable.store.accounts import Accounts
from tests.label.test_screening import setting

from .browser import TIMEOUT_MS, needs_chromium
from .conftest import Browser
from .test_tasks import begin, put

pytestmark = needs_chromium
MAX_SCRIPT_BYTES = 50_000
AXE = {"resultTypes": ["violations"], "rules": {"target-size": {"enabled": True}}}
"""All of axe's rules; that for the size of targets (WCAG 2.2) has to be switched on."""
KINDS = ("comparisons", "ratings", "demonstrations", "rulechecks", "prompts", "probes", "turns")


@pytest.fixture(autouse=True)
def model(monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(endpoint: str, model: str, messages: Sequence[Message], count: int) -> list[str]:
        return ["# I am a model\n\n### and say\n\n| a | table |\n|---|---|\n| 1 | 2 |"] * count

    monkeypatch.setattr(conversation, "ask_for_several", answer)


@pytest.fixture
def addresses(app: FastAPI, accounts: Accounts, tmp_path: Path) -> dict[str, list[str]]:
    """Pages with something on each of them, by who looks at it; "" is a visitor."""
    store, ada, bob, boss = accounts.store, Browser(app), Browser(app), Browser(app)
    for browser, name in ((ada, "ada"), (bob, "bob"), (boss, "boss")):
        browser.login(name)
    names = {kind: put(accounts, kind, count=3, overlap=2) for kind in KINDS}
    tasks = {}
    for browser, ranks in ((ada, "1234"), (bob, "4321")):
        task, _, guideline = begin(browser, names["comparisons"])
        browser.post(
            "/answer",
            id=task,
            guideline=guideline,
            seconds="9",
            **{f"rank-{i}": rank for i, rank in enumerate(ranks)},
        )
    for kind, name in names.items():
        tasks[kind], _, guideline = begin(ada, name)
        if kind in ("probes", "turns"):
            ada.post("/answer", id=tasks[kind], guideline=guideline, action="say", message="Hello")
    flagged, *_ = begin(bob, names["ratings"])
    bob.post("/skip", id=flagged, action="flag", reason="it is empty")
    first, *_ = queue.collected_labels(store, names["comparisons"])
    boss.post("/admin/review", task=first.task, label=first.id, action="returned", note="look at C")
    cfg, context = setting(tmp_path)
    with suppress(Waiting):
        screening.run(cfg, context)
    for part in screening.put_parts(store, cfg, "run/label.screening", context.seed):
        if part.part in ("sensitive", "groups"):
            tasks[part.part], *_ = begin(ada, part.task_set)
    by_login = {account.login: account for account in accounts.all()}
    invited = invitations.invite(store, by_login["boss"].id, "labeler", "training")
    reset = password_resets.make_reset(store, by_login["bob"].id, by_login["boss"].id)
    person = by_login["ada"].person.pseudonym
    task, name = quote(first.task, safe=""), quote(names["comparisons"], safe="")
    admin = [
        "",
        "/log",
        "/review",
        f"/review/task?task={task}",
        f"/review/own?task={task}",
        "/guidelines",
        "/screening",
    ]
    admin += [f"/screening/person?name={person}", "/dashboard", f"/set?name={name}", f"/person?name={person}"]
    admin += ["/agreement", "/gold", "/limits"]
    return {
        "": ["/login", f"/invitation/{invited}", f"/password/{reset}", "/nowhere"],
        "ada": [
            *(
                "/",
                "/mine",
                f"/mine?saved={task}",
                "/profile",
                "/second-factor",
                "/guideline/changes",
                "/guideline",
                f"/?done=kept&saved={task}&nothing=1",
            ),
            *(f"/task?id={quote(task, safe='')}" for task in tasks.values()),
        ],
        "boss": [f"/admin{path}" for path in admin],
    }


def test_every_page_is_looked_at(addresses: dict[str, list[str]]) -> None:
    seen = [urlsplit(address).path for pages in addresses.values() for address in pages]
    pages = {
        route.path
        for router in ROUTERS
        for route in router.routes
        if "GET" in route.methods and not route.path.endswith(".csv")
    }
    patterns = {page: re.sub(r"\{\w+\}", "[^/]+", page) for page in pages}
    assert not {
        page for page, pattern in patterns.items() if not any(re.fullmatch(pattern, path) for path in seen)
    }


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 390)])
def test_axe_finds_nothing_on_any_page(
    addresses: dict[str, list[str]],
    opened: Callable[..., Any],
    chromium: Any,
    address: str,
    scheme: str,
    width: int,
) -> None:
    axe, problems = Axe(), []
    settings = {"color_scheme": scheme, "viewport": {"width": width, "height": 844}}

    def note_foreign(request: Any) -> None:
        if not request.url.startswith((address, "data:")):
            problems.append(request.url)

    for who, pages in addresses.items():
        page = (
            opened(who, **settings) if who else chromium.new_context(base_url=address, **settings).new_page()
        )
        page.on("request", note_foreign)
        for path in pages:
            page.goto(path)
            problems += [f"{path}: {line}" for line in look(page, axe, width)]
            if path.startswith("/task?id=demo%2Flabel.prompts"):
                with page.expect_navigation(wait_until="load", timeout=TIMEOUT_MS):
                    page.click("button[value=send]")
                assert "is empty" in page.inner_text("[role=alert]")
                problems += [f"{path}, refused: {line}" for line in look(page, axe, width)]
        page.context.close()
    assert not problems, "\n".join(problems)


def look(page: Any, axe: Axe, width: int) -> Iterator[str]:
    """What is wrong with the page as it stands."""
    for finding in axe.run(page, options=AXE).response["violations"]:
        for node in finding["nodes"]:
            yield f"{finding['id']}: {node['html'][:120]} {node['failureSummary'][:300]}"
    if (wide := page.evaluate("document.documentElement.scrollWidth")) > width:
        yield f"{wide} pixels wide on a screen of {width}"
    script = page.evaluate(
        "performance.getEntriesByType('resource').filter(r => r.name.endsWith('.js')).reduce((n, r) => n + r.decodedBodySize, 0)"
    )
    if not 0 < script <= MAX_SCRIPT_BYTES:
        yield f"{script} bytes of script"
