"""The chat page's session: a token of its own that ends by leaving, by closing the key, and by itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from biddable.store import key_sessions
from biddable.store.api_keys import Keys
from biddable.store.erase import erase_person

from .conftest import ASK, Guest, Site, play


def cookie(guest: Guest) -> str:
    """What the browser sends."""
    return "; ".join(f"{one.name}={one.value}" for one in guest.http.cookies.jar)


async def status(site: Site, cookie: str, token: str) -> int:
    """What somebody gets who has a copy of the cookie and of the page."""
    async with site.client(cookie=cookie) as http:
        return (await http.post("/chat/answer", json=ASK, headers={"x-form-token": token})).status_code


def test_the_browser_never_holds_the_key_and_the_store_never_the_token(
    make_site: Callable[..., Site], tmp_path: Path
) -> None:
    site = make_site()

    async def scene() -> None:
        before = await site.guest()
        fixed = cookie(before)
        said = await before.form("/enter", key=site.key)
        (header,) = said.headers.get_list("set-cookie")
        assert "HttpOnly" in header and "Max-Age=2592000" in header and site.key not in header
        assert site.key not in cookie(before) and cookie(before) != fixed  # no cookie from before is let in
        await before.load()
        assert await status(site, cookie(before), before.token) == 200
        token = cookie(before).split("=")[1].rpartition(".")[0]
        with site.store.read() as connection:
            rows = connection.exec_driver_sql("SELECT * FROM key_sessions").all()
        assert len(rows) == 1 and token not in str(rows) and site.key not in str(rows)
        assert await status(site, fixed, before.token) in (401, 403)

    play(scene())


@pytest.mark.parametrize("how", ["leave", "everywhere", "closed", "erased", "late", "clock set back"])
def test_a_session_ends_for_copies_of_its_cookie_too(make_site: Callable[..., Site], how: str) -> None:
    site = make_site()

    async def scene() -> None:
        guest, other = await site.guest(site.key), await site.guest(site.key)
        copies = [(cookie(one), one.token) for one in (guest, other)]
        assert [await status(site, *copy) for copy in copies] == [200, 200]
        keys, now = Keys(site.store), site.store.clock()
        if how == "leave":
            assert (await guest.form("/leave")).status_code == 303
        elif how == "everywhere":
            await guest.form("/leave", everywhere="yes")
        elif how == "closed":
            keys.close("tests")
        elif how == "erased":
            assert erase_person(site.store, keys.all()[0].pseudonym, really=True)["key_sessions"] == 2
        elif how == "late":
            site.store.clock = lambda: now + key_sessions.SESSION_SECONDS - 1
            assert await status(site, *copies[0]) == 200
            site.store.clock = lambda: now + key_sessions.SESSION_SECONDS + 9
        else:
            site.store.clock = lambda: now - 3700
        expected = [401, 200] if how == "leave" else [401, 401]
        assert [await status(site, *copy) for copy in copies] == expected
        if how == "leave":
            await guest.load()
            assert "Your key" in guest.page and "biddable=" in cookie(other)

    play(scene())


def test_ended_sessions_do_not_pile_up(make_site: Callable[..., Site]) -> None:
    site = make_site()
    key = Keys(site.store).all()[0]
    now = site.store.clock()
    for day in range(0, 100, 10):
        site.store.clock = lambda day=day: now + day * 86400.0  # type: ignore[misc]
        key_sessions.start_session(site.store, key)
    with site.store.read() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM key_sessions").scalar_one() == 3


def test_a_browser_forgets_the_key_that_an_earlier_version_left_in_it(make_site: Callable[..., Site]) -> None:
    site = make_site()

    async def scene() -> None:
        async with site.client(cookie=f"biddable-key={site.key}") as http:
            said = await http.get("/")
        assert "Your key" in said.text  # it lets nobody in
        assert any(
            header.startswith('biddable-key="";') and "Max-Age=0" in header
            for header in said.headers.get_list("set-cookie")
        )

    play(scene())
