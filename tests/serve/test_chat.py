"""The chat page without a browser: who may use it, what is kept and when, and that nobody can speak about
another's answers."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from biddable.run import turn_log

ASK = {"messages": [{"role": "user", "content": "Name a fruit."}]}


class Guest:
    """A browser without script that calls what the page's script would call."""

    def __init__(self, served: Any, key: str = "") -> None:
        self.served = served
        self.http = httpx2.Client(base_url=served.url, follow_redirects=True, timeout=60)
        self.load()
        if key:
            self.http.post("/enter", data={"key": key, "token": self.token})
            self.load()

    def load(self) -> None:
        self.page = self.http.get("/").text
        found = re.search(r'name="form-token" content="(\w+)"', self.page)
        assert found
        self.token = found[1]

    def post(self, path: str, data: Any) -> httpx2.Response:
        return self.http.post(
            path, json=data, headers={"x-form-token": self.token, "accept": "application/json"}
        )

    def answer(self, **more: Any) -> list[dict[str, Any]]:
        told = self.post("/chat/answer", {**ASK, **more})
        assert told.status_code == 200, told.text
        return [json.loads(line[6:]) for line in told.text.splitlines() if line.startswith("data: ")]

    def turns(self, **more: Any) -> list[Any]:
        return [event["turn"] for event in self.answer(**more) if "finish" in event]

    def agree(self, given: bool = True) -> httpx2.Response:
        version = re.search(r'data-version="([\w-]+)"', self.page)
        assert version
        return self.post("/chat/consent", {"given": given, "version": version[1]})

    def close(self) -> None:
        self.http.close()


@pytest.fixture
def come() -> Iterator[Callable[..., Guest]]:
    """come(served, key) -> a guest; all have gone in the end."""
    guests: list[Guest] = []

    def enter(served: Any, key: str = "") -> Guest:
        guests.append(Guest(served, key))
        return guests[-1]

    yield enter
    for guest in guests:
        guest.close()


@pytest.fixture(scope="module")
def open_(start: Callable[..., Any]) -> Any:
    return start(access="open", max_tokens=10, requests_per_minute=100_000)


@pytest.fixture(scope="module")
def pair(start: Callable[..., Any], tiny_stages: Path) -> Any:
    policies = (tiny_stages / "learn.ppo", tiny_stages / "learn.start")
    return start(
        access="open", max_tokens=10, policies=policies, side_by_side=1.0, requests_per_minute=100_000
    )


def kept(served: Any) -> tuple[list[Any], list[Any]]:
    return turn_log.read(served.run / "turns")


def test_nothing_is_kept_before_somebody_agrees_and_after_they_took_it_back(
    come: Callable[..., Guest], open_: Any
) -> None:
    guest, before = come(open_), len(kept(open_)[0])
    assert "May we keep what you write here?" in guest.page
    assert guest.turns() == [None]
    assert guest.agree(False).json() == {"given": False}
    assert guest.turns() == [None] and len(kept(open_)[0]) == before
    guest.agree()
    (handle,) = guest.turns()
    assert handle and len(kept(open_)[0]) == before + 1
    guest.agree(False)
    assert guest.turns() == [None] and len(kept(open_)[0]) == before + 1


def test_a_turn_holds_what_was_said_by_whom_and_how(come: Callable[..., Guest], open_: Any) -> None:
    guest = come(open_)
    guest.agree()
    events = guest.answer(
        messages=[
            *ASK["messages"],
            {"role": "assistant", "content": "Apple"},
            {"role": "user", "content": "More"},
        ]
    )
    turn = kept(open_)[0][-1]
    assert turn.answer.text == "".join(event.get("text", "") for event in events)
    assert [message.content for message in turn.messages] == ["Name a fruit.", "Apple", "More"]
    assert (
        turn.conversation == events[0]["conversation"]
        and turn.via == "chat"
        and turn.sampling.max_tokens == 10
    )
    assert turn.answer.model == "learn.ppo" and turn.user.startswith("user-")


def test_opinions_and_preferences_are_feedback_on_ones_own_turns(
    come: Callable[..., Guest], open_: Any
) -> None:
    guest, other = come(open_), come(open_)
    guest.agree(), other.agree()
    first, second = guest.turns() + guest.turns(again=True)
    assert guest.post("/chat/feedback", {"turn": first, "thumbs": "down"}).status_code == 200
    assert guest.post("/chat/feedback", {"turn": first, "reasons": ["wrong", "rude"]}).status_code == 200
    assert guest.post("/chat/feedback", {"turn": first, "report": "It insults me."}).status_code == 200
    assert guest.post("/chat/prefer", {"turns": [first, second], "better": 1}).status_code == 200
    assert guest.post("/chat/prefer", {"turns": [first, second]}).status_code == 200
    said = kept(open_)[1][-5:]
    ids = [turn.id for turn in kept(open_)[0][-2:]]
    assert [one.thumbs for one in said[:1]] == ["down"] and said[1].reasons == ("wrong", "rude")
    assert said[2].report == "It insults me."
    assert (said[3].turn, said[3].preferred_over) == (ids[1], (ids[0],))
    assert (said[4].turn, said[4].same_as) == (ids[0], (ids[1],))
    for path, data in (
        ("/chat/feedback", {"turn": first, "thumbs": "up"}),
        ("/chat/prefer", {"turns": [first, second], "better": 0}),
    ):
        assert other.post(path, data).status_code == 404
    assert guest.post("/chat/feedback", {"turn": "turn-1-0.abc", "thumbs": "up"}).status_code == 404
    assert guest.post("/chat/prefer", {"turns": [first, first], "better": 0}).status_code == 400
    assert len(kept(open_)[1]) == len(kept(open_)[1])


