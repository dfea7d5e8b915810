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
from biddable.store.store import Store
from biddable.store.types import TaskSet
from biddable.web.csv_file import csv_response
from biddable.web.forms import Form, guarded_router
from biddable.web.pages import redirect, render
from biddable.web.sessions import Admin, SiteAccounts

router = guarded_router(prefix="/admin/review")
MAX_ROWS = 100
"""Tasks in one list."""
MAX_SEARCH = 200
"""Characters that are searched for."""
MAX_NOTE = 2000
"""Characters of a note."""


@router.get("")
def review_list(
    request: Request,
    accounts: SiteAccounts,
    me: Admin,
    set: str = "",
    q: str = "",
    person: str = "",
    state: str = "",
) -> Response:
    """Tasks that people flagged, and those on which they differ most: all, those whose question or answers
    hold the text `q`, those that a person answered, those that are open or decided."""
    store, q = accounts.store, q[:MAX_SEARCH].strip()
    task_sets = _sets(store)
    chosen = choose(task_sets, set)
    disputes = [
        row
        for _, row in quality_data.disputes(store, quality_data.newest_labels(store, chosen))
        if _fits(row, q, person, state)
    ]
    skips = [skip for task_set in chosen for skip in drafts.list_skips(store, task_set.name)]
    flags = [skip for skip in skips if skip.flag and person in ("", skip.pseudonym)][:MAX_ROWS]
    shown_tasks = [dispute.task for dispute in disputes[:MAX_ROWS]] + [flag.task for flag in flags]
    return render(
        request,
        "reviews.html",
        sets=task_sets,
        titles=kinds.set_titles(task_sets),
        chosen=set,
        q=q,
        person=person,
        state=state,
        people=accounts.all(),
        disputes=disputes[:MAX_ROWS],
        more=max(0, len(disputes) - MAX_ROWS),
        flags=[] if q or state else flags,
        first_lines={task: first_line(store, task) for task in shown_tasks},
    )


def _sets(store: Store) -> list[TaskSet]:
    kind_names = {task_set.kind for task_set in store.task_sets()}
    return quality_data.sets_of(store, [name for name in kind_names if kinds.find(name) is not None])


def _fits(dispute: quality_data.Dispute, text: str, person: str, state: str) -> bool:
    """Whether a task holds a text, was answered by a person (both: any for ""), and is in a state."""
    needle = json.dumps(text, ensure_ascii=False)[1:-1].casefold()
    holds_text = any(needle in f"{label.question} {label.answer}".casefold() for label in dispute.labels)
    answered = not person or any(label.person.pseudonym == person for label in dispute.labels)
    return holds_text and answered and state in ("", "decided" if dispute.state else "open")


@router.get("/matrix.csv")
def matrix_file(accounts: SiteAccounts, me: Admin, set: str = "") -> Response:
    """Who gave which answer which rank and score: a line for each person and answer."""
    by_set = quality_data.newest_labels(accounts.store, choose(_sets(accounts.store), set))
    rows = []
    for name, labels in by_set.items():
        for label in labels:
            cells = _find_kind(label.kind)
            ranks, scores = cells.ranks(label) or (), _scores(cells, label)
            for number in range(max(len(ranks), len(scores))):
                rank = ranks[number] if number < len(ranks) else None
                rows.append((name, label.task, label.person.pseudonym, number + 1, rank, scores.get(number)))
    return csv_response("matrix", ("set", "task", "pseudonym", "answer", "rank", "score"), rows)


def _scores(kind: AnyKind, label: queue.CollectedLabel) -> dict[int, int | None]:
    """The 1 to 7 of each answer by its stored number; a kind that asks about one answer has number 0."""
    numbers = [(score.item.rpartition("/")[2], score.overall) for score in kind.scores(label)]
    return {int(number) if number.isdigit() else 0: overall for number, overall in numbers}


@router.get("/disputes.csv")
def disputes_file(accounts: SiteAccounts, me: Admin, set: str = "") -> Response:
    """Tasks with several answers or a decision, those that people differ most on first."""
    store = accounts.store
    rows = quality_data.disputes(store, quality_data.newest_labels(store, choose(_sets(store), set)))
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
        labels=(shown := [(label, _answer_parts(kind, label)) for label in labels]),
        mean_ranks=_mean_ranks([parts["ranks"] for _, parts in shown]),
        returned={label.label for label in reviews.returned_labels(store, task_set)},
        history=reviews.reviews_by_task(store, task_set).get(task, []),
        logins={account.id: account.login for account in accounts.all()},
        skips=[skip for skip in drafts.list_skips(store, task_set) if skip.task == task],
        may_answer=may_adjudicate(me, find_task_set(store, task)),
    )


def _mean_ranks(rankings: list[tuple[int, ...]]) -> list[float]:
    """Each answer's mean rank over those who ranked."""
    ranked = [ranks for ranks in rankings if ranks]
    return [sum(ranks) / len(ranked) for ranks in zip(*ranked, strict=True)]


def _answer_parts(kind: AnyKind, label: queue.CollectedLabel) -> dict[str, Any]:
    """A label in parts that a page can show: ranks in the order of the stored answers, a text, and its other
    fields as name and value."""
    answer = kind.answer(label)
    text = kind.text(answer)
    fields = answer.model_dump(mode="json", exclude={"ranks", "text"})
    return {
        "ranks": kind.ranks(label) or (),
        "scores": _scores(kind, label),
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
