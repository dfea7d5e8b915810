"""Pages from templates, and redirects."""

from __future__ import annotations

import hashlib
import time
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
from fastapi import Request
from markupsafe import Markup
from starlette.responses import HTMLResponse, RedirectResponse, Response

from biddable.web.forms import form_token
from biddable.web.sessions import current_visitor, set_session_cookie

HERE = Path(__file__).parent


def render(request: Request, template: str, status: int = 200, /, **context: Any) -> Response:
    """A page. Besides `context`, templates know `me` (the account or none), `site`, `path`, `theme`, `keys`
    (whether single keys do something), `form_token`, `token()` (the hidden field of a form) and
    `static(FILE)`."""
    visitor = current_visitor(request)
    token = form_token(request, visitor)
    field = Markup('<input type="hidden" name="token" value="{}">').format(token)
    theme = request.cookies.get("theme")
    shared = {
        "me": visitor.account,
        "site": request.app.state.title,
        "path": request.url.path,
        "theme": theme if theme in ("light", "dark") else "",
        "keys": request.cookies.get("keys") != "off",
        "form_token": token,
        "token": lambda: field,
    }
    text = request.app.state.templates.get_template(template).render(shared | context)
    response = HTMLResponse(text, status)
    if visitor.is_new:
        set_session_cookie(request, response, visitor.token, None)
    return response


def redirect(path: str) -> Response:
    """Send the browser to another page of this site, by GET."""
    return RedirectResponse(path, 303)


def static_version(folder: Path) -> str:
    """A hash of all files of a folder, which stands in their addresses as a folder of its own.

    One hash for all, and not one behind each name: a module that imports `./other.js` thereby asks for the
    address that a page gives to `other.js`. Under two addresses a browser would run it twice.
    """
    checksum = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        content = path.read_bytes()
        checksum.update(f"{path.relative_to(folder).as_posix()} {len(content)}\n".encode())
        checksum.update(content)
    return checksum.hexdigest()[:12]


def load_templates(folder: Path) -> jinja2.Environment:
    """The templates of `folder` and those that all sites share. An unknown name in a template is an error,
    every value is escaped."""
    templates = jinja2.Environment(
        loader=jinja2.FileSystemLoader([folder / "templates", HERE / "templates"]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,  # a template does not change while the site runs: each is compiled once
    )

    @cache
    def static(name: str) -> str:
        """A static file's address. It holds a hash, so browsers may cache the file for a year."""
        is_own = (folder / "static" / name).is_file()
        mount, root = ("/static", folder) if is_own else ("/web", HERE)
        if not (root / "static" / name).is_file():
            raise FileNotFoundError(root / "static" / name)
        return f"{mount}/{static_version(root / 'static')}/{name}"

    templates.globals["static"] = static
    templates.filters["moment"] = _moment
    templates.filters["date"] = lambda at: time.strftime("%Y-%m-%d", time.gmtime(at))
    return templates


def _moment(at: float) -> Markup:
    """A time in UTC, which `times.js` shows as the browser's own local time."""
    utc = time.gmtime(at)
    machine, text = time.strftime("%Y-%m-%dT%H:%M:%SZ", utc), time.strftime("%Y-%m-%d %H:%M UTC", utc)
    return Markup('<time datetime="{}">{}</time>').format(machine, text)
