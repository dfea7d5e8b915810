"""Demonstrations: the answer a labeler would want to see, for each prompt; written by people, or by simulated ones chosen among samples.

A simulated demonstration is the best of the prompt's samples by that labeler's taste, and is marked so: nobody wrote it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pydantic import Field, model_validator

from biddable.label import collection, queue
from biddable.label.form import Fields, made, number, one
from biddable.label.queue import AssignedTask, CollectedLabel
from biddable.label.simulated import labelers as people
from biddable.run.config import Input, Settings, UserError
from biddable.run.context import StageContext
from biddable.run.jsonl import read, write
from biddable.run.records import Answer as Given
from biddable.run.records import Demonstration, Prompt, Record, Split
from biddable.store.types import Task as Asked


class Config(Settings):
    replies: Input = Path("learn.replies.start")
    """Prompts with sampled answers, of which a labeler may take the best instead of writing one; or prompts alone (`curate.prompts`), for people."""
    labelers: collection.Labelers = "people"
    """Who answers: `simulated` people, marked as such in everything made from it, or real `people`."""
    people: int = Field(default=12, ge=1)
    """Simulated people in the training panel (Ouyang et al. 2022 had about 40 contractors). Not used when real people answer."""
    splits: tuple[Split, ...] | None = None
    """Only prompts of these splits; none: all."""
    limit: int | None = Field(default=None, ge=1)
    """At most so many prompts, chosen by hash; none: all."""
    guidelines: Input | None = None
    """A folder with `training.md` and `evaluation.md` to show instead of ours; every answer is stamped with the version seen."""
    enough: float = Field(default=1.0, gt=0, le=1)
    """Share of the wanted answers after which the records are written."""
    priority: int = 0
    """People are offered tasks of higher priority first."""
    store: str | None = None
    """The store's path or SQLAlchemy URL; none: store.db in the run's folder."""


class Question(Record):
    """What a labeler sees."""

    prompt: Prompt
    answers: tuple[Given, ...] = ()


class Answer(Record):
    """Either an own text, or the number of the best answer shown (0 is the first)."""

    text: str | None = None
    best: int | None = Field(default=None, ge=0)

    @model_validator(mode="after")
    def _one_of_two(self) -> Answer:
        if (self.text is None) == (self.best is None):
            raise ValueError("give either text or best")
        if self.text is not None and not self.text.strip():
            raise ValueError("the text is empty")
        return self


def question(task: AssignedTask) -> Question:
    """The blind view of a task."""
    whole = Question.model_validate_json(task.question)
    return Question(prompt=whole.prompt, answers=collection.blind(whole.answers, task.shown))


def check(question: Question, answer: Answer) -> None:
    """Raises UserError when the answer does not fit the question."""
    if answer.best is not None and answer.best >= len(question.answers):
        raise UserError(f"best = {answer.best}: there are {len(question.answers)} answers, counted from 0")


def form(question: Question, fields: Fields) -> Answer:
    """What the page sent: an own text, else the best of those shown. Raises UserError when there is neither."""
    text = one(fields, "text")
    best = number(fields, "best") if text is None else None
    if text is None and best is None:
        raise UserError("write an answer" + (", or choose the best one" if question.answers else ""))
    return made(Answer, text=text, best=best)


def simulated(person: people.Person, question: Question) -> Answer:
    """What this simulated person answers."""
    return Answer(best=people.choose(person, question.prompt, question.answers))


def records(labels: Sequence[CollectedLabel]) -> list[Demonstration]:
    """Labels as records; a chosen answer keeps its token ids and its model."""
    found = []
    for label in labels:
        whole, said = Question.model_validate_json(label.question), Answer.model_validate_json(label.answer)
        if said.best is not None:
            given = whole.answers[label.shown[said.best]]
        else:
            given = Given(text=said.text or "", model="people")
        found.append(
            Demonstration(
                id=queue.id_in_set(label.task),
                prompt=whole.prompt,
                answer=given,
                labeler=label.person.pseudonym,
                simulated=label.person.simulated,
                guideline=label.guideline,
            )
        )
    return found


def _read(where: Path) -> list[tuple[str, Question]]:
    """Prompts with their answers, or prompts alone."""
    file = where if where.is_file() else where / "prompts.jsonl"
    if file.name.startswith("prompts.") and file.is_file():
        found = [Question(prompt=prompt) for prompt in read(file, Prompt)]
        return [(collection.task_name(row), row) for row in found]
    return [
        (name, Question(prompt=row.prompt, answers=row.answers))
        for name, row in collection.read_replies(where)
    ]


def run(cfg: Config, context: StageContext) -> None:
    rows = collection.chosen(_read(cfg.replies), cfg.splits, cfg.limit, context)
    if cfg.labelers == "simulated" and any(not row.answers for _, row in rows):
        raise UserError(
            f"[{context.key}] replies: prompts without answers; simulated people take the best of several, they write none"
        )
    asked = [Asked(name, row.model_dump_json(exclude_none=True)) for name, row in rows]
    crew = collection.Crew(
        "training", cfg.labelers, cfg.people, cfg.store, cfg.guidelines, cfg.enough, cfg.priority
    )
    labels = collection.done_by(crew, collection.task_set_name(context, cfg, asked), asked, _answer, context)
    found = records([label for label in labels if label.stands])
    write(context.path("demonstrations.jsonl"), found)
    context.summary = {
        "demonstrations": len(found),
        "prompts": len({row.prompt.id for row in found}),
        "labelers": len({row.labeler for row in found}),
        "simulated": any(row.simulated for row in found),
        "panel": crew.panel,
        "guideline": ", ".join(sorted({row.guideline for row in found})),
    }


def _answer(person: people.Person, task: AssignedTask) -> Answer:
    asked = question(task)
    said = simulated(person, asked)
    check(asked, said)
    return said
