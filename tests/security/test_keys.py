"""A server that repeats the key it is sent, in a refusal or in an answer, does not bring it into a log, an error
or a file."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import httpx2
import pytest
from pydantic import ValidationError

from biddable.label import conversation
from biddable.measure.judge.endpoint import Endpoint
from biddable.run.config import UserError
from biddable.run.outgoing import post_json
from biddable.run.records import Message
from biddable.serve.engine import remote

KEY = "sk-Hunter2-and-more"
QUESTION = (Message(role="user", content="Why is the sea salt?"),)


@pytest.fixture
def echo() -> Iterator[str]:
    """A server that answers what it was sent as a header, with the status of the path."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            said = (
                f"Incorrect API key: {self.headers['authorization'].removeprefix('Bearer ')}\r\nERROR \x1b[2J"
            )
            self.send_response(int(self.path.split("/")[1]))
            self.end_headers()
            self.wfile.write(said.encode())

        do_GET = do_POST

        def log_message(self, *_: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("status", [200, 401])
def test_a_probed_model_that_repeats_its_key(
    echo: str, status: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(conversation.KEY, KEY)
    with pytest.raises(UserError) as error:
        conversation.ask(f"http://{echo}/{status}/v1?api_key=Hunter2-three", "m", QUESTION)
    (line,) = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert "Hunter2" not in line + str(error.value)
    assert f"http://{echo}/{status}/v1?api_key=***" in line
    assert "Incorrect API key: ***\\r\\nERROR \\x1b[2J" in line


@pytest.mark.parametrize("port", ["", ":1"])
def test_a_probed_model_whose_address_has_a_password(port: str, caplog: pytest.LogCaptureFixture) -> None:
    """As tasks of earlier versions may have it: by itself urllib takes it for a port, and repeats it."""
    with pytest.raises(UserError) as error:
        conversation.ask(f"http://ada:Hunter2-too@localhost{port}/v1", "m", QUESTION)
    assert "Hunter2" not in caplog.text + str(error.value)
    assert f"http://ada:***@localhost{port}/v1" in caplog.text


def test_the_password_of_an_address_is_sent_as_a_header(echo: str) -> None:
    said = post_json(f"http://ada:Hunter%402@{echo}/200/v1", b"{}", {}, 9.0).decode()
    assert said.startswith("Incorrect API key: Basic YWRhOkh1bnRlckAy\r")  # ada:Hunter@2


def test_a_key_that_no_header_can_hold(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(conversation.KEY, f"{KEY}\n{KEY}")
    with pytest.raises(UserError) as error:
        conversation.ask("http://127.0.0.1:1/v1", "m", QUESTION)
    assert "BIDDABLE_PROBE_KEY" in caplog.text
    assert KEY not in caplog.text + str(error.value)


@pytest.mark.parametrize("address", ["https://ada:Hunter2@a.example/v1", "https://a.example/v1?key=Hunter2"])
def test_an_endpoint_that_is_stored_with_tasks_has_no_password(address: str) -> None:
    with pytest.raises(ValidationError, match="BIDDABLE_PROBE_KEY"):
        conversation.EndpointSettings(endpoint=address)
    assert conversation.EndpointSettings(endpoint="https://a.example/v1?version=2")


@pytest.mark.parametrize("status", [200, 401])
def test_a_judge_that_repeats_its_key(echo: str, status: int) -> None:
    address = f"http://{echo}/{status}"
    with Endpoint(address, KEY, 9.0, 0) as endpoint, pytest.raises(UserError) as error:
        endpoint.answer("m", [], 0.0, 8)
    assert KEY not in str(error.value)
    assert "Incorrect API key: ***" in str(error.value)


def test_an_engine_that_repeats_its_key() -> None:
    request = httpx2.Request("POST", "http://127.0.0.1/v1", headers={"authorization": f"Bearer {KEY}"})
    for body in ({"error": {"message": f"no {KEY}"}}, f"no {KEY}", {"detail": f"no {KEY}"}, {"x": KEY}):
        message, _, _ = remote._error_fields(body, httpx2.Response(401, request=request))
        assert KEY not in message
        assert "***" in message


def test_an_engine_that_is_not_there_is_named_without_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="does not list models") as error:
        remote.names("http://ada:Hunter2@127.0.0.1:1/v1", KEY)
    assert "Hunter2" not in str(error.value)
    assert "http://ada:***@127.0.0.1:1/v1" in str(error.value)
