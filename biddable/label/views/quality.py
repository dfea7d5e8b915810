"""Admins' pages on the work: agreement, progress, gold, tasks on which people differ, and who is taken on."""

from __future__ import annotations

import json
from typing import Any

from fastapi import HTTPException, Request
from starlette.responses import Response

from biddable.label import demonstrations, kinds, queue
from biddable.label.kinds import TaskView
from biddable.label.screening import decision
from biddable.label.views import markup
from biddable.run.config import UserError
from biddable.store import audit, drafts
from biddable.store import reviews as store_reviews
from biddable.store import screening as store_screening
from biddable.store.store import Store
from biddable.store.types import TaskSet
from biddable.web.forms import Form, guarded_router
from biddable.web.pages import redirect, render
from biddable.web.sessions import Admin, SiteAccounts

router = guarded_router(prefix="/admin")
SHOWN_DISPUTES = 100
DAY_BARS = 30
PARTS = {
    "sensitive": "Flagging sensitive speech",
    "rankings": "Ranking",
    "demonstrations": "Writing",
    "groups": "Groups they know",
}


def _chosen(store: Store, name: str, kinds: tuple[str, ...]) -> tuple[list[TaskSet], list[TaskSet]]:
    """All sets of these kinds, and those to be looked at: the named one, or all. Raises 404 for a name that is not there."""
    from biddable.label.views import (
        quality_data,  # here: the statistics load slowly, and nobody who labels needs them
    )

    known = quality_data.sets_of(store, kinds)
    wanted = [one for one in known if name in ("", one.name)]
    if name and not wanted:
        raise HTTPException(404)
    return known, wanted


@router.get("/agreement")
def agreement(request: Request, accounts: SiteAccounts, me: Admin, set: str = "") -> Response:
    from biddable.label.views import (
        quality_data,  # here: the statistics load slowly, and nobody who labels needs them
    )

    sets, wanted = _chosen(accounts.store, set, quality_data.with_agreement(accounts.store))
    tables = quality_data.ranking_tables(quality_data.rankings(accounts.store, wanted))
    tables += quality_data.rating_tables(accounts.store, wanted)
    simulated = any(one.simulated for one in wanted)
    return render(request, "agreement.html", sets=sets, chosen=set, tables=tables, simulated=simulated)


@router.get("/progress")
def progress(request: Request, accounts: SiteAccounts, me: Admin) -> Response:
    from biddable.label.views import (
        quality_data,  # here: the statistics load slowly, and nobody who labels needs them
    )

    store = accounts.store
    found = [quality_data.progress(store, one) for one in store.task_sets() if not one.everybody]
    given_back = {one.task_set.name: drafts.list_skips(store, one.task_set.name) for one in found}
    return render(request, "progress.html", sets=found, given_back=given_back, bars=DAY_BARS)


@router.get("/gold")
def gold(request: Request, accounts: SiteAccounts, me: Admin) -> Response:
    from biddable.label.views import (
        quality_data,  # here: the statistics load slowly, and nobody who labels needs them
    )

    sets = [one for one in accounts.store.task_sets() if one.gold is not None]
    found = [(one, quality_data.gold(accounts.store, one)) for one in sets]
    return render(request, "gold.html", sets=found)


@router.get("/review")
def reviews(request: Request, accounts: SiteAccounts, me: Admin, set: str = "") -> Response:
    from biddable.label.views import (
        quality_data,  # here: the statistics load slowly, and nobody who labels needs them
    )

    sets, wanted = _chosen(
        accounts.store,
        set,
        tuple({one.kind for one in accounts.store.task_sets() if kinds.find(one.kind) is not None}),
    )
    rows = [(one, dispute) for one in wanted for dispute in quality_data.disputes(accounts.store, one)]
    rows.sort(key=lambda row: (row[1].state != "", -row[1].distance, row[1].task))
    flags = [flag for one in wanted for flag in drafts.list_skips(accounts.store, one.name) if flag.flag]
    shown = {d.task: _first_line(accounts.store, d.task) for _, d in rows[:SHOWN_DISPUTES]}
    shown |= {flag.task: _first_line(accounts.store, flag.task) for flag in flags[:SHOWN_DISPUTES]}
    context = {
        "sets": sets,
        "chosen": set,
        "rows": rows[:SHOWN_DISPUTES],
        "more": max(0, len(rows) - SHOWN_DISPUTES),
    }
    return render(request, "reviews.html", flags=flags[:SHOWN_DISPUTES], shown=shown, **context)


def _first_line(store: Store, task: str) -> Any:
    """What a task asks: the last turn of its prompt, or what stands in a prompt's place."""
    return markup.line(_view(*store.question(task)).turns[-1][1])


def _view(kind: str, question: str) -> TaskView:
    """A task for an admin's eyes. Raises 404 for a kind that this version does not know."""
    label_kind = kinds.find(kind)
    if label_kind is None:
        raise HTTPException(404)
    return label_kind.view(label_kind.task(question))


