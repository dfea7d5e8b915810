"""Turns: a labeler talks with a model that gives K answers at each turn; the best one is chosen, and the dialogue goes on from it (Glaese et al. 2022).

Each turn becomes a comparison: the prompt is the dialogue so far, the chosen answer has rank 1, the others
rank 2. The site asks the model, through any endpoint for chats that speaks OpenAI's protocol; the labeler's
browser never does. With `user = "model"` the model writes the user's messages too, all but the first.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import Field, model_validator

from biddable.label import collection, conversation
from biddable.label.collection import LabelSettings, PanelSettings
from biddable.label.conversation import EndpointSettings
from biddable.label.form import LETTERS, Fields, build_answer, number_field, text_field
from biddable.label.kinds import LabelKind, TaskView
from biddable.label.queue import AssignedTask, CollectedLabel, id_in_set
from biddable.run import jsonl
from biddable.run.config import UserError
from biddable.run.context import StageContext
from biddable.run.records import Answer, Comparison, Message, Prompt, Record, Split, hash_fraction
from biddable.store import drafts
from biddable.store.store import Store
from biddable.store.types import Task


class Config(EndpointSettings, PanelSettings, LabelSettings):
    dialogues: int = Field(default=50, ge=1)
    """Dialogues that people hold."""
    turns: int = Field(default=5, ge=1)
    """At most so many turns of the user in a dialogue."""
    answers: int = Field(default=4, ge=2, le=7)
    """Answers at each turn, K; the keys 1 to 7 choose one. The server must sample (a temperature above 0): they should differ."""
    user: Literal["labeler", "model"] = "labeler"
    """Who writes the user's messages after the first, which is always the labeler's."""

    valid_share: float = Field(default=0.1, ge=0, le=1)
    """Share of the dialogues, chosen by hash, whose turns are of the split `valid`; the others are of `train`. A
    held-out panel's are only measured on: set 1 there."""


class Turn(Record):
    """A message of the user and the model's answers in the order shown. `choice` is the place of the best
    one; none: there was none to go on with. `all_bad`: none is good, even the chosen one."""

    message: str = Field(min_length=1)
    answers: tuple[str, ...] = Field(min_length=2)
    choice: int | None = Field(default=None, ge=0)
    all_bad: bool | None = None


