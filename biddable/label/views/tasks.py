"""Working: what there is to do, one page for each kind of task, drafts, skipping, and a person's own answers.

A kind of task is a `LabelKind` (`label/kinds.py`) and a template named like its stage in `templates/tasks/`. Everything here handles tasks without
knowing their kinds.
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
from biddable.run.config import UserError
from biddable.store import assignments, drafts, guidelines, reviews, types
from biddable.store import screening as store_screening
from biddable.store.leases import LeaseExpired
from biddable.store.store import Store
from biddable.store.types import Account, TaskSet
from biddable.web.forms import Form, guarded_router
from biddable.web.pages import redirect, render
from biddable.web.sessions import Member, SiteAccounts

MAX_SECONDS = 8 * 3600.0
"""More than this nobody works on one task."""
router = guarded_router()


class Assignment(NamedTuple):
    """A task on somebody's desk."""

    task: queue.AssignedTask
    lease: types.Assignment
    task_set: TaskSet
    kind: AnyKind
    question: Any  # the kind's

    @property
    def title(self) -> str:
        """What the page asks for."""
        return self.kind.title


class Offer(NamedTuple):
    """A set that somebody may work on."""

    task_set: TaskSet
    title: str
    about: str  # which of several sets of a kind this is
    mine: int
    done: int
    wanted: int
    returned: int


@router.get("/")
def home(request: Request, accounts: SiteAccounts, me: Member, nothing: bool = False) -> Response:
    offers, locked = _offers(accounts.store, me)
    return render(request, "home.html", offers=offers, locked=locked, nothing=nothing)


def _offers(store: Store, me: Account) -> tuple[list[Offer], bool]:
    """The sets for this person, and whether some wait for the screening."""
    found, locked = [], False
    counted = assignments.answers_per_set(store, me.person.id)
    for one in store.task_sets():
        kind = kinds.find(one.kind)
        if (one.panel, one.simulated) != (me.person.panel, False) or kind is None:
            continue
        if not store_screening.is_admitted(store, me.person.id, one.name):
            locked = True
            continue
        own_answers = counted.get(one.name, 0) + (counted.get(one.gold, 0) if one.gold else 0)
        back = len(reviews.returned_labels(store, one.name, me.person.id))
        if one.everybody:
            done, wanted = own_answers, len(store.tasks(one.name))
        else:
            wanted, done = queue.progress(store, one.name)
        found.append(Offer(one, kind.title, kind.subtitle(one.name), own_answers, done, wanted, back))
    return found, locked


@router.post("/next")
def next_task(request: Request, accounts: SiteAccounts, me: Member, submitted: Form) -> Response:
    """Take the next task of a set, or go back to the one still held."""
    return _next(request, accounts.store, me, str(submitted.get("set", "")))


def _next(request: Request, store: Store, me: Account, name: str, saved: str = "") -> Response:
    task = queue.next_task(store, name, me.person.id, request.app.state.lease_seconds)
    if task is None:
        return redirect("/?nothing=1")
    return redirect(_link(task.id) + (f"&saved={quote(saved, safe='')}" if saved else ""))


def _link(task: str) -> str:
    return f"/task?id={quote(task, safe='')}"


def _assignment(store: Store, me: Account, task: str) -> Assignment:
    """The task, if it is this person's. Raises 404 otherwise: whether there is such a task is nobody else's business."""
    lease = assignments.find_assignment(store, task, me.person.id)
    if lease is None:
        raise HTTPException(404)
    held = queue.task_for(task, lease.kind, lease.question, me.person.id)
    if lease.returned is not None:
        held = held._replace(replaces=lease.returned.label, note=lease.returned.note)
    kind = kinds.find(held.kind)
    if kind is None:
        raise HTTPException(404)
    return Assignment(held, lease, lease.task_set, kind, kind.question(held))


def current_guideline(store: Store, panel: collection.Panel) -> tuple[str, str]:
    """Version and text of the guideline that is in force for a panel; ours until somebody puts another one in force."""
    name, text = collection.guideline(panel)
    found = guidelines.current_guideline(store, name)
    return found if found is not None else (guidelines.publish_guideline(store, name, text), text)


