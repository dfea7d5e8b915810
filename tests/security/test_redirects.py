"""A server that a setting names answers with a redirect: the other server is sent neither the key nor a text."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from biddable.label import conversation
from biddable.learn.reward_sources import ask_endpoint
from biddable.learn.reward_terms import Episode, RewardTerm
from biddable.model.packing import Tree
from biddable.run.config import UserError
from biddable.run.records import Message

QUESTION = (Message(role="user", content="a secret question"),)


@pytest.fixture(params=[301, 302, 303, 307, 308])
def redirecting(request: pytest.FixtureRequest) -> Iterator[tuple[str, list[str]]]:
    """The address of a server that sends everybody to another one, and what came there."""
    received: list[str] = []

    class Other(BaseHTTPRequestHandler):
        def handle_one_request(self) -> None:
            received.append(self.rfile.readline().decode())
            self.close_connection = True

    class First(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            self.send_response(request.param)
            self.send_header("location", f"http://127.0.0.1:{servers[0].server_port}/")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    servers = [HTTPServer(("127.0.0.1", 0), handler) for handler in (Other, First)]
    threads = [threading.Thread(target=s.serve_forever, kwargs={"poll_interval": 0.01}) for s in servers]
    for thread in threads:
        thread.start()
    yield f"http://127.0.0.1:{servers[1].server_port}/v1/chat/completions", received
    for server, thread in zip(servers, threads, strict=True):
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_probed_model_may_not_send_the_key_elsewhere(
    redirecting: tuple[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    address, received = redirecting
    monkeypatch.setenv(conversation.KEY, "secret-key")
    with pytest.raises(UserError, match=r"its server answered with status 30\d"):
        conversation.ask(address, "m", QUESTION)
    assert received == []


def test_a_reward_endpoint_may_not_send_texts_elsewhere(redirecting: tuple[str, list[str]]) -> None:
    address, received = redirecting
    episode = Episode(QUESTION, Tree((1,), ((2,),)), "a secret answer", "stop")
    with pytest.raises(UserError, match=r"reward endpoint = http://127\.0\.0\.1.*HTTPError"):
        ask_endpoint(RewardTerm(endpoint=address), [episode])
    assert received == []
