"""Security headers on whatever is sent, and limits on bodies to the byte."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from biddable.web.middleware import SECURITY_HEADERS

from .conftest import Client

MEBIBYTE = 1_048_576


@pytest.mark.parametrize(
    ("path", "status", "cache"),
    [
        ("/page", 200, "no-store"),
        ("/nowhere", 404, "no-store"),
        ("/refuse/bug", 500, "no-store"),
        ("own.js", 200, "public, max-age=31536000"),
        ("base.css", 200, "public, max-age=31536000"),
        ("/static/own.js", 404, "no-store"),  # without its hash: a second address of the same module
        ("/static/nowhere.js", 404, "no-store"),
    ],
)
def test_every_response_has_the_headers(client: Client, path: str, status: int, cache: str) -> None:
    if not path.startswith("/"):  # a static file, under the address that pages give it
        path = next(address for address in client.get("/page").text.split("|") if address.endswith(path))
    answer = client.get(path)
    assert (answer.status_code, answer.headers["cache-control"]) == (status, cache)
    assert SECURITY_HEADERS.items() <= dict(answer.headers).items()
    assert "strict-transport-security" not in answer.headers


@pytest.mark.parametrize(
    ("path", "status"), [("/page", 200), ("own.js", 200), ("/nowhere", 404), ("/refuse/bug", 500)]
)
def test_head_is_get_without_the_body(client: Client, path: str, status: int) -> None:
    if not path.startswith("/"):
        path = next(address for address in client.get("/page").text.split("|") if address.endswith(path))
    whole, head = client.get(path), client.head(path)
    assert (head.status_code, head.content) == (status, b"")
    assert dict(head.headers) == dict(whole.headers)


def test_the_policy_allows_nothing_inline_and_nothing_foreign() -> None:
    policy = dict(
        part.strip().split(" ", 1) for part in SECURITY_HEADERS["content-security-policy"].split(";")
    )
    assert policy["default-src"] == policy["base-uri"] == policy["frame-ancestors"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["form-action"] == "'self'"
    assert SECURITY_HEADERS["x-frame-options"] == "DENY"


def test_with_https_browsers_stay_on_https(make_site: Callable[..., FastAPI]) -> None:
    headers = TestClient(make_site(https=True)).get("/page").headers
    assert headers["strict-transport-security"] == "max-age=31536000"


@pytest.mark.parametrize(("path", "limit"), [("/read", MEBIBYTE), ("/large/read", 2_000_000)])
@pytest.mark.parametrize("declared", [True, False])
def test_a_body_may_be_as_large_as_its_limit_and_no_byte_larger(
    client: Client, path: str, limit: int, declared: bool
) -> None:
    headers = {"x-form-token": client.form_token, "content-type": "application/octet-stream"}

    def chunks(size: int) -> Iterator[bytes]:
        for begin in range(0, size, 65_536):
            yield b"x" * min(65_536, size - begin)

    def send(size: int) -> int:
        content = b"x" * size if declared else chunks(size)
        return client.post(path, content=content, headers=headers).status_code

    assert (send(limit), send(limit + 1)) == (200, 413)


@pytest.mark.parametrize("length", ["-1", "1e3", "ten", ""])
def test_a_length_that_is_no_number_is_refused(client: Client, length: str) -> None:
    answer = client.post("/send", content=b"x", headers={"content-length": length})
    assert answer.status_code == 413 and answer.headers["connection"] == "close"
