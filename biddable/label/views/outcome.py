"""What became of the task before: every page that follows a form says what was kept, read from the store."""

from __future__ import annotations

import json
from typing import NamedTuple

from markupsafe import Markup

from biddable.label import kinds
from biddable.label.views import markup
from biddable.store import assignments
from biddable.store.store import Store
from biddable.store.types import Account

MAX_SUMMARY = 160
"""Characters of an answer that are repeated."""


class Outcome(NamedTuple):
    """What became of a task: it was `kept`, `corrected`, put off for `later`, `reported` or `skipped`."""

    result: str
    task: str
    set_title: str
    summary: Markup  # what the store holds as this person's answer


def read_outcome(store: Store, me: Account, result: str, task: str) -> Outcome | None:
    """The outcome that an address speaks of; None when it speaks of none, or of a task that is not this
    person's."""
    if not result:
        return None
    assignment = assignments.find_assignment(store, task, me.person.id)
    kind = kinds.find(assignment.kind) if assignment else None
    if assignment is None or kind is None:
        # a task that was given back is nobody's any more: nothing of it is shown
        return Outcome(result, "", "", Markup()) if result in ("reported", "skipped") else None
    summary = ""
    if assignment.answer is not None:
        summary = kind.summary(kind.answer_type.model_validate(json.loads(assignment.answer)["answer"]))
    title = kinds.set_titles(store.task_sets())[assignment.task_set.name]
    return Outcome(result, task, title, markup.line(summary, MAX_SUMMARY))
