"""A labeler's pages: a page for each task, drafts, skipping, and a person's own answers.

A kind of task is a `LabelKind` (`label/kinds.py`) and a template in `templates/tasks/`, named like its stage.
Nothing here depends on the kind of a task.
"""

from __future__ import annotations

import time
from typing import Any, NamedTuple
from urllib.parse import quote

from fastapi import HTTPException, Request
from starlette.responses import JSONResponse, Response

from biddable.label import collection, form, kinds, queue
from biddable.label.kinds import AnyKind
from biddable.label.views import markup
from biddable.label.views.outcome import Outcome, read_outcome
from biddable.run.config import UserError
from biddable.store import assignments, drafts, guidelines
from biddable.store.leases import LeaseExpired
from biddable.store.store import Store
from biddable.store.types import Account, Assignment, SavedDraft, TaskSet
from biddable.web.forms import Form, guarded_router
from biddable.web.pages import redirect, render
from biddable.web.sessions import Member, SiteAccounts

MAX_SECONDS = 8 * 3600.0
"""Nobody works longer than this on one task: what a browser measured beyond it does not count."""
EXPIRED = (
    "Your time was over and somebody else has this task now. What you wrote is kept as a draft; "
    "your answer was not counted."
)
PAGE_FIELDS = ("token", "id", "seconds", "guideline", "action", "seen")
"""Fields of a form that belong to the page and not to the answer."""
router = guarded_router()


class OpenTask(NamedTuple):
    """A person's task as its page needs it: the assignment with its lease and draft, and the question as its
    kind puts it."""

    task: queue.AssignedTask
    assignment: Assignment
    kind: AnyKind
    question: Any  # the kind's own type

    @property
    def task_set(self) -> TaskSet:
        """The set the task is worked on in."""
        return self.assignment.task_set


def own_answer_count(answers: dict[str, int], task_set: TaskSet) -> int:
    """A person's answers in a set, from their `answers` by set. Gold is mixed into the set's tasks: to the
    labeler its answers are answers like all others."""
    return answers.get(task_set.name, 0) + (answers.get(task_set.gold, 0) if task_set.gold else 0)


@router.post("/next")
def next_task(request: Request, accounts: SiteAccounts, me: Member, submitted: Form) -> Response:
    """Lease the next task of a set, or go back to the one still leased."""
    return go_to_next_task(request, accounts.store, me, str(submitted.get("set", "")))


def go_to_next_task(
    request: Request, store: Store, me: Account, task_set: str, done: str = "", task_before: str = ""
) -> Response:
    """To the next task's page, which says what became of `task_before`: `done` is a key of its notices. Kept
    for later, it does not come at once again."""
    notice = f"done={done}&saved={quote(task_before, safe='')}" if done else ""
    if _has_unread_guideline(store, me):
        return redirect(f"/guideline/changes?set={quote(task_set, safe='')}&{notice}")
    task = queue.next_task(
        store, task_set, me.person.id, request.app.state.lease_seconds, fresh=done == "later"
    )
    if task is None:
        return redirect(f"/?{notice}&nothing=1" if notice else "/?nothing=1")
    return redirect(task_link(task.id) + (f"&{notice}" if notice else ""))


def _has_unread_guideline(store: Store, me: Account) -> bool:
    """Whether the guideline has changed since this person read it. Who has read none sees it beside the
    task."""
    name = collection.GUIDELINES[me.person.panel]
    version = guidelines.version_read(store, me.person, name)
    return version is not None and version != current_guideline(store, me.person.panel)[0]


def task_link(task: str) -> str:
    """The address of a task's page."""
    return f"/task?id={quote(task, safe='')}"


def _find_task(store: Store, me: Account, task_id: str) -> OpenTask:
    """The task, if it is this person's. Raises 404 otherwise: whether there is such a task is nobody else's
    business."""
    assignment = assignments.find_assignment(store, task_id, me.person.id)
    kind = kinds.find(assignment.kind) if assignment else None
    if assignment is None or kind is None:
        raise HTTPException(404)
    task = queue.task_for(task_id, assignment.kind, assignment.question, me.person.id)
    if assignment.returned is not None:
        task = task._replace(replaces=assignment.returned.label, note=assignment.returned.note)
    return OpenTask(task, assignment, kind, kind.question(task))


