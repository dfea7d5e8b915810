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
from biddable.store import audit, guidelines, reviews, types
from biddable.store.store import Store
from biddable.store.types import Account
from biddable.web.forms import Form, guarded_router
from biddable.web.pages import redirect
from biddable.web.sessions import Admin, SiteAccounts

router = guarded_router(prefix="/admin/review")


def _assignment(store: Store, me: Account, task: str) -> Assignment:
    """The task as this admin would see it as a labeler. Raises UserError for another panel's task, and for a dialogue with a model."""
    kind_name, question = store.question(task)
    kind = kinds.find(kind_name)
    name = store.task_set_name(task)
    whole = next((one for one in store.task_sets() if one.name == name), None)
    if whole is None or whole.everybody or kind is None or not kind.adjudicable:
        raise UserError("a task of this kind cannot be decided by an own answer")
    if (whole.panel, whole.simulated) != (me.person.panel, False):
        raise UserError(
            f"this task belongs to {'simulated people' if whole.simulated else 'the panel ' + whole.panel.replace('_', ' ')}; you belong to the panel {me.person.panel.replace('_', ' ')}"
        )
    held = queue.task_for(task, kind_name, question, me.person.id)
    lease = types.Assignment(
        task, kind_name, question, whole, float("inf"), None, None, types.Draft({}, "", None, 0.0, 0.0)
    )
    return Assignment(held, lease, whole, kind, kind.question(held))


@router.get("/own")
def own(request: Request, accounts: SiteAccounts, me: Admin, task: str) -> Response:
    return tasks.render_task(
        request,
        accounts.store,
        me,
        _assignment(accounts.store, me, task),
        {},
        [],
        send_to="/admin/review/own",
    )


@router.post("/own")
def decide(request: Request, accounts: SiteAccounts, me: Admin, submitted: Form) -> Response:
    """Keep an admin's own answer: from now on it alone goes into the records."""
    store, assignment = accounts.store, _assignment(accounts.store, me, str(submitted.get("id", "")))
    fields, version = tasks.form_fields(submitted), str(submitted.get("guideline", ""))
    try:
        said = assignment.kind.form(assignment.question, fields)
        assignment.kind.check(assignment.question, said)
    except UserError as error:
        return tasks.render_task(
            request, store, me, assignment, fields, error.lines, 400, send_to="/admin/review/own"
        )
    hints = assignment.kind.hints(said) if "seen" not in submitted else []
    if hints:
        return tasks.render_task(
            request, store, me, assignment, fields, [], hints=hints, send_to="/admin/review/own"
        )
    if not guidelines.guideline_exists(store, version):
        version = tasks.current_guideline(store, assignment.task_set.panel)[0]
    text = json.dumps(
        {"answer": said.model_dump(mode="json"), "shown": assignment.task.shown}, ensure_ascii=False
    )
    reviews.adjudicate(store, assignment.task.id, me.person.id, text, version, me.id)
    audit.log_action(accounts.store, me.id, "review: own answer", assignment.task.id)
    return redirect(f"/admin/review/task?task={quote(assignment.task.id, safe='')}")