@router.get("/review/task")
def review(request: Request, accounts: SiteAccounts, me: Admin, task: str) -> Response:
    store = accounts.store
    kind, text = store.question(task)
    view = _view(kind, text)
    labels = [row for row in queue.collected_labels(store, store.task_set_name(task)) if row.task == task]
    turns = [(role, markup.rich(content)) for role, content in view.turns]
    answers = [markup.rich(content) for content in view.answers]
    said = [(row, _answer_parts(row)) for row in labels]
    history = store_reviews.reviews_by_task(store, store.task_set_name(task)).get(task, [])
    names = {account.id: account.login for account in accounts.all()}
    back = {one.label for one in store_reviews.returned_labels(store, store.task_set_name(task))}
    whole = next((one for one in store.task_sets() if one.name == store.task_set_name(task)), None)
    label_kind = kinds.find(kind)
    may_answer = (
        whole is not None
        and not whole.everybody
        and label_kind is not None
        and label_kind.adjudicable
        and (whole.panel, whole.simulated) == (me.person.panel, False)
    )
    context = {
        "may_answer": may_answer,
        "turns": turns,
        "answers": answers,
        "said": said,
        "history": history,
        "names": names,
        "back": back,
    }
    flags = [flag for flag in drafts.list_skips(store, store.task_set_name(task)) if flag.task == task]
    return render(request, "review.html", task=task, kind=kind, flags=flags, **context)


def _answer_parts(row: queue.CollectedLabel) -> dict[str, Any]:
    """A label in parts that a page can show: ranks by stored answer, a text, and whatever else it holds as name and value."""
    kind = kinds.find(row.kind)
    if kind is None:
        raise HTTPException(404)
    answer = kind.answer(row)
    text = kind.text(answer)
    rest = answer.model_dump(mode="json", exclude={"ranks", "text"})
    return {
        "ranks": kind.ranks(row) or (),
        "text": markup.rich(text) if text else None,
        "rest": [
            (name.replace("_", " "), json.dumps(value, ensure_ascii=False))
            for name, value in rest.items()
            if value not in (None, {}, [], "")
        ],
    }


@router.post("/review")
def decide(accounts: SiteAccounts, me: Admin, form: Form) -> Response:
    """A label stands, goes back to its person, or the task is open again."""
    task, action = str(form.get("task", "")), str(form.get("action", ""))
    if action not in ("stands", "returned", "open"):
        raise UserError("stands, returned or open was expected")
    label = None if action == "open" else str(form.get("label", ""))
    store_reviews.review(accounts.store, task, action, label, me.id, str(form.get("note", ""))[:2000])  # type: ignore[arg-type]
    audit.log_action(accounts.store, me.id, f"review: {action}", task)
    return redirect(f"/admin/review/task?{_query(task=task)}")


def _query(**words: str) -> str:
    from urllib.parse import urlencode

    return urlencode(words)


@router.get("/screening")
def screenings(request: Request, accounts: SiteAccounts, me: Admin) -> Response:
    store = accounts.store
    parts = store_screening.screening_parts(store)
    names = {account.person.pseudonym: account.login for account in accounts.all()}
    return render(
        request,
        "screening.html",
        parts=parts,
        titles=PARTS,
        candidates=decision.candidates(store),
        names=names,
    )


@router.get("/screening/person")
def candidate(request: Request, accounts: SiteAccounts, me: Admin, name: str) -> Response:
    store = accounts.store
    one = next((one for one in decision.candidates(store) if one.pseudonym == name), None)
    if one is None:
        raise HTTPException(404)
    part = next(
        (part for part in store_screening.screening_parts(store) if part.part == "demonstrations"), None
    )
    written = (
        []
        if part is None
        else [row for row in queue.collected_labels(store, part.task_set) if row.person.id == one.person]
    )
    grades = {} if part is None else store_screening.grades_by_label(store, part.task_set)
    texts = [
        (
            row,
            markup.rich(demonstrations.KIND.task(row.question).prompt.messages[-1].content),
            markup.rich(demonstrations.KIND.answer(row).text or ""),
        )
        for row in written
    ]
    history = store_screening.admissions_by_person(store).get(one.person, [])
    return render(
        request, "candidate.html", one=one, titles=PARTS, texts=texts, grades=grades, history=history
    )


@router.post("/screening/grade")
def grade(accounts: SiteAccounts, me: Admin, form: Form) -> Response:
    """Grade what somebody wrote."""
    given = str(form.get("grade", ""))
    if not given.isascii() or not given.isdigit():
        raise UserError("a grade from 1 to 7 was expected")
    store_screening.grade_label(
        accounts.store, str(form.get("label", "")), int(given[:3]), me.id, str(form.get("note", ""))[:2000]
    )
    return redirect(f"/admin/screening/person?{_query(name=str(form.get('name', '')))}")


@router.post("/screening/verdict")
def verdict(accounts: SiteAccounts, me: Admin, form: Form) -> Response:
    """Take somebody on, or not; the scores of this moment are kept with it."""
    name, accepted = str(form.get("name", "")), form.get("accepted")
    one = next((one for one in decision.candidates(accounts.store) if one.pseudonym == name), None)
    if one is None or accepted not in ("yes", "no"):
        raise UserError("somebody who has begun the screening, and yes or no, were expected")
    scores = {str(part): score.value for part, score in one.parts.items() if score.value is not None}
    store_screening.decide_admission(
        accounts.store, one.person, accepted == "yes", scores, me.id, str(form.get("note", ""))[:2000]
    )
    audit.log_action(accounts.store, me.id, "taken on" if accepted == "yes" else "not taken on", name)
    return redirect("/admin/screening")