class TurnsAnswer(Record):
    """The dialogue, turn by turn. Only the last turn may be without a choice, if none of its answers is
    good."""

    turns: tuple[Turn, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _goes_on_from_choices(self) -> TurnsAnswer:
        for number, turn in enumerate(self.turns, 1):
            if turn.choice is None and (number < len(self.turns) or not turn.all_bad):
                raise ValueError(f"turn {number}: choose the best answer")
            if turn.choice is not None and turn.choice >= len(turn.answers):
                raise ValueError(f"turn {number}: there are {len(turn.answers)} answers")
        return self


PAST = "past"
"""The form's field with the turns so far, each a `Turn` as JSON; the last one waits for its choice."""


class TurnsQuestion(Record):
    """What a labeler sees: nothing of which model it is."""

    turns: int
    user: Literal["labeler", "model"]

    def past(self, fields: Fields) -> tuple[Turn, ...]:
        """The turns that a form or a draft holds, as the site kept them."""
        return tuple(Turn.model_validate_json(text) for text in fields.get(PAST, ()))


class TurnsTask(TurnsQuestion):
    """What is stored with a task: how long the dialogue may be, and where the model is asked."""

    answers_each: int
    endpoint: str
    model: str
    split: Split = "train"


class Turns(LabelKind[TurnsTask, TurnsQuestion, TurnsAnswer]):
    title = "Talk with the model, and choose its best answers"
    task_type = TurnsTask
    answer_type = TurnsAnswer
    adjudicable = False  # another dialogue is no judgment of this one
    site_fields = (PAST,)

    def blind(self, task: TurnsTask, shown: Sequence[int]) -> TurnsQuestion:
        return TurnsQuestion(turns=task.turns, user=task.user)

    def check(self, question: TurnsQuestion, answer: TurnsAnswer) -> None:
        if len(answer.turns) > question.turns:
            raise UserError(f"{len(answer.turns)} turns; must be at most {question.turns}")

    def form(self, question: TurnsQuestion, fields: Fields) -> TurnsAnswer:
        """The dialogue that the site kept, with the last turn's choice from the page."""
        turns = question.past(fields)
        if not turns:
            raise UserError("talk with the model first")
        conversation.refuse_unsent(fields)
        return build_answer(TurnsAnswer, turns=(*turns[:-1], judged(turns[-1], fields)))

    def summary(self, answer: TurnsAnswer) -> str:
        choices = ["none" if turn.choice is None else LETTERS[turn.choice] for turn in answer.turns]
        return f"a dialogue; chosen: {', '.join(choices)}"

    def say(
        self, store: Store, task: AssignedTask, person: str, fields: dict[str, list[str]], guideline: str
    ) -> None:
        """Go on from the chosen answer: send the next message, and keep it with the model's answers in the
        draft. Nothing of the draft changes while the model does not answer."""
        settings = self.task(task.question)
        turns = settings.past(fields)
        if len(turns) >= settings.turns:
            raise UserError(
                f"the dialogue may have {settings.turns} turns; choose the best answer and send it"
            )
        if turns:
            turns = (*turns[:-1], judged(turns[-1], fields))
            if turns[-1].choice is None:
                raise UserError("choose the answer from which the dialogue goes on, or send it as it is")
        text = text_field(fields, "message")
        if text is None and turns and settings.user == "model":
            text = conversation.ask(settings.endpoint, settings.model, users_turn(dialogue(turns)))
        if text is None:
            raise UserError("write something to the model first")
        messages = (*dialogue(turns), Message(role="user", content=text))
        texts = conversation.ask_for_several(
            settings.endpoint, settings.model, messages, settings.answers_each
        )
        turns = (*turns, Turn(message=text, answers=tuple(texts)))
        past = [turn.model_dump_json(exclude_none=True) for turn in turns]
        drafts.save_draft(store, task.id, person, {PAST: past}, guideline)

    def records(self, label: CollectedLabel) -> list[Comparison]:
        """A comparison for each turn: the chosen answer has rank 1, the others 2; all have 1 where none was
        chosen, so that nothing is learned from their order."""
        task, turns = self.task(label.question), self.answer(label).turns
        rows = []
        for number, turn in enumerate(turns, 1):
            name = f"{id_in_set(label.task)}-{number}"
            messages = (*dialogue(turns[: number - 1]), Message(role="user", content=turn.message))
            others = 1 if turn.choice is None else 2
            rows.append(
                Comparison(
                    id=f"{name}-{label.person.pseudonym}",
                    prompt=Prompt(
                        id=name,
                        messages=messages,
                        user=label.person.pseudonym,
                        source="turns",
                        split=task.split,
                    ),
                    answers=tuple(Answer(text=text, model=task.model) for text in turn.answers),
                    ranks=tuple(1 if place == turn.choice else others for place in range(len(turn.answers))),
                    all_bad=turn.all_bad,
                    panel=label.person.panel,
                    **label.provenance,
                )
            )
        return rows

    def view(self, task: TurnsTask) -> TaskView:
        return TaskView([("asked for", f"a dialogue of at most {task.turns} turns")])


KIND = Turns()


def judged(turn: Turn, fields: Fields) -> Turn:
    """The turn with the choice and the mark that the page holds. Raises UserError for a place that is not
    there."""
    choice, all_bad = number_field(fields, "choice"), text_field(fields, "all_bad") is not None
    if choice is not None and choice >= len(turn.answers):
        raise UserError(f"choice: there are {len(turn.answers)} answers")
    return turn.model_copy(update={"choice": choice, "all_bad": all_bad or None})


def dialogue(turns: Sequence[Turn]) -> tuple[Message, ...]:
    """The dialogue that the choices made: each message with the chosen answer."""
    messages: list[Message] = []
    for turn in turns:
        assert turn.choice is not None, "the dialogue goes on from choices only"
        messages.append(Message(role="user", content=turn.message))
        messages.append(Message(role="assistant", content=turn.answers[turn.choice]))
    return tuple(messages)


def users_turn(messages: Sequence[Message]) -> tuple[Message, ...]:
    """The request for the user's next message. A chat endpoint only answers as the assistant, so it gets the
    dialogue as a text to continue."""
    names = {"user": "User", "assistant": "Assistant"}
    text = "\n\n".join(f"{names[message.role]}: {message.content}" for message in messages)
    request = f"Here is a conversation.\n\n{text}\n\nWrite the user's next message, and nothing else."
    return (Message(role="user", content=request),)


def run(cfg: Config, context: StageContext) -> None:
    task = TurnsTask(
        turns=cfg.turns, user=cfg.user, answers_each=cfg.answers, endpoint=cfg.endpoint, model=cfg.model
    )
    tasks = []
    for name in (f"dialogue-{number:05d}" for number in range(1, cfg.dialogues + 1)):
        # a dialogue's turns share their text, so they share a split
        in_valid = hash_fraction("split", context.seed, name) < cfg.valid_share
        row = task.model_copy(update={"split": "valid" if in_valid else "train"})
        tasks.append(Task(name, row.model_dump_json()))
    labels = collection.collect_labels(KIND, cfg, tasks, context)
    rows = collection.records_of(KIND, labels, Comparison)
    jsonl.write(context.path("comparisons.jsonl"), rows)
    context.summary = {
        **collection.summarise(rows, cfg, context),
        "dialogues": sum(label.stands for label in labels),
        "all_bad": sum(bool(row.all_bad) for row in rows),
    }
