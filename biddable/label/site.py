"""The labeling site: people log in, get tasks from the queue, and answer them; admins invite people and look after the work.

How a page is added: a file in `views/` holds `router = guarded_router()` (for admins' pages `guarded_router(prefix="/admin")`) with its
endpoints, whose parameters say who may come (`me: Member`, `me: Admin`) and what they need (`accounts: SiteAccounts`, `form: Form`). It is
named in `ROUTERS` below. Its template is in `views/templates/`, begins with `{% extends "site.html" %}`, and gets a link in `site.html`.
Forms hold `{{ token() }}` and work without scripts. See `web/app.py`.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from urllib.parse import urlsplit

from fastapi import FastAPI
from pydantic import Field, field_validator
from starlette.middleware.trustedhost import TrustedHostMiddleware

from biddable.label.views import accounts as admin
from biddable.label.views import adjudication, guidelines, login, quality, tasks
from biddable.run.config import Settings, UserError
from biddable.run.context import StageContext
from biddable.store.accounts import Accounts
from biddable.store.store import open_store
from biddable.web.app import create_app

ROUTERS = (login.router, tasks.router, admin.router, guidelines.router, quality.router, adjudication.router)


class Config(Settings):
    title: str = Field(default="biddable", min_length=1)
    """What the site calls itself."""
    host: str = "127.0.0.1"
    """Where it listens: 127.0.0.1 is reached from this machine only; 0.0.0.0 from everywhere."""
    port: int = Field(default=8100, ge=1, le=65535)
    """The port it listens on."""
    address: str | None = None
    """How browsers reach it, e.g. "https://label.example.org"; none: by host and port. With https a proxy in front does the encryption:
    cookies are then sent over https only, and the client's address is taken from the proxy's X-Forwarded-For."""
    proxies: str = "127.0.0.1"
    """Addresses of the proxies that are believed, with commas between."""
    processes: int = Field(default=1, ge=1)
    """Web processes. More than one pays off on PostgreSQL."""
    lease_minutes: float = Field(default=30.0, gt=0)
    """How long somebody may hold a task without touching it; then it goes to the next."""
    store: str | None = None
    """The store's path or SQLAlchemy URL; none: store.db in the run's folder."""

    @field_validator("address")
    @classmethod
    def _is_an_address(cls, value: str | None) -> str | None:
        if value is not None and (
            urlsplit(value).scheme not in ("http", "https") or not urlsplit(value).hostname
        ):
            raise ValueError("an address such as https://label.example.org was expected")
        return value.rstrip("/") if value else value


def application(cfg: Config, where: str | Path) -> FastAPI:
    """The site on the store at `where`, to be served by uvicorn or by a test."""
    https = (cfg.address or "").startswith("https:")
    accounts = Accounts(open_store(where))
    site = create_app(cfg.title, Path(__file__).with_name("views"), accounts, https)
    site.state.address, site.state.lease_seconds = cfg.address, 60 * cfg.lease_minutes
    for router in ROUTERS:
        site.include_router(router)
    if cfg.address:
        site.add_middleware(TrustedHostMiddleware, allowed_hosts=[urlsplit(cfg.address).hostname or ""])
    return site


def serve(cfg: Config, context: StageContext) -> None:
    """Serve until stopped. Raises UserError while there is no admin who could log in."""
    import uvicorn

    from biddable.web.timeouts import Connection

    where = cfg.store or str(context.folder.parent / "store.db")
    site = application(cfg, where)
    if not any(one.role == "admin" and one.closed is None for one in site.state.accounts.all()):
        file = next((word for word in sys.argv[1:] if word.endswith(".toml")), "my.toml")
        raise UserError(
            f"{where}: there is no admin yet who could log in; add one, for example ada: biddable label.people {file} ada"
        )
    target: FastAPI | str = site
    if cfg.processes > 1:
        site.state.accounts.store.close()
        os.environ[HANDED] = json.dumps([cfg.model_dump(), where])
        target = f"{__name__}:again"
    uvicorn.run(
        target,
        http=Connection,
        ws="none",
        factory=cfg.processes > 1,
        workers=cfg.processes,
        host=cfg.host,
        port=cfg.port,
        log_level="warning",
        proxy_headers=cfg.address is not None,
        forwarded_allow_ips=cfg.proxies,
        server_header=False,
    )


HANDED = "BIDDABLE_LABEL_SITE"
"""The environment variable in which `serve` hands settings to further web processes."""


def again() -> FastAPI:
    """The same site in a further web process."""
    settings, where = json.loads(os.environ[HANDED])
    return application(Config(**settings), where)
