"""Settings that every site has, and how uvicorn serves it by them."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from biddable.run.config import Settings


class SiteSettings(Settings):
    """Base of a site's `Config`: its title, its address, its store."""

    title: str = Field(default="biddable", min_length=1)
    """What the site calls itself."""
    host: str = "127.0.0.1"
    """The network interface it listens on: 127.0.0.1 is reached from this machine only; 0.0.0.0 from
    everywhere."""
    port: int = Field(default=8000, ge=1, le=65535)
    """The port it listens on."""
    address: str | None = None
    """How browsers reach it, e.g. "https://label.example.org"; none: by host and port. With https a proxy in
    front does the encryption: cookies are then sent over https only, and the client's address is taken from
    the proxy's X-Forwarded-For. Requests for another host are refused, so the proxy passes the Host header
    on."""
    proxies: str = "127.0.0.1"
    """Addresses of the proxies that are trusted to name a client's address, separated by commas."""
    store: str | None = None
    """The store's path or SQLAlchemy URL, whose password is written nowhere; none: store.db in the run's
    folder."""

    @field_validator("address")
    @classmethod
    def _check_address(cls, address: str | None) -> str | None:
        if address is None:
            return None
        if not is_http_url(address):
            raise ValueError("must be an address such as https://label.example.org")
        return address.rstrip("/")

    @property
    def hosts(self) -> frozenset[str] | None:
        """The names that a request may be for; none: any, as people may have any name for this machine."""
        return None if self.address is None else frozenset({urlsplit(self.address).hostname or ""})

    def store_address(self, run: Path) -> str:
        """Path or URL of the store, for the run in this folder."""
        return self.store or str(run / "store.db")

    def uvicorn_settings(self) -> dict[str, Any]:
        """Keyword arguments of `uvicorn.Config` that follow from these settings."""
        from biddable.web.timeouts import Connection  # here: only a site that is about to serve needs uvicorn

        return {
            "host": self.host,
            "port": self.port,
            "http": Connection,  # cuts off slow clients
            "ws": "none",
            "log_level": "warning",
            "log_config": None,  # its lines go where ours go, see start_log
            "server_header": False,
            # Without an address of its own there is no proxy: anybody could then invent an X-Forwarded-For.
            "proxy_headers": self.address is not None,
            "forwarded_allow_ips": self.proxies,
        }


def is_http_url(text: str) -> bool:
    """Whether a text is an http or https URL with a host."""
    url = urlsplit(text)
    return url.scheme in ("http", "https") and bool(url.hostname)
