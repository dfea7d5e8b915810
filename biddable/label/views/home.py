"""A labeler's first page: what was sent back, the sets to go on with, and those that are over."""

from __future__ import annotations

from typing import NamedTuple

from fastapi import Request
from starlette.responses import Response

from biddable.label import kinds, queue
from biddable.label.views.outcome import read_outcome
from biddable.label.views.tasks import own_answer_count
from biddable.store import assignments, reviews, screening
from biddable.store.store import Store
from biddable.store.types import Account, TaskSet
from biddable.web.forms import guarded_router
from biddable.web.pages import render
from biddable.web.sessions import Member, SiteAccounts

router = guarded_router()


class Offer(NamedTuple):
    """A set that somebody may work on, with numbers of answers."""

    task_set: TaskSet
    title: str
    by_me: int
    collected: int
    needed: int
    returned: int  # to this person
    is_open: bool  # whether there is a task for this person

    @property
    def is_over(self) -> bool:
        """Whether all answers are there."""
        return self.collected >= self.needed and not self.is_open


@router.get("/")
def home(
    request: Request,
    accounts: SiteAccounts,
    me: Member,
    nothing: bool = False,
    done: str = "",
    saved: str = "",
) -> Response:
    """The sets to work on. `nothing`, `done` and `saved` say what became of the task before."""
    offers, is_locked = _offers(accounts.store, me)
    return render(
        request,
        "home.html",
        returned=[offer for offer in offers if offer.returned],
        open=[offer for offer in offers if offer.is_open],
        closed=[offer for offer in offers if not offer.is_open and not offer.returned],
        locked=is_locked,
        nothing=nothing,
        outcome=read_outcome(accounts.store, me, done, saved),
    )


def _offers(store: Store, me: Account) -> tuple[list[Offer], bool]:
    """The sets for this person, and whether some stay locked until they have passed the screening."""
    offers, is_locked = [], False
    answers = assignments.answers_per_set(store, me.person.id)
    task_sets = store.task_sets()
    titles = kinds.set_titles(task_sets)
    for task_set in task_sets:
        if kinds.find(task_set.kind) is None or task_set.simulated or task_set.panel != me.person.panel:
            continue
        if not screening.is_admitted(store, me.person.id, task_set.name):
            is_locked = True
            continue
        by_me = own_answer_count(answers, task_set)
        if task_set.everybody:
            needed, collected = len(store.tasks(task_set.name)), by_me
        else:
            needed, collected = queue.progress(store, task_set.name)
        returned = len(reviews.returned_labels(store, task_set.name, me.person.id))
        is_open = assignments.has_task(store, task_set, me.person.id)
        title = titles[task_set.name]
        offers.append(Offer(task_set, title, by_me, collected, needed, returned, is_open))
    return offers, is_locked
