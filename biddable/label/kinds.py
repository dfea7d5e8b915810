"""Kinds of label: what each says of itself, so that queue, pages and statistics treat all of them alike.

A new kind is one file beside this one and one page in `views/templates/tasks/`. The file is a stage: it has a
`Config` and a `run`, and besides `KIND`, an object whose class derives from `LabelKind`. Nobody else reads a
kind's JSON.
"""

from __future__ import annotations

from abc import abstractmethod
from collections import Counter
from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple, Protocol, TypeVar

from biddable.label.form import Fields
from biddable.label.queue import AssignedTask, CollectedLabel
from biddable.run import catalog, records
from biddable.run.config import UserError
from biddable.run.records import Prompt, Record
from biddable.simulated.labelers import Person
from biddable.store.store import Store
from biddable.store.types import TaskSet

StoredTask = TypeVar("StoredTask", bound=Record)
Question = TypeVar("Question", bound=Record)
Answer = TypeVar("Answer", bound=Record)
Value = TypeVar("Value")


class Score(NamedTuple):
    """What a label says of one answer by itself: 1 to 7 and yes/no marks; None: not said."""

    item: str
    overall: int | None
    marks: dict[str, bool | None]


class TaskView(NamedTuple):
    """A task as admins review it: turns of (role, text), and the texts of the answers in the order in which
    they are stored."""

    turns: Sequence[tuple[str, str]]
    answers: Sequence[str] = ()

    @classmethod
    def of_prompt(cls, prompt: Prompt, answers: Sequence[records.Answer] = ()) -> TaskView:
        """The view of a task that asks about answers to a prompt."""
        return cls(
            [(turn.role, turn.content) for turn in prompt.messages], [answer.text for answer in answers]
        )


