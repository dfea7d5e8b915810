"""Guidelines: labelers read the one in force; admins put a new version in force. Earlier versions stay, as the labels made under them say."""

from __future__ import annotations

from fastapi import Request
from starlette.responses import Response

from biddable.label import collection, form
from biddable.label.views import markup, tasks
from biddable.run.config import UserError
from biddable.store import audit, drafts
from biddable.store import guidelines as store_guidelines
from biddable.web.forms import Form, guarded_router
from biddable.web.pages import redirect, render
from biddable.web.sessions import Admin, Member, SiteAccounts

router = guarded_router()


@router.get("/guideline")
def guideline(request: Request, accounts: SiteAccounts, me: Member) -> Response:
    version, text = tasks.current_guideline(accounts.store, me.person.panel)
    return render(request, "guideline.html", version=version, guideline=markup.rich(text, breaks=False))


@router.get("/admin/guidelines")
def guidelines(request: Request, accounts: SiteAccounts, me: Admin) -> Response:
    panels: tuple[collection.Panel, ...] = ("training", "held_out")
    inforce = [
        (collection.GUIDELINES[panel], *tasks.current_guideline(accounts.store, panel)) for panel in panels
    ]
    flagged = [(one, markup.line(one.reason)) for one in drafts.list_skips(accounts.store)]
    return render(
        request,
        "guidelines.html",
        inforce=inforce,
        history=store_guidelines.guideline_history(accounts.store),
        flagged=flagged,
    )


@router.post("/admin/guidelines")
def publish(accounts: SiteAccounts, me: Admin, submitted: Form) -> Response:
    name, text = (
        str(submitted.get("name", "")),
        form.text_field({"text": [str(submitted.get("text", ""))]}, "text"),
    )
    if name not in collection.GUIDELINES.values() or text is None:
        raise UserError("a guideline's name (training or evaluation) and its text were expected")
    version = store_guidelines.publish_guideline(accounts.store, name, text.strip() + "\n", me.id)
    audit.log_action(accounts.store, me.id, "guideline in force", version)
    return redirect("/admin/guidelines")