@router.get("/task")
def task_page(request: Request, accounts: SiteAccounts, me: Member, id: str, saved: str = "") -> Response:
    assignment, seconds = _assignment(accounts.store, me, id), request.app.state.lease_seconds
    if (
        assignment.lease.label is None
        and assignment.lease.expires_at < accounts.store.clock() + 0.9 * seconds
    ):  # not when it was taken just now
        accounts.store.extend_lease(id, me.person.id, seconds)
    return render_task(
        request,
        accounts.store,
        me,
        assignment,
        assignment.lease.draft.fields if assignment.lease.draft else {},
        [],
        saved=saved,
    )


def render_task(
    request: Request,
    store: Store,
    me: Account,
    assignment: Assignment,
    fields: form.Fields,
    errors: list[str],
    status: int = 200,
    **more: Any,
) -> Response:
    """A task's page. `fields` is what its form holds, `wrong` what has to be mended; `more` says otherwise than usual."""
    version, text = current_guideline(store, assignment.task_set.panel)
    if assignment.lease.draft is None and request.method == "GET":
        drafts.save_draft(store, assignment.task.id, me.person.id, {}, version)  # from here on time counts
    wanted, done = _progress(request, store, assignment.task_set.name)
    known = {
        "assignment": assignment,
        "question": assignment.question,
        "fields": fields,
        "field": lambda name: (fields.get(name) or [""])[-1],
        "errors": errors,
        "guideline": markup.rich(text, breaks=False),
        "version": version,
        "rich": markup.rich,
        "plain": markup.plain,
        "line": markup.line,
        "letters": form.LETTERS,
        "yes_no": form.YES_NO_QUESTIONS,
        "done": done,
        "wanted": wanted,
        "seconds": int(assignment.lease.draft.seconds or 0) if assignment.lease.draft else 0,
        "levels": RULE_LEVELS,
        "saved": "",
        "hints": [],
        "send_to": "/answer",
    }
    return render(request, f"tasks/{assignment.task.kind.split('.')[1]}.html", status, **known | more)


def _progress(request: Request, store: Store, name: str) -> tuple[int, int]:
    """(answers wanted, answers there) of a set for a page. Counting a large set takes a while, so that is done again only after a second
    for every 20,000 answers."""
    known: dict[str, tuple[float, tuple[int, int]]] = request.app.state.__dict__.setdefault("progress", {})
    now = time.monotonic()
    if name not in known or known[name][0] < now:
        found = queue.progress(store, name)
        known[name] = (now + found[0] / 20_000 if found[0] > 2000 else now, found)
    return known[name][1]


RULE_LEVELS = (
    ("definitely_breaks", "Definitely breaks it"),
    ("probably_breaks", "Probably breaks it"),
    ("unsure", "Not sure"),
    ("probably_follows", "Probably follows it"),
    ("definitely_follows", "Definitely follows it"),
)


def form_fields(submitted: Form) -> dict[str, list[str]]:
    """What a form held, without what belongs to the page."""
    own = ("token", "id", "seconds", "guideline", "action", "seen")
    return {
        name: [str(one) for one in submitted.getlist(name)]
        for name in dict.fromkeys(submitted.keys())
        if name not in own
    }


def _save_draft(
    request: Request, store: Store, me: Account, assignment: Assignment, submitted: Form
) -> tuple[dict[str, list[str]], str, types.SavedDraft]:
    """Keep the form as a draft and the task for this person; returns the fields, the guideline that the page showed, and how that went."""
    fields, version, draft = (
        form_fields(submitted),
        str(submitted.get("guideline", "")),
        assignment.lease.draft,
    )
    for name in assignment.kind.site_fields:
        if draft is not None:
            fields[name] = draft.fields.get(name, [])
        else:
            fields.pop(name, None)
    if sum(len(one) for values in fields.values() for one in values) > 4 * form.MOST_TEXT:
        raise UserError("this is too long to be kept; shorten it")
    if not guidelines.guideline_exists(store, version):
        version = current_guideline(store, assignment.task_set.panel)[0]
    told = str(submitted.get("seconds", ""))
    seconds = min(float(told), MAX_SECONDS) if told.isascii() and told.isdigit() and len(told) < 8 else None
    lease_seconds = request.app.state.lease_seconds
    return (
        fields,
        version,
        drafts.save_draft(store, assignment.task.id, me.person.id, fields, version, seconds, lease_seconds),
    )


