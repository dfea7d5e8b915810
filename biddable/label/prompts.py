"""Prompts that labelers write: plain ones, few-shot ones (an instruction with several queries and their answers), and ones from a use case.

As Ouyang et al. 2022, A.1 began, when nobody had sent a prompt yet. The k pairs of a few-shot prompt give k
prompts, each with the other k - 1 pairs in its context and with its own answer as a demonstration (A.3).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Literal

from pydantic import Field, model_validator

from biddable.label import collection
from biddable.label.collection import LabelSettings
from biddable.label.form import Fields, build_answer, text_field
from biddable.label.kinds import LabelKind, TaskView
from biddable.label.queue import CollectedLabel
from biddable.run.config import Input, UserError
from biddable.run.context import StageContext
from biddable.run.jsonl import read, write
from biddable.run.records import Answer, Demonstration, Message, Prompt, Record, Text
from biddable.store.types import Task

Form = Literal["plain", "few_shot", "user_based"]


class Config(LabelSettings):
    plain: int = Field(default=100, ge=0)
    """Prompts of any task; labelers are asked for variety."""
    few_shot: int = Field(default=20, ge=0)
    """Instructions with several queries and their answers."""
    pairs: int = Field(default=4, ge=2, le=20)
    """At least so many queries with answers belong to an instruction."""
    use_cases: Input | None = None
    """A JSONL file of use cases (records of kind Text), each told vaguely enough that nobody is known by it
    (A.1); none: no such prompts."""
    each: int = Field(default=3, ge=1)
    """Prompts for each use case."""


class PromptQuestion(Record):
    """What a labeler is asked for."""

    form: Form
    pairs: int = 0
    use_case: str | None = None


class FewShotPair(Record):
    """A query and the answer to it."""

    query: str = Field(min_length=1)
    answer: str = Field(min_length=1)


class PromptAnswer(Record):
    """The prompt, or the instruction that its pairs follow."""

    text: str
    pairs: tuple[FewShotPair, ...] = ()

    @model_validator(mode="after")
    def _not_empty(self) -> PromptAnswer:
        if not self.text.strip():
            raise ValueError("the prompt is empty")
        if any(not pair.query.strip() or not pair.answer.strip() for pair in self.pairs):
            raise ValueError("each query needs an answer, and each answer its query")
        if len({pair.query.strip() for pair in self.pairs}) < len(self.pairs):
            raise ValueError("two queries are the same")
        return self


class Prompts(LabelKind[PromptQuestion, PromptQuestion, PromptAnswer]):
    title = "Write a prompt"
    task_type = PromptQuestion
    answer_type = PromptAnswer

    def blind(self, task: PromptQuestion, shown: Sequence[int]) -> PromptQuestion:
        return task

    def check(self, question: PromptQuestion, answer: PromptAnswer) -> None:
        if question.form == "few_shot" and len(answer.pairs) < question.pairs:
            raise UserError(f"{len(answer.pairs)} queries with answers; must be at least {question.pairs}")
        if question.form != "few_shot" and answer.pairs:
            raise UserError("expected a prompt without queries and answers")

    def form(self, question: PromptQuestion, fields: Fields) -> PromptAnswer:
        """Pairs of which both halves are empty are left out."""
        rows = itertools.zip_longest(fields.get("query", ()), fields.get("answer", ()), fillvalue="")
        pairs = {
            number: {"query": query.strip(), "answer": answer.strip()}
            for number, (query, answer) in enumerate(rows, 1)
            if query.strip() or answer.strip()
        }
        text = text_field(fields, "text") or ""
        if errors := _form_errors(question, text, pairs):
            raise UserError(errors)
        return build_answer(PromptAnswer, text=text, pairs=list(pairs.values()))

    def summary(self, answer: PromptAnswer) -> str:
        pairs = f"{len(answer.pairs)} queries with answers for: " if answer.pairs else "your prompt: "
        return pairs + answer.text

    def records(self, label: CollectedLabel) -> list[Prompt | Demonstration]:
        """The prompts, and where the labeler gave the answers too, demonstrations of them."""
        answer, form = self.answer(label), self.task(label.question).form
        if not answer.pairs:
            return [_prompt(label, label.record_id, answer.text, form)]
        rows: list[Prompt | Demonstration] = []
        for number, pair in enumerate(answer.pairs, 1):
            name = f"{label.record_id}-{number}"
            prompt = _prompt(label, name, few_shot(answer.text, answer.pairs, number - 1), form)
            demonstrated = Answer(text=pair.answer.strip(), model="people")
            rows += [prompt, Demonstration(id=name, prompt=prompt, answer=demonstrated, **label.provenance)]
        return rows

    def view(self, task: PromptQuestion) -> TaskView:
        return TaskView([("asked for", task.use_case or f"a {task.form.replace('_', '-')} prompt")])

    def text(self, answer: PromptAnswer) -> str:
        return answer.text


KIND = Prompts()


def _form_errors(question: PromptQuestion, text: str, pairs: dict[int, dict[str, str]]) -> list[str]:
    """What is missing or wrong in a form; `pairs` by their number on the page."""
    errors = []
    if not text:
        errors.append(f"{'the instruction' if question.form == 'few_shot' else 'the prompt'} is empty")
    errors += [
        f"{number}: the {half} is missing"
        for number, pair in pairs.items()
        for half in ("query", "answer")
        if not pair[half]
    ]
    complete = sum(bool(pair["query"] and pair["answer"]) for pair in pairs.values())
    if question.form == "few_shot" and complete < question.pairs:
        errors.append(f"{complete} queries with answers; must be at least {question.pairs}")
    queries = [pair["query"] for pair in pairs.values() if pair["query"]]
    if len(set(queries)) < len(queries):
        errors.append("two queries are the same")
    return errors


def few_shot(text: str, pairs: Sequence[FewShotPair], last: int) -> str:
    """An instruction with all pairs but one, and that one's query last."""
    shots = [
        f"Query: {pair.query.strip()}\nAnswer: {pair.answer.strip()}"
        for i, pair in enumerate(pairs)
        if i != last
    ]
    return "\n\n".join([text.strip(), *shots, f"Query: {pairs[last].query.strip()}\nAnswer:"])


