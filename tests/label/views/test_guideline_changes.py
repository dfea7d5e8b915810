"""What is kept is told at sign-up; a guideline's change is read before the next task."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from fastapi import FastAPI

from biddable.label.views.difference import Piece, difference
from biddable.run.config import UserError
from biddable.store import guidelines, invitations
from biddable.store.accounts import Accounts
from biddable.store.erase import erase_person

from .conftest import Browser
from .test_oversight import HOSTILE
from .test_tasks import put

Enter = Callable[[str], Browser]


def test_paragraphs_and_words_that_changed() -> None:
    before = "# Be helpful\n\nThe user comes first.\n\n- be kind\n- be brief"
    after = "# Be helpful\n\nThe user always comes first.\n\n- be kind\n- say when you do not know"
    assert difference(before, after) == [
        [Piece("same", "# Be helpful")],
        [Piece("same", "The user"), Piece("new", " always"), Piece("same", " comes first.")],
        [Piece("same", "- be kind")],
        [Piece("gone", "- be brief")],
        [Piece("new", "- say when you do not know")],
    ]
    assert difference(before, before.replace("\n\n", "\n\n\n")) == [
        [Piece("same", text)] for text in ("# Be helpful", "The user comes first.", "- be kind", "- be brief")
    ]
    assert difference("", "a") == [[Piece("new", "a")]] and difference("a", "") == [[Piece("gone", "a")]]


def test_a_change_is_read_before_the_next_task(accounts: Accounts, logged_in: Enter) -> None:
    name = put(accounts, "ratings", count=3)
    store, ada = accounts.store, logged_in("ada")
    guidelines.publish_guideline(store, "training", "Be helpful and brief.")
    first = ada.post("/next", token=ada.token("/"), set=name).headers["location"]
    assert first.startswith("/task?id=")  # a newcomer sees the guideline beside the task
    page = ada.get(first).text
    fields = {key: re.search(rf'name="{key}" value="([^"]*)"', page) for key in ("id", "guideline")}
    sent = {key: match[1] for key, match in fields.items() if match}
    guidelines.publish_guideline(store, "training", f"Be helpful and kind. {HOSTILE}")
    answered = ada.post("/answer", token=ada.token("/"), action="send", **{"overall-0": "5"}, **sent)
    where = answered.headers["location"]
    assert where.startswith("/guideline/changes?set=demo%2Flabel.ratings%2Fabc&done=kept&saved=")
    page = ada.get(where).text
    assert re.search(r"<del>.*brief\.</del>", page, re.S) and re.search(r"<ins>.*kind\.", page, re.S)
    assert HOSTILE not in page
    again = ada.post("/next", token=ada.token("/"), set=name).headers["location"]
    assert again.startswith("/guideline/changes")
    version = re.search(r'name="version" value="([^"]*)"', page)
    assert version is not None
    read = ada.post("/guideline/read", token=ada.token("/"), version=version[1], set=name)
    assert read.headers["location"].startswith("/task?id=")
    assert ada.post("/next", token=ada.token("/"), set=name).headers["location"].startswith("/task?id=")
    assert ada.post("/guideline/read", token=ada.token("/"), version="x", set=name).status_code == 400


def test_what_was_read_is_forgotten_with_its_reader(accounts: Accounts) -> None:
    store = accounts.store
    version = guidelines.publish_guideline(store, "training", "Be helpful.")
    ada = next(row.person for row in accounts.all() if row.login == "ada")
    assert guidelines.version_read(store, ada, "training") is None
    guidelines.mark_read(store, ada, version)
    assert guidelines.version_read(store, ada, "training") == version
    assert guidelines.version_read(store, ada, "evaluation") is None
    with pytest.raises(UserError, match="no such guideline"):
        guidelines.mark_read(store, ada, "training-0")
    assert erase_person(store, ada.pseudonym, True)["consents"] == 1


def test_sign_up_says_what_is_kept(app: FastAPI, accounts: Accounts, logged_in: Enter) -> None:
    boss = next(row.id for row in accounts.all() if row.login == "boss")
    page = (
        Browser(app)
        .get(f"/invitation/{invitations.invite(accounts.store, boss, 'labeler', 'training')}")
        .text
    )
    for words in ("What is kept", "Your time", "measured only while", "erased"):
        assert words in page
    assert "What is kept about you" in logged_in("ada").get("/profile").text