def test_delete_my_data_takes_out_mine_alone(come: Callable[..., Guest], open_: Any) -> None:
    guest, other = come(open_), come(open_)
    guest.agree(), other.agree()
    mine, theirs = guest.turns(), other.turns()
    guest.post("/chat/feedback", {"turn": mine[0], "thumbs": "up"})
    before = len(kept(open_)[0])
    assert guest.post("/chat/forget", {}).json() == {"turns": 1, "feedback": 1}
    left = [turn.id for turn in kept(open_)[0]]
    assert len(left) == before - 1 and theirs[0].rpartition(".")[0] in left
    assert guest.turns() == [None]


def test_two_policies_side_by_side_are_blind_and_in_any_order(come: Callable[..., Guest], pair: Any) -> None:
    guest = come(pair)
    guest.agree()
    orders = set()
    for _ in range(12):
        events = guest.answer()
        assert events[0]["answers"] == 2 and "learn." not in json.dumps(events)
        ids = {event["answer"]: event["turn"].rpartition(".")[0] for event in events if "finish" in event}
        models = {turn.id: turn.answer.model for turn in kept(pair)[0]}
        orders.add(models[ids[0]])
        assert {models[ids[0]], models[ids[1]]} == {"learn.ppo", "learn.start"}
    assert orders == {"learn.ppo", "learn.start"}
    assert guest.answer(again=True)[0]["answers"] == 1


def test_the_same_model_stands_on_the_same_trunk(pair: Any) -> None:
    batches = pair.models["learn.ppo"].engine.batches
    assert batches["learn.ppo"].policy.trunk is batches["learn.start"].policy.trunk


def test_a_key_is_asked_for_and_works_until_it_is_closed(
    come: Callable[..., Guest], start: Callable[..., Any]
) -> None:
    served = start(max_tokens=5)
    stranger = come(served)
    assert "Your key" in stranger.page and stranger.post("/chat/answer", ASK).status_code == 401
    assert (
        "not known" in stranger.http.post("/enter", data={"key": "bid-wrong", "token": stranger.token}).text
    )
    guest = come(served, served.key)
    cookie = next(c for c in guest.http.cookies.jar if c.name == "biddable")
    assert cookie.has_nonstandard_attr("HttpOnly") and served.key not in str(cookie.value)
    guest.agree()
    assert guest.turns()[0] and kept(served)[0][0].user.startswith("key-")
    guest.http.post("/leave", data={"token": guest.token})
    guest.load()
    assert "Your key" in guest.page


def test_an_admin_sees_which_rules_an_answer_came_near_to(
    come: Callable[..., Guest], start: Callable[..., Any], tiny_stages: Path, tmp_path: Path
) -> None:
    """The untrained rule model of a random policy is near one half for every rule, so every answer comes near
    to both; a guest with another key is not told."""
    rules = tmp_path / "rules.toml"
    rules.write_text(
        "".join(f'[[rule]]\nid = "{id}"\ntext = "{id}"\nquestion = "broken?"\n' for id in ("salt", "fox"))
    )
    settings = {"reward": tiny_stages / "learn.reward", "rule_model": tiny_stages / "learn.start"}
    served = start(max_tokens=6, best_of=2, rules=rules, admins=("tests",), **settings)
    from biddable.store.api_keys import Keys
    from biddable.store.store import open_store

    with open_store(served.run / "store.db") as store:
        other_key = Keys(store).add("guest")
    (end,) = [event for event in come(served, served.key).answer() if "finish" in event]
    near = end["near_rules"]
    assert {row["rule"] for row in near} == {"salt", "fox"}
    assert [row["p_break"] for row in near] == sorted((row["p_break"] for row in near), reverse=True)
    assert all("near_rules" not in event for event in come(served, other_key).answer())


def test_forged_and_wrong_requests(come: Callable[..., Guest], open_: Any) -> None:
    guest = come(open_)
    assert guest.http.post("/chat/answer", json=ASK).status_code == 403
    token, guest.token = guest.token, "0" * 64
    assert guest.post("/chat/consent", {"given": True, "version": "x"}).status_code == 403
    guest.token = token
    assert guest.post("/chat/consent", {"given": True, "version": "x"}).status_code == 409
    for data in (
        {},
        {"messages": []},
        {"messages": [{"role": "user", "content": 5}]},
        {**ASK, "conversation": "../x"},
    ):
        told = guest.post("/chat/answer", data)
        assert told.status_code == 400 and told.json()["error"]["message"]
    assert guest.post("/chat/feedback", {"turn": "x", "reasons": ["because"]}).status_code == 400


def test_headers_are_strict(open_: Any) -> None:
    told = httpx2.get(open_.url + "/")
    policy = told.headers["content-security-policy"]
    assert "script-src 'self'" in policy and "unsafe" not in policy and "default-src 'none'" in policy
    assert "<script>" not in told.text and "style=" not in told.text and "onclick" not in told.text


def test_with_keeping_off_nobody_is_asked(come: Callable[..., Guest], start: Callable[..., Any]) -> None:
    served = start(access="open", keep=False, max_tokens=5)
    guest = come(served)
    assert "May we keep" not in guest.page and guest.turns() == [None]
    assert (
        served.post("/v1/chat/completions", {**ASK, "model": "learn.ppo", "store": True}).status_code == 200
    )
    assert not (served.run / "turns").exists()


def test_without_a_page_there_is_the_api_alone(start: Callable[..., Any]) -> None:
    served = start(access="open", page=False)
    assert httpx2.get(served.url + "/").status_code == 404 and served.get("/v1/models").status_code == 200