def _prompt(label: CollectedLabel, name: str, text: str, form: Form) -> Prompt:
    return Prompt(
        id=name,
        messages=(Message(role="user", content=text),),
        user=label.person.pseudonym,
        source=f"labeler, {form}",
    )


def _questions(cfg: Config) -> list[tuple[str, PromptQuestion]]:
    """Each question with its task's id."""
    rows = [(f"plain-{n:05d}", PromptQuestion(form="plain")) for n in range(1, cfg.plain + 1)]
    few_shot_question = PromptQuestion(form="few_shot", pairs=cfg.pairs)
    rows += [(f"few-shot-{n:05d}", few_shot_question) for n in range(1, cfg.few_shot + 1)]
    for i, case in enumerate([] if cfg.use_cases is None else read(cfg.use_cases, Text), 1):
        question = PromptQuestion(form="user_based", use_case=case.text)
        rows += [(f"case-{i:05d}-{n}", question) for n in range(1, cfg.each + 1)]
    return rows


def run(cfg: Config, context: StageContext) -> None:
    questions = _questions(cfg)
    if not questions:
        raise UserError(f"[{context.key}] plain, few_shot, use_cases: nothing is asked for")
    tasks = [Task(name, question.model_dump_json(exclude_none=True)) for name, question in questions]
    labels = collection.collect_labels(KIND, cfg, tasks, context)
    prompts = collection.write_records(KIND, labels, Prompt, context)
    if demonstrations := collection.records_of(KIND, labels, Demonstration):
        write(context.path("demonstrations.jsonl"), demonstrations)
    context.summary = {
        "prompts": len(prompts),
        "demonstrations": len(demonstrations),
        "labelers": len({row.user for row in prompts}),
        "simulated": False,
        "panel": collection.panel_of(cfg),
        "guideline": ", ".join(sorted({label.guideline for label in labels})),
    }
