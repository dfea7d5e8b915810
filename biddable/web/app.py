"""An empty site: safe headers, limits on request bodies, static files, templates, and errors in plain words.

A site is `create_app(...)` with routers made by `forms.guarded_router()`, which refuse a form without its
token. The type of a parameter says who may come, and what an endpoint needs:

    router = guarded_router()

    @router.get("/hello")
    def hello(request: Request, me: Member) -> Response:      # Admin: admins only; Visit: anybody
        return render(request, "hello.html", name=me.login)

    @router.post("/hello")
    def greet(request: Request, me: Member, form: Form) -> Response:
        ...
        return redirect("/hello")

`Member`, `Admin` and `Visit` are in `sessions.py`, `Form` in `forms.py`, `render` and `redirect` in
`pages.py`. No page has inline scripts or styles: the Content-Security-Policy forbids them. Scripts are ES
modules in the site's `static/`, and forms work without them. Every form holds `{{ token() }}`.
"""

from __future__ import annotations

from pathlib import Path

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse
from starlette.staticfiles import StaticFiles

from biddable.run.config import UserError
from biddable.store.accounts import Accounts
from biddable.web import errors, pages
from biddable.web.forms import MAX_BODY_BYTES
from biddable.web.gate import Gate
from biddable.web.middleware import BodyLimit, HeadRequests, SecurityHeaders

HERE = Path(__file__).parent


def create_app(
    title: str,
    folder: Path,
    accounts: Accounts,
    address: str | None = None,
    hosts: frozenset[str] | None = None,
    body_limits: dict[str, int] | None = None,
) -> FastAPI:
    """A site without routes. `folder` holds its `templates/` and `static/`; those beside this file are shared
    by all sites.

    `address`: how browsers reach the site; with https its cookies insist on it. `hosts`: the names by which it
    may be asked (`Gate`). `body_limits` maps prefixes of paths to the largest request body in bytes, where it
    is not MAX_BODY_BYTES.
    """
    https = address is not None and address.startswith("https:")
    site = FastAPI(
        title=title, docs_url=None, redoc_url=None, openapi_url=None, default_response_class=HTMLResponse
    )
    site.state.title = title
    site.state.accounts = accounts
    site.state.https = https
    site.state.second_factor = "optional"  # or of whom it is asked: "admins", "everybody"
    site.state.secret = accounts.cookie_secret()
    site.state.templates = pages.load_templates(folder)
    for name, files in (("static", folder / "static"), ("web", HERE / "static")):
        # no other address: browsers keep what they get for a year, and run a module once for each address
        site.mount(f"/{name}/{pages.static_version(files)}", StaticFiles(directory=files), name=name)
    for kind in (HTTPException, RequestValidationError, UserError):
        site.add_exception_handler(kind, errors.handle_error)
    site.add_middleware(BodyLimit, max_bytes=MAX_BODY_BYTES, path_limits=body_limits or {})
    site.add_middleware(HeadRequests)
    site.add_middleware(Gate, refuse=errors.handle_error, address=address, hosts=hosts)
    site.add_middleware(SecurityHeaders, https=https)  # added last, so outermost: also around what is refused
    return site
