"""Slow clients on real sockets: they are cut off, others are not."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from biddable.web import timeouts

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
LARGE = 30_000_000


async def hello(request: Request) -> Response:
    await request.body()
    return PlainTextResponse("hello")


async def large(request: Request) -> Response:
    return PlainTextResponse("x" * LARGE)


@asynccontextmanager
async def connected(port: int) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield reader, writer
    finally:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


def served(client: Callable[[int, uvicorn.Server], Awaitable[None]]) -> None:
    """Run a client (of a port) beside a server."""

    async def both() -> None:
        app = Starlette(routes=[Route("/", hello, methods=["GET", "POST"]), Route("/large", large)])
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            settings = uvicorn.Config(
                app, http=timeouts.Connection, ws="none", log_level="error", lifespan="off"
            )
            server = uvicorn.Server(settings)
            running = asyncio.create_task(server.serve([listener]))
            while not server.started:
                await asyncio.sleep(0.01)
            try:
                async with asyncio.timeout(60):
                    await client(listener.getsockname()[1], server)
            finally:
                server.should_exit = True
                await running

    asyncio.run(both())


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timeouts, "TIMEOUT_SECONDS", 0.6)


@pytest.mark.parametrize(
    "begin",
    [
        b"",
        b"GET / HTTP/1.1\r\nHost: x\r\nX-A: ",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n",
    ],
)
@pytest.mark.parametrize("goes_on", [False, True])
def test_a_request_that_does_not_come_to_its_end_is_cut_off(begin: bytes, goes_on: bool) -> None:
    async def client(port: int, server: uvicorn.Server) -> None:
        for before in (b"", GET):  # on a fresh connection, and after a request that was answered
            async with connected(port) as (reader, writer):
                if before:
                    writer.write(before)
                    assert b"200 OK" in await reader.readuntil(b"hello")
                writer.write(begin)
                told = b""
                with suppress(ConnectionError):
                    while not reader.at_eof():
                        if goes_on and begin:
                            writer.write(b"a")  # a byte at a time does not help
                        with suppress(TimeoutError):
                            told += await asyncio.wait_for(reader.read(1000), 0.05)
                if begin:
                    assert told.startswith(b"HTTP/1.1 408 ")
        while server.server_state.connections:
            await asyncio.sleep(0.01)

    served(client)


def test_who_stops_reading_is_cut_off_and_who_reads_slowly_is_not() -> None:
    async def client(port: int, server: uvicorn.Server) -> None:
        async with connected(port) as (reader, writer):
            writer.write(GET.replace(b"/ ", b"/large ", 1))
            await reader.read(10)
            assert len(server.server_state.connections) == 1
            while server.server_state.connections:
                await asyncio.sleep(0.01)
        async with connected(port) as (reader, writer):
            writer.write(GET.replace(b"/ ", b"/large ", 1).replace(b"Host", b"Connection: close\r\nHost"))
            read, until = 0, time.monotonic() + 2.0  # several times longer than allowed without reading
            while part := await reader.read(LARGE // 40):
                read += len(part)
                await asyncio.sleep(0.05 if time.monotonic() < until else 0)
            assert read > LARGE

    served(client)


def test_requests_in_time_are_answered_one_after_another() -> None:
    async def client(port: int, server: uvicorn.Server) -> None:
        async with connected(port) as (reader, writer):
            for _ in range(4):
                for part in (GET[:9], GET[9:]):
                    writer.write(part)
                    await asyncio.sleep(0.2)
                assert b"200 OK" in await reader.readuntil(b"hello")
            writer.write(GET + GET)  # both at once
            for _ in range(2):
                assert b"200 OK" in await reader.readuntil(b"hello")

    served(client)
