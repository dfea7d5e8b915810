"""Prompts that labelers write: plain ones, few-shot ones (an instruction with several queries and their answers), and ones from a use case.

As Ouyang et al. 2022, A.1 began, when nobody had sent a prompt yet. The k pairs of a few-shot prompt give k prompts, each with the other k - 1
pairs in its context and with its own answer as a demonstration (A.3).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Literal

from pydantic import Field, model_validator

from biddable.label import collection, queue
from biddable.label.form import Fields, made, one
from biddable.label.queue import AssignedTask, CollectedLabel
from biddable.run.config import Input, Settings, UserError
from biddable.run.context import StageContext
from biddable.run.jsonl import read, write
from biddable.run.records import Answer as Given
from biddable.run.records import Demonstration, Message, Prompt, Record, Text
from biddable.store.types import Task as Asked

Form = Literal["plain", "few_shot", "user_based"]


class Config(Settings):
    plain: int = Field(default=100, ge=0)
    """Prompts of any task; labelers are asked for variety."""
    few_shot: int = Field(default=20, ge=0)
    """Instructions with several queries and their answers."""
    pairs: int = Field(default=4, ge=2, le=20)
    """At least so many queries with answers belong to an instruction."""
    use_cases: Input | None = None
    """A JSONL file of use cases (records of kind Text), each told vaguely enough that nobody is known by it (A.1); none: no such prompts."""
    each: int = Field(default=3, ge=1)
    """Prompts for each use case."""
    guidelines: Input | None = None
    """A folder with `training.md` and `evaluation.md` to show instead of ours; every answer is stamped with the version seen."""
    enough: float = Field(default=1.0, gt=0, le=1)
    """Share of the wanted prompts after which the records are written."""
    priority: int = 0
    """People are offered tasks of higher priority first."""
    store: str | None = None
    """The store's path or SQLAlchemy URL; none: store.db in the run's folder."""


class Question(Record):
    """What a labeler is asked for."""

    form: Form
    pairs: int = 0
    use_case: str | None = None


class Pair(Record):
    """A query and the answer to it."""

    query: str = Field(min_length=1)
    answer: str = Field(min_length=1)


class Answer(Record):
    """The prompt, or the instruction that its pairs follow."""

    text: str
    pairs: tuple[Pair, ...] = ()

    @model_validator(mode="after")
    def _not_empty(self) -> Answer:
        if not self.text.strip():
            raise ValueError("the prompt is empty")
        if any(not pair.query.strip() or not pair.answer.strip() for pair in self.pairs):
            raise ValueError("each query needs an answer, and each answer its query")
        if len({pair.query.strip() for pair in self.pairs}) < len(self.pairs):
            raise ValueError("two queries are the same")
        return self


def question(task: AssignedTask) -> Question:
    """What the labeler sees."""
    return Question.model_validate_json(task.question)


def check(question: Question, answer: Answer) -> None:
    """Raises UserError when the answer does not fit the question."""
    if question.form == "few_shot" and len(answer.pairs) < question.pairs:
        raise UserError(f"{len(answer.pairs)} queries with answers; at least {question.pairs} were expected")
    if question.form != "few_shot" and answer.pairs:
        raise UserError("a prompt without queries and answers was expected")


def form(question: Question, fields: Fields) -> Answer:
    """What the page sent; pairs of which both halves are empty are left out."""
    rows = itertools.zip_longest(fields.get("query", ()), fields.get("answer", ()), fillvalue="")
    numbered = [
        (n, {"query": q.strip(), "answer": a.strip()})
        for n, (q, a) in enumerate(rows, 1)
        if q.strip() or a.strip()
    ]
    pairs = [pair for _, pair in numbered]
    wrong = (
        []
        if one(fields, "text")
        else [f"{'the instruction' if question.form == 'few_shot' else 'the prompt'} is empty"]
    )
    wrong += [
        f"{number}: the {half} is missing"
        for number, pair in numbered
        for half in ("query", "answer")
        if not pair[half]
    ]
    whole = sum(bool(pair["query"] and pair["answer"]) for pair in pairs)
    if question.form == "few_shot" and whole < question.pairs:
        wrong.append(f"{whole} queries with answers; at least {question.pairs} were expected")
    asked = [pair["query"] for pair in pairs if pair["query"]]
    if len(set(asked)) < len(asked):
        wrong.append("two queries are the same")
    if wrong:
        raise UserError(wrong)
    return made(Answer, text=one(fields, "text") or "", pairs=pairs)


def few_shot(text: str, pairs: Sequence[Pair], asked: int) -> str:
    """An instruction with all pairs but one, and that one's query last."""
    shown = [
        f"Query: {pair.query.strip()}\nAnswer: {pair.answer.strip()}"
        for i, pair in enumerate(pairs)
        if i != asked
    ]
    return "\n\n".join([text.strip(), *shown, f"Query: {pairs[asked].query.strip()}\nAnswer:"])


