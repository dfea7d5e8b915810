"""Guidelines: labelers read the one in force; admins put a new version in force. Earlier versions stay, as the labels made under them say."""

from __future__ import annotations

from fastapi import Request
from starlette.responses import Response

from biddable.base import desk, web
from biddable.base.config import Refusal
from biddable.label import form, rendering, tasks, work

pages = web.router()


@pages.get("/guideline")
def guideline(request: Request, known: web.Known, me: web.Member) -> Response:
    version, text = tasks.guideline(known.store, me.person.panel)
    return web.page(request, "guideline.html", version=version, guideline=rendering.rich(text, breaks=False))


@pages.get("/admin/guidelines")
def guidelines(request: Request, known: web.Known, me: web.Admin) -> Response:
    panels: tuple[work.Panel, ...] = ("training", "held_out")
    inforce = [(work.GUIDELINES[panel], *tasks.guideline(known.store, panel)) for panel in panels]
    flagged = [(one, rendering.line(one.reason)) for one in desk.skipped(known.store)]
    return web.page(
        request, "guidelines.html", inforce=inforce, history=desk.history(known.store), flagged=flagged
    )


@pages.post("/admin/guidelines")
def publish(known: web.Known, me: web.Admin, sent: web.Form) -> Response:
    name, text = str(sent.get("name", "")), form.one({"text": [str(sent.get("text", ""))]}, "text")
    if name not in work.GUIDELINES.values() or text is None:
        raise Refusal("a guideline's name (training or evaluation) and its text were expected")
    version = desk.publish(known.store, name, text.strip() + "\n", me.id)
    known.note(me.id, "guideline in force", version)
    return web.go("/admin/guidelines")