def current_guideline(store: Store, panel: collection.Panel) -> tuple[str, str]:
    """Version and text of the guideline in force for a panel; the one that the package brings until an admin
    publishes another."""
    name, text = collection.guideline(panel)
    in_force = guidelines.current_guideline(store, name)
    return in_force or (guidelines.publish_guideline(store, name, text), text)


def shown_guideline(store: Store, open_task: OpenTask, version: str) -> str:
    """The version that a form says its page showed, if there is such a one; else the version in force."""
    if guidelines.guideline_exists(store, version):
        return version
    return current_guideline(store, open_task.task_set.panel)[0]


@router.get("/task")
def task_page(
    request: Request, accounts: SiteAccounts, me: Member, id: str, done: str = "", saved: str = ""
) -> Response:
    store, lease_seconds = accounts.store, request.app.state.lease_seconds
    open_task = _find_task(store, me, id)
    assignment = open_task.assignment
    # Opening the page extends the lease, unless the task was taken just now: that would only write the same
    # time again.
    if assignment.label is None and assignment.expires_at < store.clock() + 0.9 * lease_seconds:
        store.extend_lease(id, me.person.id, lease_seconds)
    fields = assignment.draft.fields if assignment.draft else {}
    outcome = read_outcome(store, me, done, saved)
    return render_task(request, store, me, open_task, fields, outcome=outcome)


def render_task(
    request: Request,
    store: Store,
    me: Account,
    open_task: OpenTask,
    fields: form.Fields,
    errors: list[str] | None = None,
    status: int = 200,
    *,
    hints: list[str] | None = None,
    outcome: Outcome | None = None,
    seconds: float | None = None,
    send_to: str = "/answer",
) -> Response:
    """A task's page with `fields` filled in.

    `errors` say what has to be corrected, `hints` what to look at once more, `outcome` what became of the
    task before. `seconds` is the time spent so far where the draft does not say, `send_to` where the answer
    goes.
    """
    draft = open_task.assignment.draft
    version, text = current_guideline(store, open_task.task_set.panel)
    if draft is None and request.method == "GET":
        drafts.save_draft(store, open_task.task.id, me.person.id, {}, version)  # from here on time counts
    if seconds is None:
        seconds = draft.seconds if draft else 0
    by_me, needed = _own_progress(store, me, open_task.task_set)
    return render(
        request,
        f"tasks/{open_task.task.kind.split('.')[1]}.html",
        status,
        task=open_task.task,
        title=open_task.kind.title,
        is_correction=open_task.assignment.label is not None,
        question=open_task.question,
        fields=fields,
        field=lambda name: (fields.get(name) or [""])[-1],
        errors=errors or [],
        hints=hints or [],
        guideline=markup.rich(text, breaks=False, heading=2),
        version=version,
        rich=markup.rich,
        plain=markup.plain,
        line=markup.line,
        letters=form.LETTERS,
        yes_no=form.YES_NO_QUESTIONS,
        levels=form.RULE_LEVELS,
        by_me=by_me,
        needed=needed,
        saved_at=draft.saved_at if draft else store.clock(),
        outcome=outcome,
        seconds=int(seconds or 0),
        send_to=send_to,
    )


def _own_progress(store: Store, me: Account, task_set: TaskSet) -> tuple[int, int | None]:
    """(answers by this person, tasks for this person) of a set; None where the tasks are shared among people.

    What the others have answered is not shown beside a task: gold counts as this person's answer like all
    others, but not in the set's own progress, which would stand still and so give it away.
    """
    by_me = own_answer_count(assignments.answers_per_set(store, me.person.id), task_set)
    return by_me, len(store.tasks(task_set.name)) if task_set.everybody else None


def form_fields(submitted: Form) -> dict[str, list[str]]:
    """The answer's fields of a form: name -> values."""
    names = [name for name in dict.fromkeys(submitted.keys()) if name not in PAGE_FIELDS]
    return {name: [str(value) for value in submitted.getlist(name)] for name in names}


