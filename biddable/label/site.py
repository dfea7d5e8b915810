"""The labeling site: people log in and answer tasks from the queue; admins invite people and oversee them.

How a page is added: a file in `views/` holds `router = guarded_router()` (for admins' pages
`guarded_router(prefix="/admin")`) with its endpoints, whose parameters say who may come (`me: Member`,
`me: Admin`) and what they need (`accounts: SiteAccounts`, `form: Form`). It is named in `ROUTERS` below. Its
template is in `views/templates/`, begins with `{% extends "site.html" %}`, and gets a link in `site.html`.
Forms hold `{{ token() }}` and work without scripts. See `web/app.py`.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Literal

from fastapi import FastAPI
from pydantic import Field

from biddable.label.views import accounts as admin
from biddable.label.views import (
    adjudication,
    dashboard,
    guidelines,
    home,
    limits,
    login,
    mine,
    profile,
    quality,
    review,
    screening,
    second_factor,
    tasks,
)
from biddable.run.config import UserError
from biddable.run.context import StageContext
from biddable.run.output import start_log
from biddable.run.redaction import redact_url
from biddable.store.accounts import Accounts
from biddable.store.store import open_store
from biddable.web.app import create_app
from biddable.web.settings import SiteSettings

ROUTERS = (
    login.router,
    second_factor.router,
    profile.router,
    home.router,
    tasks.router,
    mine.router,
    admin.router,
    limits.router,
    guidelines.router,
    dashboard.router,
    quality.router,
    review.router,
    screening.router,
    adjudication.router,
)


class Config(SiteSettings):
    port: int = Field(default=8100, ge=1, le=65535)
    """The port it listens on."""
    processes: int = Field(default=1, ge=1)
    """Web processes. More than one pays off on PostgreSQL."""
    second_factor: Literal["optional", "admins", "everybody"] = "optional"
    """Who must log in with a code of an app on the phone (TOTP) besides the password. Anybody may."""
    lease_minutes: float = Field(default=30.0, gt=0)
    """How long somebody may hold a task without touching it; then it goes to the next person."""


def application(cfg: Config, store: str | Path) -> FastAPI:
    """The site on the store at this path or URL, to be served by uvicorn or by a test."""
    accounts = Accounts(open_store(store))
    site = create_app(cfg.title, Path(__file__).with_name("views"), accounts, cfg.address, cfg.hosts)
    site.state.address, site.state.lease_seconds = cfg.address, 60 * cfg.lease_minutes
    site.state.second_factor = cfg.second_factor
    for router in ROUTERS:
        site.include_router(router)
    return site


def serve(cfg: Config, context: StageContext) -> None:
    """Serve until stopped. Raises UserError while there is no admin who could log in."""
    import uvicorn

    store = cfg.store_address(context.folder.parent)
    site = application(cfg, store)
    if not any(account.role == "admin" and account.closed is None for account in site.state.accounts.all()):
        file = next((argument for argument in sys.argv[1:] if argument.endswith(".toml")), "my.toml")
        raise UserError(
            f"{redact_url(store)}: there is no admin yet who could log in; add one, for example ada: biddable "
            f"label.people {file} ada"
        )
    start_log()
    target: FastAPI | str = site
    if cfg.processes > 1:
        # Each process opens the store for itself: a connection must not be shared over a fork.
        site.state.accounts.store.close()
        os.environ[WORKER_SETTINGS] = json.dumps([cfg.model_dump(), store])
        target = f"{__name__}:worker_application"
    uvicorn.run(target, factory=cfg.processes > 1, workers=cfg.processes, **cfg.uvicorn_settings())


WORKER_SETTINGS = "BIDDABLE_LABEL_SITE"
"""The environment variable in which `serve` hands the settings to further web processes."""


def worker_application() -> FastAPI:
    """The same site in a further web process."""
    start_log()
    settings, store = json.loads(os.environ[WORKER_SETTINGS])
    return application(Config(**settings), store)
