"""Admins' pages on the work: agreement, progress, gold, tasks on which people differ, and who is taken on."""

from __future__ import annotations

import json
from typing import Any

from fastapi import HTTPException, Request
from starlette.responses import Response

from biddable.label import queue, screening
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

    sets, wanted = _chosen(accounts.store, set, (quality_data.COMPARISONS, quality_data.RATINGS))
    tables = quality_data.ranking_tables(
        quality_data.rankings(accounts.store, [one for one in wanted if one.kind == quality_data.COMPARISONS])
    )
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

    sets, wanted = _chosen(accounts.store, set, tuple({one.kind for one in accounts.store.task_sets()}))
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
    question = json.loads(store.question(task)[1])
    return markup.line(
        question["prompt"]["messages"][-1]["content"] if "prompt" in question else _asked(question)
    )


def _asked(question: dict[str, Any]) -> str:
    """What a task without a prompt asks for."""
    return str(
        question["rule"]["text"]
        if "rule" in question
        else question.get("use_case") or f"a {question['form']} prompt"
    ).replace("_", "-")


@router.get("/review/task")
def review(request: Request, accounts: SiteAccounts, me: Admin, task: str) -> Response:
    store = accounts.store
    kind, text = store.question(task)
    question = json.loads(text)
    labels = [row for row in queue.collected_labels(store, store.task_set_name(task)) if row.task == task]
    asked = (
        question["prompt"]["messages"]
        if "prompt" in question
        else [{"role": "asked for", "content": _asked(question)}]
    )
    turns = [(turn["role"], markup.rich(turn["content"])) for turn in asked]
    answers = [markup.rich(one["text"]) for one in question.get("answers", ())]
    said = [(row, _told(row)) for row in labels]
    history = store_reviews.reviews_by_task(store, store.task_set_name(task)).get(task, [])
    names = {account.id: account.login for account in accounts.all()}
    back = {one.label for one in store_reviews.returned_labels(store, store.task_set_name(task))}
    whole = next((one for one in store.task_sets() if one.name == store.task_set_name(task)), None)
    may_answer = (
        whole is not None
        and not whole.everybody
        and kind != "label.probes"
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


def _told(row: queue.CollectedLabel) -> dict[str, Any]:
    """A label in parts that a page can show: ranks or scores by stored answer, a text, and whatever else it holds as name and value."""
    from biddable.label.views import (
        quality_data,  # here: the statistics load slowly, and nobody who labels needs them
    )

    said = json.loads(row.answer)
    told: dict[str, Any] = {"ranks": (), "text": None, "rest": []}
    if said.get("ranks"):
        told["ranks"] = quality_data.stored(row)
    if said.get("text"):
        told["text"] = markup.rich(said["text"])
    hidden = ("ranks", "text")
    told["rest"] = [
        (name.replace("_", " "), json.dumps(value, ensure_ascii=False))
        for name, value in said.items()
        if name not in hidden and value not in (None, {}, [], "")
    ]
    return told


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
        candidates=screening.candidates(store),
        names=names,
    )


@router.get("/screening/person")
def candidate(request: Request, accounts: SiteAccounts, me: Admin, name: str) -> Response:
    store = accounts.store
    one = next((one for one in screening.candidates(store) if one.pseudonym == name), None)
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
            markup.rich(json.loads(row.question)["prompt"]["messages"][-1]["content"]),
            markup.rich(json.loads(row.answer)["text"] or ""),
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
    one = next((one for one in screening.candidates(accounts.store) if one.pseudonym == name), None)
    if one is None or accepted not in ("yes", "no"):
        raise UserError("somebody who has begun the screening, and yes or no, were expected")
    scores = {str(part): score.value for part, score in one.parts.items() if score.value is not None}
    store_screening.decide_admission(
        accounts.store, one.person, accepted == "yes", scores, me.id, str(form.get("note", ""))[:2000]
    )
    audit.log_action(accounts.store, me.id, "taken on" if accepted == "yes" else "not taken on", name)
    return redirect("/admin/screening")
