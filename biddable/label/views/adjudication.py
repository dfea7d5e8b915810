"""Deciding a task that people differ on: an admin answers it on the same page as everybody, and that answer stands."""

from __future__ import annotations

import json
from urllib.parse import quote

from fastapi import Request
from starlette.responses import Response

from biddable.label import kinds, queue
from biddable.label.views import tasks
from biddable.label.views.tasks import Assignment
from biddable.run.config import UserError
from biddable.store import drafts, reviews
from biddable.store.accounts import Account
from biddable.store.store import Store
from biddable.web import app as web

pages = web.router(prefix="/admin/review")


def _assignment(store: Store, me: Account, task: str) -> Assignment:
    """The task as this admin would see it as a labeler. Raises UserError for another panel's task, and for a dialogue with a model."""
    kind_name, question = store.question(task)
    kind = kinds.find(kind_name)
    name = reviews.task_set_name(store, task)
    whole = next((one for one in store.task_sets() if one.name == name), None)
    if whole is None or whole.everybody or kind is None or not kind.adjudicable:
        raise UserError("a task of this kind cannot be decided by an own answer")
    if (whole.panel, whole.simulated) != (me.person.panel, False):
        raise UserError(
            f"this task belongs to {'simulated people' if whole.simulated else 'the panel ' + whole.panel.replace('_', ' ')}; you belong to the panel {me.person.panel.replace('_', ' ')}"
        )
    held = queue.task_for(task, kind_name, question, me.person.id)
    seat = drafts.Lease(
        task, kind_name, question, whole, float("inf"), None, None, drafts.Draft({}, "", None, 0.0, 0.0)
    )
    return Assignment(held, seat, whole, kind, kind.question(held))


@pages.get("/own")
def own(request: Request, known: web.Known, me: web.Admin, task: str) -> Response:
    return tasks.page_of(
        request, known.store, me, _assignment(known.store, me, task), {}, [], send_to="/admin/review/own"
    )


@pages.post("/own")
def decide(request: Request, known: web.Known, me: web.Admin, sent: web.Form) -> Response:
    """Keep an admin's own answer: from now on it alone goes into the records."""
    store, work = known.store, _assignment(known.store, me, str(sent.get("id", "")))
    fields, version = tasks.fields_of(sent), str(sent.get("guideline", ""))
    try:
        said = work.kind.form(work.question, fields)
        work.kind.check(work.question, said)
    except UserError as refusal:
        return tasks.page_of(
            request, store, me, work, fields, refusal.lines, 400, send_to="/admin/review/own"
        )
    hints = work.kind.hints(said) if "seen" not in sent else []
    if hints:
        return tasks.page_of(request, store, me, work, fields, [], hints=hints, send_to="/admin/review/own")
    if not drafts.guideline_exists(store, version):
        version = tasks.guideline(store, work.task_set.panel)[0]
    text = json.dumps({"answer": said.model_dump(mode="json"), "shown": work.task.shown}, ensure_ascii=False)
    reviews.adjudicate(store, work.task.id, me.person.id, text, version, me.id)
    known.note(me.id, "review: own answer", work.task.id)
    return web.redirect(f"/admin/review/task?task={quote(work.task.id, safe='')}")