class LabelKind(Protocol[StoredTask, Question, Answer]):
    """One kind of label: from the stored task to the page's question, from the page's form to the stored
    answer, from there to records."""

    title: str
    """What the kind's page asks for."""
    task_type: type[StoredTask]
    """What is stored with a task. A list `answers` in it is shown to each person in an order of their own
    (`queue.display_order`)."""
    answer_type: type[Answer]
    """What is stored with a label: whatever speaks of several answers does so in the order shown."""
    adjudicable: bool = True
    """Whether an admin may decide a task by answering it."""
    has_agreement: bool = False
    """Whether labels hold ranks or scores, so that people's agreement can be measured."""
    site_fields: tuple[str, ...] = ()
    """Fields of the form that only the site writes; what a browser sends in them is dropped."""

    # From the store to the page, and back.

    @abstractmethod
    def blind(self, task: StoredTask, shown: Sequence[int]) -> Question:
        """What a labeler sees of a task: answers in the order `shown`, and nothing that tells which model
        gave them."""

    @abstractmethod
    def form(self, question: Question, fields: Fields) -> Answer:
        """The answer that the page's form holds. Raises UserError with everything that is missing or
        wrong."""

    def check(self, question: Question, answer: Answer) -> None:
        """Raises UserError when the answer does not fit the question. Where every valid answer fits, there is
        nothing to refuse."""
        return

    def hints(self, answer: Answer) -> list[str]:
        """Contradictions within an answer: they are pointed out to the labeler once, and never forbidden."""
        return []

    def simulate(self, person: Person, question: Question) -> Answer:
        """What a simulated person answers. Kinds that only real people can answer have no such settings, and
        come never here."""
        raise AssertionError(f"{person.id} was asked: {self.title}")

    @abstractmethod
    def records(self, label: CollectedLabel) -> Sequence[Record]:
        """What a label comes to in the run's files: often one record, none for a label that says nothing, or
        several."""

    # Quality: agreement, disputes, gold.

    def ranks(self, label: CollectedLabel) -> tuple[int, ...] | None:
        """A ranking's ranks in the order in which the answers are stored, 1 is best; None: nothing was
        ranked."""
        return None

    def scores(self, label: CollectedLabel) -> list[Score]:
        """What the label says of single answers, for Krippendorff's alpha."""
        return []

    def distance(self, first: CollectedLabel, second: CollectedLabel) -> float | None:
        """How far two people's labels of one task are apart, from 0 (alike) to 1 (opposite); None: that
        cannot be said."""
        return None

    def gold_score(self, label: CollectedLabel, expected: Answer) -> float | None:
        """How well a label meets the expected answer (in the order stored), from 0 to 1; None: nothing to go
        by."""
        return None

    # Pages that show labels again, and pages with more than a form.

    @abstractmethod
    def view(self, task: StoredTask) -> TaskView:
        """The task for an admin's eyes."""

    @abstractmethod
    def summary(self, answer: Answer) -> str:
        """What was answered, in a line, with the answers named as on the page: told to the labeler after each
        answer."""

    def text(self, answer: Answer) -> str | None:
        """The text that the labeler wrote, if that is what the kind asks for."""
        return None

    def subtitle(self, task_set: str) -> str:
        """What tells a set from others of its kind on a labeler's home page: its run, and the third word of
        its stage. The hash that a set's name (`run/stage/hash`) ends with means nothing to people."""
        words = task_set.split("/")
        return ", ".join([words[0], *words[1].split(".")[2:]]) if len(words) == 3 else ""

    def say(
        self, store: Store, task: AssignedTask, person: str, fields: dict[str, list[str]], guideline: str
    ) -> None:
        """The labeler's next message to a model, where a kind's page has such a dialogue. Raises UserError
        when it cannot be sent."""
        raise UserError("there is no model to talk with on this page")

    # Reading what is stored.

    def task(self, question: str) -> StoredTask:
        """A stored task, from its JSON."""
        return self.task_type.model_validate_json(question)

    def answer(self, label: CollectedLabel) -> Answer:
        """A label's answer as the labeler gave it."""
        return self.answer_type.model_validate_json(label.answer)

    def expected(self, text: str) -> Answer:
        """The known answer of a gold task, from its JSON."""
        return self.answer_type.model_validate_json(text)

    def question(self, task: AssignedTask) -> Question:
        """What the person to whom a task is assigned sees of it."""
        return self.blind(self.task(task.question), task.shown)


AnyKind = LabelKind[Any, Any, Any]


@cache
def find(name: str) -> AnyKind | None:
    """The kind that a task set names, such as `label.ratings`; None when there is no such kind."""
    room, _, word = name.partition(".")
    if room != "label" or not word.isidentifier() or not catalog.source_file(name).is_file():
        return None
    kind: AnyKind | None = getattr(catalog.import_stage(name), "KIND", None)
    return kind


def in_stored_order(shown: Sequence[int], values: Sequence[Value]) -> tuple[Value, ...]:
    """Values of the answers in the order shown, brought to the order stored: shown[i] is the stored number of
    the answer at place i."""
    by_number = dict(zip(shown, values, strict=True))
    return tuple(by_number[number] for number in range(len(by_number)))


def set_titles(task_sets: Sequence[TaskSet]) -> dict[str, str]:
    """What people read instead of a set's name `run/stage/hash`: what is asked, and which of several sets it
    is. Sets that would be called alike are numbered, the older first."""
    titles: dict[str, str] = {}
    for task_set in task_sets:
        kind = find(task_set.kind)
        words = [kind.subtitle(task_set.name) if kind else "", "held out" * (task_set.panel == "held_out")]
        which = ", ".join(word for word in words if word)
        title = kind.title if kind else task_set.kind
        titles[task_set.name] = f"{title} ({which})" if which else title
    numbers: Counter[str] = Counter()
    repeated = {title for title, count in Counter(titles.values()).items() if count > 1}
    for task_set in task_sets:
        title = titles[task_set.name]
        numbers[title] += 1
        if title in repeated:
            titles[task_set.name] = f"{title} {numbers[title]}"
    return titles
