"""Connections of the sites: nobody holds one by being slow, whether on purpose or because the network is gone.

uvicorn alone waits for ever for the rest of a request, and for a reader that stopped reading.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from uvicorn.protocols.http.h11_impl import H11Protocol

SECONDS = 40.0
"""So long may a request take to arrive as a whole."""
LEAST = 16_384
"""So many bytes of what lies ready a client has to take in that time."""
LATE = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


class Connection(H11Protocol):
    """uvicorn's connection with one timer, for whatever the client has to do next. For `uvicorn.Config(http=Connection)`."""

    _timer: asyncio.TimerHandle | None = None

    def _expect(self, otherwise: Callable[[], None]) -> None:
        self._arrived()
        self._timer = self.loop.call_later(SECONDS, otherwise)

    def _arrived(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._expect(self._late)

    def connection_lost(self, exc: Exception | None) -> None:
        self._arrived()
        super().connection_lost(exc)

    def handle_events(self) -> None:
        super().handle_events()
        if self.transport.is_closing():
            return
        if self.cycle is not None and not self.cycle.response_complete and not self.cycle.more_body:
            self._arrived()
        elif self._timer is None:
            self._expect(self._late)

    def _late(self) -> None:
        """A request that began has not come to its end."""
        if self.cycle is None or self.cycle.response_complete or not self.cycle.response_started:
            self.transport.write(LATE)
        self._close()

    def _close(self) -> None:
        self.transport.close()  # what is written still goes out
        self._watch()

    def _watch(self) -> None:
        """Abort unless the client takes what is written, or at least some of it."""
        left = self.transport.get_write_buffer_size()

        def look() -> None:
            if self.transport.get_write_buffer_size() > left - LEAST:
                self.transport.abort()
            else:
                self._watch()

        self._expect(look)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.transport.is_closing():
            self._close()

    def timeout_keep_alive_handler(self) -> None:
        super().timeout_keep_alive_handler()
        self._close()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._watch()

    def resume_writing(self) -> None:
        super().resume_writing()
        if not self.transport.is_closing():
            self._arrived()
