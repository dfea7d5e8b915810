"""Connections with timeouts: nobody holds one by being slow, whether on purpose or because the network is
gone.

uvicorn by itself waits forever for the rest of a request, and for a client that has stopped reading.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from uvicorn.protocols.http.h11_impl import H11Protocol

TIMEOUT_SECONDS = 40.0
"""How long a request may take to arrive in full."""
MIN_BYTES_READ = 16_384
"""How many of the bytes waiting for it a client must take in that time."""
REQUEST_TIMEOUT = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


class Connection(H11Protocol):
    """uvicorn's connection with one timer, for whatever the client has to do next: send the rest of its
    request, or read.

    For `uvicorn.Config(http=Connection)`. The timer starts when the connection opens, stops while we compute
    a response, and starts again when uvicorn's write buffer is full or the connection is to close.
    """

    _timer: asyncio.TimerHandle | None = None

    def _start_timer(self, on_timeout: Callable[[], None]) -> None:
        self._stop_timer()
        self._timer = self.loop.call_later(TIMEOUT_SECONDS, on_timeout)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._start_timer(self._request_timed_out)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        super().connection_lost(exc)

    def handle_events(self) -> None:
        super().handle_events()
        if self.transport.is_closing():
            return
        computing = self.cycle is not None and not self.cycle.response_complete and not self.cycle.more_body
        if computing:  # the request is here in full: now the client waits for us
            self._stop_timer()
        elif self._timer is None:
            self._start_timer(self._request_timed_out)

    def _request_timed_out(self) -> None:
        """The request did not arrive in full. Without a response under way the client hears why."""
        if self.cycle is None or self.cycle.response_complete or not self.cycle.response_started:
            self.transport.write(REQUEST_TIMEOUT)
        self._close()

    def _close(self) -> None:
        self.transport.close()  # what is written still goes out first
        self._watch_reader()

    def _watch_reader(self) -> None:
        """Abort the connection unless the client keeps reading what is written."""
        unread = self.transport.get_write_buffer_size()

        def check() -> None:
            if self.transport.get_write_buffer_size() > unread - MIN_BYTES_READ:
                self.transport.abort()
            else:
                self._watch_reader()

        self._start_timer(check)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.transport.is_closing():
            self._close()

    def timeout_keep_alive_handler(self) -> None:
        super().timeout_keep_alive_handler()
        self._close()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._watch_reader()

    def resume_writing(self) -> None:
        super().resume_writing()
        if not self.transport.is_closing():
            self._stop_timer()