@router.post("/draft")
def save_draft(request: Request, accounts: SiteAccounts, me: Member, submitted: Form) -> Response:
    """Keep what is written so far; a page's script calls it, and so does the button of a page without script."""
    assignment = _assignment(accounts.store, me, str(submitted.get("id", "")))
    _, _, kept = _save_draft(request, accounts.store, me, assignment, submitted)
    if "application/json" in request.headers.get("accept", ""):
        return JSONResponse({"saved": time.strftime("%H:%M", time.gmtime()), "held": kept.has_lease})
    return redirect(_link(assignment.task.id))


@router.post("/answer")
def answer(request: Request, accounts: SiteAccounts, me: Member, submitted: Form) -> Response:
    """Give an answer in, or correct one; then the next task."""
    store, person = accounts.store, me.person.id
    assignment = _assignment(store, me, str(submitted.get("id", "")))
    fields, version, kept = _save_draft(request, store, me, assignment, submitted)
    if submitted.get("action") == "say":
        try:
            assignment.kind.say(store, assignment.task, person, fields, version)
        except UserError as error:
            return render_task(request, store, me, assignment, fields, error.lines, 400)
        return redirect(_link(assignment.task.id) + "#end")
    try:
        said = assignment.kind.form(assignment.question, fields)
        assignment.kind.check(assignment.question, said)
    except UserError as error:
        return render_task(
            request, store, me, assignment, fields, error.lines, 400, seconds=int(kept.seconds or 0)
        )
    hints = assignment.kind.hints(said) if "seen" not in submitted else []
    if hints:
        return render_task(
            request, store, me, assignment, fields, [], hints=hints, seconds=int(kept.seconds or 0)
        )
    try:
        queue.submit(store, assignment.task, person, said, version, kept.seconds, assignment.lease.label)
    except LeaseExpired:
        lost = [
            "Your time was over and somebody else has this task now. What you wrote is kept as a draft; your answer was not counted."
        ]
        return render_task(request, store, me, assignment, fields, lost, 409)
    if assignment.lease.label is not None and assignment.task.replaces is None:
        return redirect("/mine")
    return _next(request, store, me, assignment.task_set.name, assignment.task.id)


@router.post("/skip")
def skip(request: Request, accounts: SiteAccounts, me: Member, submitted: Form) -> Response:
    """Give a task back, with a reason; flagged, an admin looks at it."""
    assignment = _assignment(accounts.store, me, str(submitted.get("id", "")))
    if assignment.lease.label is not None:
        raise UserError("you have answered this task already; correct your answer instead")
    flag = submitted.get("action") == "flag"
    reason = (form.text_field({"reason": [str(submitted.get("reason", ""))]}, "reason") or "").strip()
    if flag and not reason:
        raise UserError("say in a few words what is wrong with the task")
    drafts.skip_task(accounts.store, assignment.task.id, me.person.id, flag, reason)
    return _next(request, accounts.store, me, assignment.task_set.name)


@router.get("/mine")
def own_answers(request: Request, accounts: SiteAccounts, me: Member) -> Response:
    """A person's own answers and days."""
    given = [
        (one, kind.title, _link(one.task))
        for one in assignments.past_answers(accounts.store, me.person.id)
        if (kind := kinds.find(one.kind)) is not None
    ]
    return render(
        request, "mine.html", given=given, days=assignments.answers_per_day(accounts.store, me.person.id)
    )
