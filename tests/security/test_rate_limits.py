"""How often somebody may ask: every endpoint counts, and wrong keys make no right one 'not known'."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from .conftest import ASK, Site, play

BODIES = {
    "answer": ASK,
    "feedback": {"turn": "x", "thumbs": "up"},
    "prefer": {"turns": ["x", "y"]},
    "consent": {"given": True, "version": "another"},
    "forget": {},
}


@pytest.mark.parametrize("name", BODIES)
@pytest.mark.parametrize("access", ["open", "key"])
def test_every_endpoint_of_the_page_is_limited(
    make_site: Callable[..., Site], name: str, access: str
) -> None:
    site = make_site(access=access, requests_per_minute=2)

    async def scene() -> None:
        guest = await site.guest(site.key)
        said = [await guest.post(f"/chat/{name}", BODIES[name]) for _ in range(3)]
        assert [answer.status_code == 429 for answer in said] == [False, False, True]
        assert int(said[2].headers["retry-after"]) <= 30
        assert said[2].json()["error"]["code"] == "rate_limit_exceeded"

    play(scene())


def test_strangers_at_the_page_are_limited_too(make_site: Callable[..., Site]) -> None:
    site = make_site(requests_per_minute=2)

    async def scene() -> None:
        stranger = await site.guest()
        said = [(await stranger.post("/chat/answer", ASK)).status_code for _ in range(3)]
        assert said == [401, 401, 429]

    play(scene())


def test_too_many_wrong_keys_at_the_page_are_told_as_such(make_site: Callable[..., Site]) -> None:
    site = make_site(requests_per_minute=2)

    async def scene() -> None:
        guest = await site.guest()
        for _ in range(2):
            said = await guest.form("/enter", key="bid-wrong")
            assert said.status_code == 403 and "not known" in said.text
        for key in ("bid-wrong", site.key):
            said = await guest.form("/enter", key=key)
            assert said.status_code == 429 and int(said.headers["retry-after"]) <= 30
            assert "Too many attempts" in said.text and "not known" not in said.text

    play(scene())


def test_wrong_keys_of_programs_are_limited_and_lock_no_right_one_out(make_site: Callable[..., Site]) -> None:
    site = make_site(requests_per_minute=2)

    async def scene() -> None:
        async with site.client(authorization="Bearer bid-wrong") as wrong, site.client() as none:
            said = [await wrong.get("/v1/models"), await none.get("/v1/models"), await wrong.get("/metrics")]
        assert [answer.status_code for answer in said] == [401, 401, 429]
        assert said[2].json()["error"]["code"] == "too_many_attempts"
        assert (await site.program().get("/v1/models")).status_code == 200

    play(scene())
