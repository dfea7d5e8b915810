"""Forged requests are refused: each case differs from the good one by one thing."""

from __future__ import annotations

import re

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from .conftest import Client


def test_a_form_with_its_token_is_accepted(client: Client) -> None:
    token = client.form_token
    assert client.post("/send", data={"token": token, "text": "hello"}).text == "hello"
    by_script = client.post("/send", data={"text": "hello"}, headers={"x-form-token": token})
    assert by_script.text == "hello"
    for origin in ("same-origin", "none"):
        answer = client.post("/send", data={"token": token}, headers={"sec-fetch-site": origin})
        assert answer.status_code == 200


def test_a_form_without_its_token_is_refused(site: FastAPI, client: Client) -> None:
    token = client.form_token
    for wrong_token in (
        "",
        "0" * 64,
        token[:-1],
        token + "0",
        token.upper(),
        "é",
        Client(site, "ada").form_token,
    ):
        assert client.post("/send", data={"token": wrong_token}).status_code == 403, wrong_token
        headers = {"x-form-token": wrong_token.encode()}
        assert client.post("/send", data={}, headers=headers).status_code == 403, wrong_token
    assert client.post("/send", data={}).status_code == 403


@pytest.mark.parametrize("origin", ["cross-site", "same-site"])
def test_a_form_that_comes_from_another_site_is_refused_even_with_its_token(
    client: Client, origin: str
) -> None:
    answer = client.post("/send", data={"token": client.form_token}, headers={"sec-fetch-site": origin})
    assert answer.status_code == 403 and "came from another site" in answer.text


def test_a_browser_without_cookie_is_refused_and_the_pages_token_is_good(
    site: FastAPI, client: Client
) -> None:
    browser = TestClient(site)
    assert browser.post("/send", data={"token": client.form_token}).status_code == 403
    page = browser.get("/refuse/phrase").text  # the error page has the shared head, and with it the token
    found = re.search(r'name="form-token" content="(\w+)"', page)
    assert found and browser.post("/send", data={"token": found[1], "text": "x"}).text == "x"


def test_reading_needs_no_token(client: Client) -> None:
    for method in ("GET", "HEAD"):
        assert client.request(method, "/page").status_code in (200, 405)
