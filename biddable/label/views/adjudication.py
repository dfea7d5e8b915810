"""Adjudication: an admin answers a task that people differ on, on the same page as they did, and that answer
stands."""

from __future__ import annotations

import json
from urllib.parse import quote

from fastapi import Request
from starlette.responses import Response

from biddable.label import kinds, queue
from biddable.label.views.tasks import OpenTask, form_fields, render_task, shown_guideline
from biddable.run.config import UserError
from biddable.store import audit, reviews
from biddable.store.store import Store
from biddable.store.types import Account, Assignment, Draft, TaskSet
from biddable.web.forms import Form, guarded_router
from biddable.web.pages import redirect
from biddable.web.sessions import Admin, SiteAccounts

PREFIX = "/admin/review"
router = guarded_router(prefix=PREFIX)


def may_adjudicate(me: Account, task_set: TaskSet | None) -> bool:
    """Whether an admin may decide this set's tasks by answering them: people of the admin's own panel work on
    it, and its kind allows it."""
    return _is_adjudicable(task_set) and _is_own_panel(me, task_set)


def _is_adjudicable(task_set: TaskSet | None) -> bool:
    kind = kinds.find(task_set.kind) if task_set else None
    return task_set is not None and not task_set.everybody and kind is not None and kind.adjudicable


def _is_own_panel(me: Account, task_set: TaskSet | None) -> bool:
    return task_set is not None and not task_set.simulated and task_set.panel == me.person.panel


def find_task_set(store: Store, task: str) -> TaskSet | None:
    """The set that a task belongs to. Raises UserError for an unknown task."""
    name = store.task_set_name(task)
    return next((task_set for task_set in store.task_sets() if task_set.name == name), None)


def _open_task(store: Store, me: Account, task_id: str) -> OpenTask:
    """The task as this admin would see it as a labeler. Raises UserError for another panel's task, and for a
    dialogue with a model."""
    kind_name, question = store.question(task_id)
    kind, task_set = kinds.find(kind_name), find_task_set(store, task_id)
    if task_set is None or kind is None or not _is_adjudicable(task_set):
        raise UserError("a task of this kind cannot be decided by an own answer")
    if not _is_own_panel(me, task_set):
        owner = "simulated people" if task_set.simulated else f"the panel {_spell(task_set.panel)}"
        raise UserError(f"this task belongs to {owner}; you belong to the panel {_spell(me.person.panel)}")
    task = queue.task_for(task_id, kind_name, question, me.person.id)
    # Nobody leases a task for adjudication, and there is no draft: an assignment that never expires stands
    # in.
    empty_draft = Draft({}, "", None, 0.0, 0.0)
    assignment = Assignment(
        task_id, kind_name, question, task_set, float("inf"), label=None, returned=None, draft=empty_draft
    )
    return OpenTask(task, assignment, kind, kind.question(task))


def _spell(panel: str) -> str:
    return panel.replace("_", " ")


@router.get("/own")
def adjudication_page(request: Request, accounts: SiteAccounts, me: Admin, task: str) -> Response:
    open_task = _open_task(accounts.store, me, task)
    return render_task(request, accounts.store, me, open_task, {}, send_to=f"{PREFIX}/own")


@router.post("/own")
def adjudicate(request: Request, accounts: SiteAccounts, me: Admin, submitted: Form) -> Response:
    """Store an admin's own answer: from now on it alone goes into the records."""
    store, send_to = accounts.store, f"{PREFIX}/own"
    open_task = _open_task(store, me, str(submitted.get("id", "")))
    fields, kind = form_fields(submitted), open_task.kind
    try:
        answer = kind.form(open_task.question, fields)
        kind.check(open_task.question, answer)
    except UserError as error:
        return render_task(request, store, me, open_task, fields, error.lines, 400, send_to=send_to)
    if hints := [] if "seen" in submitted else kind.hints(answer):
        return render_task(request, store, me, open_task, fields, hints=hints, send_to=send_to)
    task = open_task.task
    text = json.dumps({"answer": answer.model_dump(mode="json"), "shown": task.shown}, ensure_ascii=False)
    version = shown_guideline(store, open_task, str(submitted.get("guideline", "")))
    reviews.adjudicate(store, task.id, me.person.id, text, version, me.id)
    audit.log_action(store, me.id, "review: own answer", task.id)
    return redirect(f"{PREFIX}/task?task={quote(task.id, safe='')}")
