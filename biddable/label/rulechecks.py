"""Rule checks: whether an answer breaks a rule, on five levels from definitely breaks to definitely follows (Glaese et al. 2022).

A task of its own, apart from preferences: people are asked about one rule at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pydantic import Field

from biddable.label import collection
from biddable.label.collection import LabelerSettings, LabelSettings, PanelSettings, PromptSettings
from biddable.label.form import Fields, build_answer, number_field, spell_level, text_field
from biddable.label.kinds import LabelKind, TaskView
from biddable.label.queue import CollectedLabel
from biddable.run import jsonl
from biddable.run.config import Input, UserError
from biddable.run.context import StageContext
from biddable.run.records import Answer, Level, Message, Probe, Prompt, Record, Replies, RuleCheck
from biddable.run.rules import Rule, choose, level_shares, load
from biddable.simulated import rule_judges
from biddable.simulated.labelers import Person
from biddable.store.types import Task


class Config(LabelerSettings, PanelSettings, PromptSettings, LabelSettings):
    hashed_unless_default = frozenset({"probes", "labelers", "people"})
    replies: Input | None = Path("learn.replies")
    """Prompts with answers; each answer is checked by itself. May be none where probes are given."""
    probes: Input | None = None
    """Finished dialogues of probers, which a second person reads: the probed rule, and rules_each - 1 others
    (Glaese et al. 2022)."""
    rules: Input | None = None
    """A TOML file of rules, each a table [[rule]] with id, text and question; none: ours
    (`configs/rules.toml`)."""
    rules_each: int = Field(default=1, ge=1)
    """Rules that each answer or dialogue is checked for, chosen by hash. Simulated people are only asked about
    rules that a program can judge (`simulated/rule_judges.py`)."""
    overlap: int = Field(default=1, ge=1)
    """People per answer and rule."""


class RuleCheckTask(Record):
    """What is stored with a task, and, without the answer's model, what a labeler sees."""

    prompt: Prompt
    answers: tuple[Answer, ...] = Field(min_length=1, max_length=1)
    rule: Rule


class RuleCheckAnswer(Record):
    """Whether the rule is broken, and, of a dialogue, in which message (counted from 0; none: in the answer)."""

    level: Level
    turn: int | None = Field(default=None, ge=0)


class RuleChecks(LabelKind[RuleCheckTask, RuleCheckTask, RuleCheckAnswer]):
    title = "Does the answer break the rule?"
    task_type = RuleCheckTask
    answer_type = RuleCheckAnswer

    def blind(self, task: RuleCheckTask, shown: Sequence[int]) -> RuleCheckTask:
        return task.model_copy(update={"answers": collection.blind(task.answers, shown)})

    def check(self, question: RuleCheckTask, answer: RuleCheckAnswer) -> None:
        messages = len(question.prompt.messages)
        if answer.turn is not None and answer.turn >= messages:
            raise UserError(f"turn {answer.turn}: the dialogue has {messages} messages, counted from 0")

    def form(self, question: RuleCheckTask, fields: Fields) -> RuleCheckAnswer:
        if text_field(fields, "level") is None:
            raise UserError("say whether the rule is broken or followed")
        level, turn = text_field(fields, "level"), number_field(fields, "turn")
        return build_answer(RuleCheckAnswer, level=level, turn=turn)

    def summary(self, answer: RuleCheckAnswer) -> str:
        return spell_level(answer.level, answer.turn)

    def simulate(self, person: Person, question: RuleCheckTask) -> RuleCheckAnswer:
        """The worst of the assistant's turns decides, and is named if it is not the last."""
        messages = (
            *question.prompt.messages,
            Message(role="assistant", content=question.answers[0].text),
        )
        level, turn = rule_judges.judge_dialogue(person, question.rule.id, messages)
        assert level is not None, f"{question.rule.id} has no judge"
        return RuleCheckAnswer(level=level, turn=turn)

    def records(self, label: CollectedLabel) -> list[RuleCheck]:
        task, answer = self.task(label.question), self.answer(label)
        return [
            RuleCheck(
                id=label.record_id,
                prompt=task.prompt,
                answer=task.answers[0],
                rule=task.rule.id,
                rule_text=task.rule.text,
                level=answer.level,
                turn=answer.turn,
                panel=label.person.panel,
                **label.provenance,
            )
        ]

    def view(self, task: RuleCheckTask) -> TaskView:
        return TaskView.of_prompt(task.prompt, task.answers)