def records(labels: Sequence[CollectedLabel]) -> tuple[list[Prompt], list[Demonstration]]:
    """Labels as prompts, and as demonstrations where the labeler gave the answers too."""
    prompts: list[Prompt] = []
    demonstrations: list[Demonstration] = []
    for label in labels:
        said, name, who = Answer.model_validate_json(label.answer), queue.id_in_set(label.task), label.person
        form = Question.model_validate_json(label.question).form
        texts = [few_shot(said.text, said.pairs, i) for i in range(len(said.pairs))] or [said.text]
        for number, text in enumerate(texts, 1):
            own = f"{name}-{who.pseudonym}" + (f"-{number}" if said.pairs else "")
            prompt = Prompt(
                id=own,
                messages=(Message(role="user", content=text),),
                user=who.pseudonym,
                source=f"labeler, {form}",
            )
            prompts.append(prompt)
            if said.pairs:
                given = Given(text=said.pairs[number - 1].answer.strip(), model="people")
                demonstrations.append(
                    Demonstration(
                        id=own,
                        prompt=prompt,
                        answer=given,
                        labeler=who.pseudonym,
                        simulated=who.simulated,
                        guideline=label.guideline,
                    )
                )
    return prompts, demonstrations


def run(cfg: Config, context: StageContext) -> None:
    wanted = [(f"plain-{n:05d}", Question(form="plain")) for n in range(1, cfg.plain + 1)]
    wanted += [
        (f"few-shot-{n:05d}", Question(form="few_shot", pairs=cfg.pairs)) for n in range(1, cfg.few_shot + 1)
    ]
    if cfg.use_cases is not None:
        cases = read(cfg.use_cases, Text)
        wanted += [
            (f"case-{i:05d}-{n}", Question(form="user_based", use_case=row.text))
            for i, row in enumerate(cases, 1)
            for n in range(1, cfg.each + 1)
        ]
    if not wanted:
        raise UserError(f"[{context.key}] plain, few_shot, use_cases: nothing is asked for")
    asked = [Asked(name, one.model_dump_json(exclude_none=True)) for name, one in wanted]
    labels = collection.asked_of_people(
        "training",
        cfg.store,
        cfg.guidelines,
        cfg.enough,
        cfg.priority,
        collection.task_set_name(context, cfg, asked),
        asked,
        context,
    )
    prompts, demonstrations = records([label for label in labels if label.stands])
    prompts.sort(key=lambda row: row.id)
    write(context.path("prompts.jsonl"), prompts)
    if demonstrations:
        demonstrations.sort(key=lambda row: row.id)
        write(context.path("demonstrations.jsonl"), demonstrations)
    context.summary = {
        "prompts": len(prompts),
        "demonstrations": len(demonstrations),
        "labelers": len({row.user for row in prompts}),
        "simulated": False,
        "panel": "training",
        "guideline": ", ".join(sorted({label.guideline for label in labels})),
    }
