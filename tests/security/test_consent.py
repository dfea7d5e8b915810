"""Consent is looked at where a line is written: who takes it back, or deletes, while an answer is under way has
nothing of it kept, and nothing is said about what is deleted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from biddable.run import turn_log
from biddable.store import erase

from .conftest import ASK, Guest, Site, play

CHAT = {**ASK, "model": "learn.ppo", "store": True}


@pytest.mark.parametrize("taken_back", ["withdrawn", "deleted", "withdrawn, and agreed again", "erased"])
def test_who_takes_consent_back_while_an_answer_streams_has_nothing_kept(
    make_site: Callable[..., Site], taken_back: str
) -> None:
    site = make_site(access="open")

    async def scene() -> None:
        guest = await site.guest()
        await guest.agree()
        assert await guest.turn() is not None and len(site.turns()[0]) == 1

        async def meanwhile() -> None:
            if taken_back.startswith("withdrawn"):
                await guest.agree(False)
            elif taken_back == "deleted":
                assert (await guest.post("/chat/forget", {})).json() == {"turns": 1, "feedback": 0}
            else:
                user = site.turns()[0][0].user
                erase.erase_person(site.store, user, really=True)
                turn_log.forget(site.run / "turns", user)
            if taken_back.endswith("again"):
                await guest.agree()

        site.model.meanwhile = meanwhile
        assert await guest.turn() is None
        assert len(site.turns()[0]) == (1 if taken_back.startswith("withdrawn") else 0)

    play(scene())


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("access", ["key", "open"])
def test_a_programs_user_who_deletes_while_an_answer_is_made_has_nothing_kept(
    make_site: Callable[..., Site], access: str, stream: bool
) -> None:
    site = make_site(access=access)

    async def scene() -> None:
        program = site.program()
        body = {**CHAT, "user": "ada", "stream": stream}

        async def delete() -> None:
            said = await program.request("DELETE", "/v1/data", params={"user": "ada"})
            assert said.json() == {"object": "data.deleted", "turns": 1, "feedback": 0}

        assert '"turn"' in (await program.post("/v1/chat/completions", json=body)).text
        site.model.meanwhile = delete
        answer = await program.post("/v1/chat/completions", json=body)
        assert answer.status_code == 200 and '"turn"' not in answer.text
        assert site.turns() == ([], [])

    play(scene())


def test_what_an_open_server_keeps_can_be_deleted_by_name(make_site: Callable[..., Site]) -> None:
    site = make_site(access="open")

    async def scene() -> None:
        program = site.program()
        nameless = await program.post("/v1/chat/completions", json=CHAT)
        assert nameless.status_code == 400 and "send a name too" in nameless.json()["error"]["message"]
        for user in ("ada", "bob", "ada"):
            answer = await program.post("/v1/chat/completions", json={**CHAT, "user": user})
            assert answer.json()["choices"][0]["turn"]
        assert (await program.delete("/v1/data")).status_code == 400
        gone = await program.request("DELETE", "/v1/data", params={"user": "ada"})
        assert gone.json()["turns"] == 2 and len(site.turns()[0]) == 1
        again = await program.post("/v1/chat/completions", json={**CHAT, "user": "ada"})
        assert again.json()["choices"][0]["turn"]  # the program says that its user agreed anew

    play(scene())


def test_names_of_strangers_leave_nothing_behind(make_site: Callable[..., Site]) -> None:
    site = make_site()

    async def scene() -> None:
        for number in range(3):
            await site.program().request("DELETE", "/v1/data", params={"user": f"guess {number}"})
        with site.store.read() as connection:
            assert connection.exec_driver_sql("SELECT count(*) FROM consents").scalar_one() == 0

    play(scene())


def test_a_programs_deletion_reaches_what_its_owner_wrote_on_the_page(make_site: Callable[..., Site]) -> None:
    site = make_site()

    async def scene() -> None:
        guest = await site.guest(site.key)
        await guest.agree()
        assert await guest.turn()
        site.model.meanwhile = lambda: site.program().delete("/v1/data")
        assert await guest.turn() is None
        assert site.turns() == ([], [])
        await guest.load()
        assert 'data-agreed=""' in guest.page

    play(scene())


async def _opinions(guest: Guest, first: str, second: str) -> list[Any]:
    return [
        await guest.post("/chat/feedback", {"turn": first, "thumbs": "up"}),
        await guest.post("/chat/feedback", {"turn": first, "report": "It is rude."}),
        await guest.post("/chat/prefer", {"turns": [second, first], "better": 0}),
    ]


def test_nothing_is_kept_about_what_was_deleted_or_of_who_has_withdrawn(
    make_site: Callable[..., Site],
) -> None:
    site = make_site(access="open")

    async def scene() -> None:
        guest = await site.guest()
        await guest.agree()
        first, second = await guest.turn(), await guest.turn()
        assert first and second
        assert [said.status_code for said in await _opinions(guest, first, second)] == [200, 200, 200]
        await guest.agree(False)
        for said in await _opinions(guest, first, second):
            assert said.status_code == 409 and "not agreed" in said.json()["error"]["message"]
        assert len(site.turns()[1]) == 3
        await guest.agree()
        assert [said.status_code for said in await _opinions(guest, first, second)] == [200, 200, 200]
        assert (await guest.post("/chat/forget", {})).json() == {"turns": 2, "feedback": 6}
        await guest.agree()
        assert await guest.turn()
        for said in await _opinions(guest, first, second):
            assert said.status_code == 404 and "was deleted" in said.json()["error"]["message"]
        assert len(site.turns()[0]) == 1 and site.turns()[1] == []

    play(scene())


def test_a_withdrawal_counts_also_when_the_clock_was_set_back(make_site: Callable[..., Site]) -> None:
    site = make_site(access="open")

    async def scene() -> None:
        guest = await site.guest()
        await guest.agree()
        now = site.store.clock()
        site.store.clock = lambda: now - 3600
        await guest.agree(False)
        assert await guest.turn() is None

    play(scene())