def _save_draft(
    request: Request, store: Store, me: Account, open_task: OpenTask, submitted: Form
) -> tuple[dict[str, list[str]], str, SavedDraft]:
    """Keep a form as a draft, which extends the lease. Returns its fields, the guideline that its page
    showed, and the draft."""
    fields, draft = form_fields(submitted), open_task.assignment.draft
    for name in open_task.kind.site_fields:
        # What only the site may write (a dialogue with a model) comes from the draft, whatever the browser
        # sent.
        if draft is not None:
            fields[name] = draft.fields.get(name, [])
        else:
            fields.pop(name, None)
    if sum(len(value) for values in fields.values() for value in values) > 4 * form.MOST_TEXT:
        raise UserError("this is too long to be kept; shorten it")
    version = shown_guideline(store, open_task, str(submitted.get("guideline", "")))
    saved = drafts.save_draft(
        store,
        open_task.task.id,
        me.person.id,
        fields,
        version,
        _measured_seconds(submitted),
        request.app.state.lease_seconds,
    )
    return fields, version, saved


def _measured_seconds(submitted: Form) -> float | None:
    """The time spent as the page's script measured it; None without script, or for nonsense."""
    text = str(submitted.get("seconds", ""))
    if not (text.isascii() and text.isdigit() and len(text) < 8):
        return None
    return min(float(text), MAX_SECONDS)


@router.post("/draft")
def save_draft(request: Request, accounts: SiteAccounts, me: Member, submitted: Form) -> Response:
    """Keep what is written so far. A page's script calls it, and so does the button of a page without
    script."""
    open_task = _find_task(accounts.store, me, str(submitted.get("id", "")))
    _, _, saved = _save_draft(request, accounts.store, me, open_task, submitted)
    if "application/json" in request.headers.get("accept", ""):
        now = accounts.store.clock()
        return JSONResponse(
            {"saved": time.strftime("%H:%M", time.gmtime()), "held": saved.has_lease, "at": now}
        )
    return go_to_next_task(request, accounts.store, me, open_task.task_set.name, "later", open_task.task.id)


@router.post("/answer")
def answer(request: Request, accounts: SiteAccounts, me: Member, submitted: Form) -> Response:
    """Send an answer, or correct one; then the next task."""
    store = accounts.store
    open_task = _find_task(store, me, str(submitted.get("id", "")))
    fields, version, saved = _save_draft(request, store, me, open_task, submitted)
    task, kind, corrected_label = open_task.task, open_task.kind, open_task.assignment.label

    def page(status: int, errors: list[str], hints: list[str] | None = None) -> Response:
        return render_task(
            request, store, me, open_task, fields, errors, status, hints=hints, seconds=saved.seconds
        )

    try:
        if submitted.get("action") == "say":  # to the model that a page talks with
            kind.say(store, task, me.person.id, fields, version)
            return redirect(task_link(task.id))  # no fragment: the page's `autofocus` would not count
        kind_answer = kind.form(open_task.question, fields)
        kind.check(open_task.question, kind_answer)
    except UserError as error:
        return page(400, error.lines)
    hints = [] if "seen" in submitted else kind.hints(kind_answer)  # contradictions are pointed out once
    if hints:
        return page(200, [], hints)
    try:
        queue.submit(store, task, me.person.id, kind_answer, version, saved.seconds, corrected_label)
    except LeaseExpired:
        return page(409, [EXPIRED])
    if corrected_label is not None and task.replaces is None:
        # One's own corrections begin there; a returned task goes on in the queue.
        return redirect(f"/mine?saved={quote(task.id, safe='')}")
    return go_to_next_task(request, store, me, open_task.task_set.name, "kept", task.id)


@router.post("/skip")
def skip(request: Request, accounts: SiteAccounts, me: Member, submitted: Form) -> Response:
    """Give a task back, with or without a reason; flagged (a reason is needed then), an admin looks at it."""
    open_task = _find_task(accounts.store, me, str(submitted.get("id", "")))
    if open_task.assignment.label is not None:
        raise UserError("you have answered this task already; correct your answer instead")
    flag = submitted.get("action") == "flag"
    reason = (form.text_field({"reason": [str(submitted.get("reason", ""))]}, "reason") or "").strip()
    if flag and not reason:
        raise UserError("say in a few words what is wrong with the task")
    drafts.skip_task(accounts.store, open_task.task.id, me.person.id, flag, reason)
    return go_to_next_task(
        request,
        accounts.store,
        me,
        open_task.task_set.name,
        "reported" if flag else "skipped",
        open_task.task.id,
    )
