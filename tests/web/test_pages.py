"""Templates, addresses of static files, and errors in plain words."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from biddable import web

from .conftest import Client

JSON = {"accept": "application/json"}


def test_values_are_escaped_and_static_addresses_hold_the_hash(client: Client) -> None:
    static = Path(str(web.__file__)).parent / "static"
    base = (static / "base.css").read_bytes()
    own = hashlib.sha256(b"own.js 6\nlet x;").hexdigest()[:12]
    files = [(name, (static / name).read_bytes()) for name in ("base.css", "times.js")]
    text = b"".join(b"%s %d\n" % (name.encode(), len(content)) + content for name, content in files)
    shared = hashlib.sha256(text).hexdigest()[:12]
    assert client.get("/page").text == (
        f'&lt;b&gt;&amp;|<time datetime="1970-01-02T00:00:00Z">1970-01-02 00:00 UTC</time>|'
        f"/static/{own}/own.js|/web/{shared}/base.css"
    )
    assert client.get(f"/web/{shared}/base.css").content == base


def test_an_unknown_name_in_a_template_is_a_bug_and_not_an_empty_place(client: Client) -> None:
    assert client.get("/unknown").status_code == 500


@pytest.mark.parametrize(
    ("kind", "status", "lines"),
    [
        ("user", 400, ["first line", "second line"]),
        ("attempts", 429, ["wait"]),
        ("sentence", 404, ["This is gone."]),
        ("phrase", 404, ["There is no such page, or it is not yours to see."]),
        ("bug", 500, ["Something went wrong on our side. What you sent before is kept. Please try again."]),
    ],
)
def test_errors_are_pages_for_people_and_json_for_scripts(
    client: Client, kind: str, status: int, lines: list[str]
) -> None:
    page, data = client.get(f"/refuse/{kind}"), client.get(f"/refuse/{kind}", headers=JSON)
    assert page.status_code == data.status_code == status
    assert all(f"<p>{line}</p>" in page.text for line in lines) and "secret detail" not in page.text
    assert data.json() == {"error": lines}


def test_a_redirect_that_is_raised_is_one(client: Client) -> None:
    answer = client.get("/refuse/elsewhere")
    assert (answer.status_code, answer.headers["location"], answer.content) == (303, "/page", b"")


def test_a_value_of_the_wrong_type_is_told_in_plain_words(client: Client) -> None:
    assert client.get("/number/41").text == "42"
    answer = client.get("/number/many", headers=JSON)
    assert (answer.status_code, answer.json()) == (
        422,
        {"error": ["The page sent something that cannot be understood."]},
    )
