"""Guidelines: labelers read the one in force; admins put a new version in force. Earlier versions stay, as the labels made under them say."""

from __future__ import annotations

from fastapi import Request
from starlette.responses import Response

from biddable.label import collection, form
from biddable.label.views import markup, tasks
from biddable.run.config import UserError
from biddable.store import drafts
from biddable.web import app as web

pages = web.router()


@pages.get("/guideline")
def guideline(request: Request, known: web.Known, me: web.Member) -> Response:
    version, text = tasks.guideline(known.store, me.person.panel)
    return web.page(request, "guideline.html", version=version, guideline=markup.rich(text, breaks=False))


@pages.get("/admin/guidelines")
def guidelines(request: Request, known: web.Known, me: web.Admin) -> Response:
    panels: tuple[collection.Panel, ...] = ("training", "held_out")
    inforce = [(collection.GUIDELINES[panel], *tasks.guideline(known.store, panel)) for panel in panels]
    flagged = [(one, markup.line(one.reason)) for one in drafts.list_skips(known.store)]
    return web.page(
        request,
        "guidelines.html",
        inforce=inforce,
        history=drafts.guideline_history(known.store),
        flagged=flagged,
    )


@pages.post("/admin/guidelines")
def publish(known: web.Known, me: web.Admin, sent: web.Form) -> Response:
    name, text = str(sent.get("name", "")), form.text_field({"text": [str(sent.get("text", ""))]}, "text")
    if name not in collection.GUIDELINES.values() or text is None:
        raise UserError("a guideline's name (training or evaluation) and its text were expected")
    version = drafts.publish_guideline(known.store, name, text.strip() + "\n", me.id)
    known.note(me.id, "guideline in force", version)
    return web.redirect("/admin/guidelines")
