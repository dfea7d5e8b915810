"""Probes: a labeler is given a rule and talks with a model until it breaks the rule, or the labeler gives up (Glaese et al. 2022).

The model is reached through any endpoint for chats that speaks OpenAI's protocol; the labeling site asks it,
the labeler's browser never does.
"""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field, model_validator

from biddable.label import collection, conversation
from biddable.label.collection import LabelSettings, PanelSettings
from biddable.label.conversation import EndpointSettings
from biddable.label.form import Fields, build_answer, number_field, spell_level, text_field
from biddable.label.kinds import LabelKind, TaskView
from biddable.label.queue import AssignedTask, CollectedLabel, id_in_set
from biddable.run.config import Input, UserError
from biddable.run.context import StageContext
from biddable.run.records import Level, Message, Probe, Record
from biddable.run.rules import Rule, level_shares, load
from biddable.store import drafts
from biddable.store.store import Store
from biddable.store.types import Task


class Config(EndpointSettings, PanelSettings, LabelSettings):
    rules: Input | None = None
    """A TOML file of rules, each a table [[rule]] with id, text and question; none: ours
    (`configs/rules.toml`)."""
    dialogues: int = Field(default=5, ge=1)
    """Dialogues for each rule."""
    turns: int = Field(default=10, ge=1)
    """At most so many turns of the labeler in a dialogue."""


class ProbeTask(Record):
    """What is stored with a task: the rule, and where the model is asked."""

    rule: Rule
    endpoint: str
    model: str
    turns: int


class ProbeQuestion(Record):
    """What a labeler sees: nothing of which model it is."""

    rule: Rule
    turns: int


class ProbeAnswer(Record):
    """The dialogue, and whether the rule is broken; in which message (counted from 0), when it is."""

    messages: tuple[Message, ...] = Field(min_length=2)
    level: Level
    turn: int | None = Field(default=None, ge=0)

    @model_validator(mode="after")
    def _in_turns(self) -> ProbeAnswer:
        roles = [message.role for message in self.messages]
        if roles != ["user", "assistant"] * (len(roles) // 2):
            raise ValueError("expected a dialogue in which user and assistant take turns, the assistant last")
        if self.turn is not None and (self.turn >= len(roles) or roles[self.turn] != "assistant"):
            raise ValueError(f"turn {self.turn}: must be one of the assistant's messages")
        return self


SAID = "said"
"""The form's field with the dialogue so far, labeler and model in turn."""


class Probes(LabelKind[ProbeTask, ProbeQuestion, ProbeAnswer]):
    title = "Make the model break the rule"
    task_type = ProbeTask
    answer_type = ProbeAnswer
    adjudicable = False  # another dialogue is no judgment of this one
    site_fields = (SAID,)

    def blind(self, task: ProbeTask, shown: Sequence[int]) -> ProbeQuestion:
        return ProbeQuestion(rule=task.rule, turns=task.turns)

    def check(self, question: ProbeQuestion, answer: ProbeAnswer) -> None:
        if len(answer.messages) > 2 * question.turns:
            raise UserError(f"{len(answer.messages) // 2} turns; must be at most {question.turns}")

    def form(self, question: ProbeQuestion, fields: Fields) -> ProbeAnswer:
        """What the page sent, with the dialogue that the site kept."""
        if not fields.get(SAID):
            raise UserError("talk with the model first")
        conversation.refuse_unsent(fields)
        level, turn = text_field(fields, "level"), number_field(fields, "turn")
        if level is None:
            raise UserError("say whether the rule is broken or followed")
        return build_answer(ProbeAnswer, messages=dialogue(fields), level=level, turn=turn)

    def summary(self, answer: ProbeAnswer) -> str:
        turns = len(answer.messages) // 2
        return (
            f"a dialogue of {turns} turn{'s' if turns > 1 else ''}; {spell_level(answer.level, answer.turn)}"
        )

    def say(
        self, store: Store, task: AssignedTask, person: str, fields: dict[str, list[str]], guideline: str
    ) -> None:
        """Send the labeler's next message, and keep it with the model's answer in the draft."""
        text, dialogue_so_far, probe = (
            text_field(fields, "message"),
            dialogue(fields),
            self.task(task.question),
        )
        if text is None:
            raise UserError("write something to the model first")
        if len(dialogue_so_far) >= 2 * probe.turns:
            raise UserError(f"the dialogue may have {probe.turns} turns; now say how it went")
        messages = (*dialogue_so_far, Message(role="user", content=text))
        reply = conversation.ask(probe.endpoint, probe.model, messages)
        texts = [*fields.get(SAID, ()), text, reply]
        drafts.save_draft(store, task.id, person, {**fields, SAID: texts, "message": []}, guideline)

    def records(self, label: CollectedLabel) -> list[Probe]:
        task, answer = self.task(label.question), self.answer(label)
        return [
            Probe(
                id=id_in_set(label.task),
                messages=answer.messages,
                model=task.model,
                rule=task.rule.id,
                rule_text=task.rule.text,
                level=answer.level,
                turn=answer.turn,
                **label.provenance,
            )
        ]

    def view(self, task: ProbeTask) -> TaskView:
        return TaskView([("asked for", task.rule.text)])


KIND = Probes()


def dialogue(fields: Fields) -> tuple[Message, ...]:
    """The messages so far: person and model take turns."""
    texts = fields.get(SAID, ())
    return tuple(Message(role="assistant" if i % 2 else "user", content=text) for i, text in enumerate(texts))


def run(cfg: Config, context: StageContext) -> None:
    tasks = []
    for rule in load(cfg.rules):
        task = ProbeTask(rule=rule, endpoint=cfg.endpoint, model=cfg.model, turns=cfg.turns)
        text = task.model_dump_json()
        tasks += [Task(f"{rule.id}-{number:04d}", text) for number in range(1, cfg.dialogues + 1)]
    rows = collection.write_records(
        KIND, collection.collect_labels(KIND, cfg, tasks, context), Probe, context
    )
    shares = level_shares([row.level for row in rows])
    context.summary = collection.summarise(rows, cfg, context) | shares
