"""Admins' pages on the screening: candidates with their scores, grading what they wrote, and admitting
them."""

from __future__ import annotations

from urllib.parse import urlencode

from fastapi import HTTPException, Request
from starlette.responses import Response

from biddable.label import demonstrations, queue
from biddable.label.screening import decision
from biddable.label.screening.decision import Candidate
from biddable.label.views import markup
from biddable.run.config import UserError
from biddable.store import audit, screening
from biddable.store.store import Store
from biddable.web.csv_file import csv_response
from biddable.web.forms import Form, guarded_router
from biddable.web.pages import redirect, render
from biddable.web.sessions import Admin, SiteAccounts

router = guarded_router(prefix="/admin/screening")
PART_TITLES = {
    "sensitive": "Flagging sensitive speech",
    "rankings": "Ranking",
    "demonstrations": "Writing",
    "groups": "Groups they know",
}
MAX_NOTE = 2000
"""Characters of a note."""


@router.get("")
def screening_page(request: Request, accounts: SiteAccounts, me: Admin) -> Response:
    return render(
        request,
        "screening.html",
        parts=screening.screening_parts(accounts.store),
        titles=PART_TITLES,
        candidates=decision.candidates(accounts.store),
    )


@router.get(".csv")
def screening_file(accounts: SiteAccounts, me: Admin) -> Response:
    """The candidates with what they scored in each part."""
    parts = [part.part for part in screening.screening_parts(accounts.store)]
    spelled = {None: "", True: "yes", False: "no"}
    return csv_response(
        "screening",
        ("pseudonym", *parts, "suggested", "accepted"),
        [
            (
                candidate.pseudonym,
                *(candidate.parts[part].value for part in parts),
                spelled[candidate.suggested],
                spelled[candidate.accepted],
            )
            for candidate in decision.candidates(accounts.store)
        ],
    )


def _find_candidate(store: Store, pseudonym: str) -> Candidate | None:
    return next(
        (candidate for candidate in decision.candidates(store) if candidate.pseudonym == pseudonym), None
    )


@router.get("/person")
def candidate_page(request: Request, accounts: SiteAccounts, me: Admin, name: str) -> Response:
    """One candidate: scores, the texts that they wrote, and what was decided so far."""
    store = accounts.store
    candidate = _find_candidate(store, name)
    if candidate is None:
        raise HTTPException(404)
    parts = screening.screening_parts(store)
    # There is one such part at most; where writing is not screened there is nothing to grade.
    sets = [part.task_set for part in parts if part.part == "demonstrations"][:1]
    labels = [label for task_set in sets for label in queue.collected_labels(store, task_set)]
    kind = demonstrations.KIND
    texts = [
        (
            label.id,
            markup.rich(kind.task(label.question).prompt.messages[-1].content),
            markup.rich(kind.answer(label).text or ""),
        )
        for label in labels
        if label.person.id == candidate.person
    ]
    return render(
        request,
        "candidate.html",
        candidate=candidate,
        titles=PART_TITLES,
        texts=texts,
        grades=screening.grades_by_label(store, sets[0]) if sets else {},
        history=screening.admissions_by_person(store).get(candidate.person, []),
    )


@router.post("/grade")
def grade(accounts: SiteAccounts, me: Admin, form: Form) -> Response:
    """Grade a text from 1 to 7."""
    text = str(form.get("grade", ""))
    if not text.isascii() or not text.isdigit():
        raise UserError("grade must be a number from 1 to 7")
    label, note = str(form.get("label", "")), str(form.get("note", ""))[:MAX_NOTE]
    screening.grade_label(accounts.store, label, int(text[:3]), me.id, note)
    return redirect(f"/admin/screening/person?{urlencode({'name': str(form.get('name', ''))})}")


@router.post("/verdict")
def decide_admission(accounts: SiteAccounts, me: Admin, form: Form) -> Response:
    """Admit a candidate, or not; the scores of this moment are stored with the decision."""
    name, accepted = str(form.get("name", "")), form.get("accepted")
    candidate = _find_candidate(accounts.store, name)
    if candidate is None or accepted not in ("yes", "no"):
        raise UserError("name must be somebody who has begun the screening, and accepted yes or no")
    scores = {str(part): score.value for part, score in candidate.parts.items() if score.value is not None}
    note = str(form.get("note", ""))[:MAX_NOTE]
    screening.decide_admission(accounts.store, candidate.person, accepted == "yes", scores, me.id, note)
    audit.log_action(accounts.store, me.id, "taken on" if accepted == "yes" else "not taken on", name)
    return redirect("/admin/screening")