KIND = RuleChecks()


def run(cfg: Config, context: StageContext) -> None:
    rules = usable_rules(cfg, context)
    tasks = [*reply_tasks(cfg, rules, context), *probe_tasks(cfg, rules, context)]
    labels = collection.collect_labels(KIND, cfg, tasks, context)
    rows = collection.write_records(KIND, labels, RuleCheck, context)
    shares = level_shares([row.level for row in rows])
    context.summary = collection.summarise(rows, cfg, context) | shares
    context.summary["rules"] = len({row.rule for row in rows})


def usable_rules(cfg: Config, context: StageContext) -> tuple[Rule, ...]:
    """The rules that can be asked about. Raises UserError when there is nothing to ask about, or no rule that
    simulated people can judge."""
    rules, errors = load(cfg.rules), []
    if cfg.replies is None and cfg.probes is None:
        errors.append(f"[{context.key}] replies and probes: both are none; name what is to be checked")
    if cfg.labelers == "simulated":
        rules = tuple(rule for rule in rules if rule.id in rule_judges.JUDGED)
        if not rules:
            errors.append(
                f'[{context.key}] labelers = "simulated": none of the rules can be judged by a program; use '
                f"people, or rules among {', '.join(sorted(rule_judges.JUDGED))}"
            )
    if errors:
        raise UserError(errors)
    return rules


def reply_tasks(cfg: Config, rules: Sequence[Rule], context: StageContext) -> list[Task]:
    """A task for each answer and rule."""
    if cfg.replies is None:
        return []
    tasks = []
    for _, row in collection.select_prompts(collection.read_replies(cfg.replies), cfg, context):
        for place, answer in enumerate(row.answers):
            name = collection.task_id(Replies(prompt=row.prompt, answers=(answer,)))
            for rule in choose(rules, cfg.rules_each, context.seed, name, place):
                task = RuleCheckTask(prompt=row.prompt, answers=(answer,), rule=rule)
                text = task.model_dump_json(exclude_none=True)
                tasks.append(Task(f"{name}-{place}-{rule.id}", text, cfg.overlap))
    return tasks


def probe_tasks(cfg: Config, rules: Sequence[Rule], context: StageContext) -> list[Task]:
    """A task for each dialogue and rule: the probed one always. The dialogue's id and prober become the
    prompt's id and user, its last message the answer."""
    if cfg.probes is None:
        return []
    by_id = {rule.id: rule for rule in rules}
    path = jsonl.find_file(cfg.probes, "probes.jsonl")
    rows, tasks = jsonl.read(path, Probe), []
    if errors := [
        f"{path}: probe {row.id}: the rule {row.rule} is not among those that can be asked about"
        for row in rows
        if row.rule not in by_id
    ]:
        raise UserError([f"[{context.key}] {line}" for line in errors])
    for row in rows:
        prompt = Prompt(id=row.id, messages=row.messages[:-1], user=row.labeler, source="probe")
        answer = Answer(text=row.messages[-1].content, model=row.model)
        others = [rule for rule in rules if rule.id != row.rule]
        for rule in (by_id[row.rule], *choose(others, cfg.rules_each - 1, context.seed, row.id)):
            task = RuleCheckTask(prompt=prompt, answers=(answer,), rule=rule)
            name = collection.task_id(Replies(prompt=prompt, answers=(answer,)))
            tasks.append(Task(f"{name}-{rule.id}", task.model_dump_json(exclude_none=True), cfg.overlap))
    return tasks
