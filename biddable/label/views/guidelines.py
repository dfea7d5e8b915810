"""Guidelines: labelers read the one in force, admins publish new versions. Earlier ones stay, as labels name
the version they were made under."""

from __future__ import annotations

from fastapi import Request
from starlette.responses import Response

from biddable.label import collection, form
from biddable.label.views import markup
from biddable.label.views.difference import difference
from biddable.label.views.outcome import read_outcome
from biddable.label.views.tasks import current_guideline, go_to_next_task
from biddable.run.config import UserError
from biddable.store import audit, drafts
from biddable.store import guidelines as store_guidelines
from biddable.web.forms import Form, guarded_router
from biddable.web.pages import redirect, render
from biddable.web.sessions import Admin, Member, SiteAccounts

PANELS: tuple[collection.Panel, ...] = ("training", "held_out")
router = guarded_router()


@router.get("/guideline")
def guideline(request: Request, accounts: SiteAccounts, me: Member) -> Response:
    version, text = current_guideline(accounts.store, me.person.panel)
    return render(
        request, "guideline.html", version=version, guideline=markup.rich(text, breaks=False, heading=2)
    )


@router.get("/guideline/changes")
def guideline_changes(
    request: Request, accounts: SiteAccounts, me: Member, set: str = "", done: str = "", saved: str = ""
) -> Response:
    """What is new in the guideline since this person last read it; the next task comes after it."""
    store = accounts.store
    name = collection.GUIDELINES[me.person.panel]
    version, text = current_guideline(store, me.person.panel)
    before = store_guidelines.version_read(store, me.person, name)
    changes = difference(store_guidelines.guideline_text(store, before), text) if before else []
    return render(
        request,
        "changes.html",
        version=version,
        changes=[
            [(piece.change, markup.line(piece.text, len(piece.text))) for piece in row] for row in changes
        ],
        set=set,
        outcome=read_outcome(store, me, done, saved),
    )


@router.post("/guideline/read")
def mark_guideline_read(request: Request, accounts: SiteAccounts, me: Member, submitted: Form) -> Response:
    """The guideline's new version is read: on to the next task of the set."""
    store_guidelines.mark_read(accounts.store, me.person, str(submitted.get("version", "")))
    return go_to_next_task(request, accounts.store, me, str(submitted.get("set", "")))


@router.get("/admin/guidelines")
def guidelines(request: Request, accounts: SiteAccounts, me: Admin) -> Response:
    """The guidelines in force, their history, and the tasks that people skipped: often that is where a
    guideline is not clear."""
    store = accounts.store
    in_force = [(collection.GUIDELINES[panel], *current_guideline(store, panel)) for panel in PANELS]
    skips = [(skip, markup.line(skip.reason)) for skip in drafts.list_skips(store)]
    history = store_guidelines.guideline_history(store)
    return render(request, "guidelines.html", in_force=in_force, history=history, skips=skips)


@router.post("/admin/guidelines")
def publish_guideline(accounts: SiteAccounts, me: Admin, submitted: Form) -> Response:
    name = str(submitted.get("name", ""))
    text = form.text_field({"text": [str(submitted.get("text", ""))]}, "text")
    if name not in collection.GUIDELINES.values() or text is None:
        raise UserError("name must be training or evaluation, and text the guideline's text")
    version = store_guidelines.publish_guideline(accounts.store, name, text.strip() + "\n", me.id)
    audit.log_action(accounts.store, me.id, "guideline in force", version)
    return redirect("/admin/guidelines")
