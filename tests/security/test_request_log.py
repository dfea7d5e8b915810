"""A path of a request writes one line into the API's log, whatever it holds."""

from __future__ import annotations

import asyncio
import logging

import pytest
from starlette.types import Message

from biddable.serve.openai.http import RequestLogMiddleware


def test_a_path_writes_one_line_into_the_servers_log(caplog: pytest.LogCaptureFixture) -> None:
    async def fails(*_: object) -> None:
        raise RuntimeError("fails")

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        return None

    path = "/v1/a\r\nERROR all is lost\x1b[2J\u2028b"
    scope = {"type": "http", "method": "GET", "path": path, "headers": [], "query_string": b""}
    caplog.set_level(logging.INFO)
    asyncio.run(RequestLogMiddleware(fails, lambda path, status: None)(scope, receive, send))
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 2  # the failure, and the request
    for line in lines:
        assert "/v1/a\\r\\nERROR all is lost\\x1b[2J\\u2028b" in line
        assert line.isprintable()
