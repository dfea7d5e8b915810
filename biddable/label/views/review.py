"""Admins' pages on single tasks: where people differ or flagged a task, what each answered, and which answer
stands."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlencode

from fastapi import HTTPException, Request
from starlette.responses import Response

from biddable.label import kinds, queue
from biddable.label.kinds import AnyKind
from biddable.label.views import markup, quality_data
from biddable.label.views.adjudication import find_task_set, may_adjudicate
from biddable.label.views.dashboard import first_line, first_line_text
from biddable.label.views.quality import choose
from biddable.run.config import UserError
from biddable.store import audit, drafts, reviews
from biddable.web.csv_file import csv_response
from biddable.web.forms import Form, guarded_router
from biddable.web.pages import redirect, render
from biddable.web.sessions import Admin, SiteAccounts

router = guarded_router(prefix="/admin/review")
MAX_ROWS = 100
"""Tasks in one list."""
MAX_NOTE = 2000
"""Characters of a note."""


@router.get("")
def review_list(request: Request, accounts: SiteAccounts, me: Admin, set: str = "") -> Response:
    """Tasks that people flagged, and those on which they differ most."""
    store = accounts.store
    kind_names = {task_set.kind for task_set in store.task_sets()}
    task_sets = quality_data.sets_of(store, [name for name in kind_names if kinds.find(name) is not None])
    chosen = choose(task_sets, set)
    disputes = [row for _, row in quality_data.disputes(store, quality_data.newest_labels(store, chosen))]
    skips = [skip for task_set in chosen for skip in drafts.list_skips(store, task_set.name)]
    flags = [skip for skip in skips if skip.flag][:MAX_ROWS]
    shown_tasks = [dispute.task for dispute in disputes[:MAX_ROWS]] + [flag.task for flag in flags]
    return render(
        request,
        "reviews.html",
        sets=task_sets,
        titles=kinds.set_titles(task_sets),
        chosen=set,
        disputes=disputes[:MAX_ROWS],
        more=max(0, len(disputes) - MAX_ROWS),
        flags=flags,
        first_lines={task: first_line(store, task) for task in shown_tasks},
    )


@router.get("/disputes.csv")
def disputes_file(accounts: SiteAccounts, me: Admin, set: str = "") -> Response:
    """Tasks with several answers or a decision, those that people differ most on first."""
    store = accounts.store
    every_set = quality_data.sets_of(store, {task_set.kind for task_set in store.task_sets()})
    rows = quality_data.disputes(store, quality_data.newest_labels(store, choose(every_set, set)))
    return csv_response(
        "disputes",
        ("set", "task", "answers", "apart", "decision", "asked"),
        [
            (
                name,
                row.task,
                len(row.labels),
                row.distance,
                row.state or "open",
                first_line_text(store, row.task),
            )
            for name, row in rows
        ],
    )


def _find_kind(name: str) -> AnyKind:
    """The kind of this name. Raises 404 for one that this version does not know."""
    kind = kinds.find(name)
    if kind is None:
        raise HTTPException(404)
    return kind


@router.get("/task")
def review_page(request: Request, accounts: SiteAccounts, me: Admin, task: str) -> Response:
    """One task with everybody's answers, and what was decided about them."""
    store = accounts.store
    name, question = store.question(task)
    kind, task_set = _find_kind(name), store.task_set_name(task)
    view = kind.view(kind.task(question))
    labels = queue.collected_labels(store, task_set, task=task)
    return render(
        request,
        "review.html",
        task=task,
        turns=[(role, markup.rich(text)) for role, text in view.turns],
        answers=[markup.rich(text) for text in view.answers],
        labels=[(label, _answer_parts(kind, label)) for label in labels],
        returned={label.label for label in reviews.returned_labels(store, task_set)},
        history=reviews.reviews_by_task(store, task_set).get(task, []),
        logins={account.id: account.login for account in accounts.all()},
        skips=[skip for skip in drafts.list_skips(store, task_set) if skip.task == task],
        may_answer=may_adjudicate(me, find_task_set(store, task)),
    )


def _answer_parts(kind: AnyKind, label: queue.CollectedLabel) -> dict[str, Any]:
    """A label in parts that a page can show: ranks in the order of the stored answers, a text, and its other
    fields as name and value."""
    answer = kind.answer(label)
    text = kind.text(answer)
    fields = answer.model_dump(mode="json", exclude={"ranks", "text"})
    return {
        "ranks": kind.ranks(label) or (),
        "text": markup.rich(text) if text else None,
        "fields": [
            (name.replace("_", " "), json.dumps(value, ensure_ascii=False))
            for name, value in fields.items()
            if value not in (None, {}, [], "")
        ],
    }


@router.post("")
def decide(accounts: SiteAccounts, me: Admin, form: Form) -> Response:
    """A label stands alone, goes back to its labeler, or the task is open again and all its labels count."""
    task, decision = str(form.get("task", "")), str(form.get("action", ""))
    if decision not in ("stands", "returned", "open"):
        raise UserError("action must be stands, returned or open")
    label = None if decision == "open" else str(form.get("label", ""))
    note = str(form.get("note", ""))[:MAX_NOTE]
    reviews.review(accounts.store, task, decision, label, me.id, note)  # type: ignore[arg-type]
    audit.log_action(accounts.store, me.id, f"review: {decision}", task)
    return redirect(f"/admin/review/task?{urlencode({'task': task})}")
