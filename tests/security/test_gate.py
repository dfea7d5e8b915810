"""What another site makes a browser send, what is meant for another host, and bodies with two lengths are
refused, at the API and at the page alike."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Callable
from typing import Any

import httpx2
import pytest
import uvicorn

from biddable.web.gate import host_name
from biddable.web.timeouts import Connection

from .conftest import ASK, Site, play

CHAT = {**ASK, "model": "learn.ppo", "store": True, "user": "ada"}
TYPES = ["text/plain", "text/plain; x=application/json", "application/x-www-form-urlencoded", "", "text/json"]


@pytest.mark.parametrize("media_type", TYPES)
def test_only_json_is_read_as_json(make_site: Callable[..., Site], media_type: str) -> None:
    """A page of another site can make a browser send these without asking us first."""
    site = make_site(access="open")

    async def scene() -> None:
        headers = {"content-type": media_type} if media_type else {}
        program = site.program()
        for path in ("/v1/chat/completions", "/v1/completions"):
            said = await program.post(path, content=json.dumps(CHAT), headers=headers)
            assert said.status_code == 415 and "application/json" in said.json()["error"]["message"]
        guest = await site.guest()
        headers["x-form-token"] = guest.token
        for name in ("answer", "feedback", "prefer", "consent", "forget"):
            said = await guest.http.post(f"/chat/{name}", content="{}", headers=headers)
            assert said.status_code == 415
        assert site.turns() == ([], [])
        accepted = {"content-type": "Application/JSON; charset=utf-8"}
        said = await program.post("/v1/chat/completions", content=json.dumps(CHAT), headers=accepted)
        assert said.status_code == 200

    play(scene())


OWN = "https://chat.example.org"
ORIGINS: list[tuple[str | None, dict[str, str], bool]] = [
    # address, headers, ours
    (None, {}, True),
    (None, {"sec-fetch-site": "same-origin", "origin": "http://localhost"}, True),
    (None, {"sec-fetch-site": "none"}, True),
    (None, {"sec-fetch-site": "cross-site"}, False),
    (None, {"sec-fetch-site": "same-site"}, False),
    (None, {"sec-fetch-site": "cross-site", "origin": "http://localhost"}, False),
    (None, {"origin": "http://localhost"}, True),
    (None, {"origin": "http://LOCALHOST"}, True),
    (None, {"origin": "http://localhost:81"}, False),
    (None, {"origin": "https://evil.example"}, False),
    (None, {"origin": "http://localhost.evil.example"}, False),
    (OWN, {"host": "chat.example.org", "origin": OWN}, True),
    (OWN, {"host": "chat.example.org", "origin": f"{OWN}:443"}, True),
    (OWN, {"host": "chat.example.org", "origin": "http://chat.example.org"}, False),
    (OWN, {"host": "chat.example.org", "origin": f"{OWN}:8443"}, False),
    (OWN, {"host": "chat.example.org", "origin": "https://[half"}, False),
    (OWN, {"host": "chat.example.org", "origin": "https://x:port"}, False),
]


@pytest.mark.parametrize(("address", "headers", "ours"), ORIGINS, ids=str)
def test_what_another_site_sends_is_refused(
    make_site: Callable[..., Site], address: str | None, headers: dict[str, str], ours: bool
) -> None:
    site = make_site(access="open", address=address)

    async def scene() -> None:
        async with site.client(**headers) as http:
            said = await http.post("/v1/chat/completions", json=CHAT)
            assert said.status_code == (200 if ours else 403), said.text
            deleted = await http.request("DELETE", "/v1/data", params={"user": "ada"})
            assert deleted.status_code == (200 if ours else 403)
            page = await http.post("/chat/answer", json=ASK)  # without a form's token it is refused anyway
            assert page.status_code == 403 and ("another site. Go back" in page.text) == ours
            assert (await http.get("/v1/models")).status_code == 200  # nobody else's page can read it

    play(scene())


HOSTS: list[tuple[dict[str, Any], str, bool]] = [
    ({"address": OWN}, "chat.example.org", True),
    ({"address": OWN}, "CHAT.example.org:443", True),
    ({"address": OWN}, "chat.example.org.", True),
    ({"address": OWN}, "evil.example", False),
    ({"address": OWN}, "chat.example.org.evil.example", False),
    ({"address": OWN}, "localhost", False),
    ({"address": OWN}, "", False),
    ({"address": OWN}, "[half", False),
    ({"address": OWN}, "chat.example.org@evil.example", False),
    ({}, "localhost:8200", True),  # on this machine only: a name that is made to point here is not ours
    ({}, "127.0.0.1:8200", True),
    ({}, "[::1]:8200", True),
    ({}, "evil.example", False),
    ({"host": "0.0.0.0"}, "whatever-people-call-it", True),
]


@pytest.mark.parametrize(("settings", "host", "ours"), HOSTS, ids=str)
def test_a_request_for_another_host_is_refused(
    make_site: Callable[..., Site], settings: dict[str, Any], host: str, ours: bool
) -> None:
    site = make_site(access="open", **settings)

    async def scene() -> None:
        async with site.client(host=host) as http:
            for path in ("/", "/v1/models", "/static/x"):
                assert ((await http.get(path)).status_code != 421) == ours, path
            assert (await http.post("/v1/chat/completions", json=CHAT)).status_code == (200 if ours else 421)
            assert (await http.get("/health")).status_code == 200  # a watchdog may ask by any name

    play(scene())


def test_a_hosts_name() -> None:
    names = {"A.b:1": "a.b", "a.b.": "a.b", "[::1]:80": "::1", "a_b-1": "a_b-1"}
    wrong = dict.fromkeys(("", ":80", "x@a", "a/b", "[x", "[::1", "a:b", "a:1:2", "a b", "ä", "a\n"), "")
    assert {text: host_name(text) for text in names | wrong} == names | wrong


@pytest.mark.parametrize("address", [None, "http://chat.example.org", OWN])
def test_behind_https_the_api_keeps_clients_on_it_as_the_page_does(
    make_site: Callable[..., Site], address: str | None
) -> None:
    site = make_site(address=address)

    async def scene() -> None:
        async with site.client(host="localhost" if address is None else "chat.example.org") as http:
            for path in ("/", "/v1/models", "/health", "/v1/none"):
                said = (await http.get(path)).headers.get("strict-transport-security")
                assert said == ("max-age=31536000" if address == OWN else None)

    play(scene())


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/chat/answer", "/leave"])
def test_a_body_with_two_lengths_is_refused_and_its_connection_closed(
    make_site: Callable[..., Site], path: str
) -> None:
    """What a proxy takes for the rest of a body would be the next request to us."""
    site = make_site(access="open")
    smuggled = b"0\r\n\r\nGET /v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n"
    head = (
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(smuggled)}\r\nTransfer-Encoding: chunked\r\n\r\n"
    )

    async def scene() -> None:
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            listener.listen()
            settings = uvicorn.Config(site.app, http=Connection, log_level="error", lifespan="off")
            server = uvicorn.Server(settings)
            running = asyncio.create_task(server.serve([listener]))
            port = listener.getsockname()[1]
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(head.encode() + smuggled)
            answer = await reader.read()  # to the end: the server closes
            writer.close()
            await writer.wait_closed()
            async with httpx2.AsyncClient() as http:
                assert (await http.get(f"http://127.0.0.1:{port}/v1/models")).status_code == 200
            server.should_exit = True
            await running
        assert answer.startswith(b"HTTP/1.1 400 ") and answer.count(b"HTTP/1.1") == 1
        assert b"not both" in answer

    play(scene())
