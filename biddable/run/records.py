"""Records: the JSONL lines that rooms exchange. One class a kind; `docs/flow.md` shows an example of each.

Token ids travel with model-made answers: an answer decoded to text and tokenised again is another answer.
"""

from __future__ import annotations

import hashlib
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Split = Literal["train", "valid", "test"]
Finish = Literal["stop", "length"]
TIME = r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$"
"""A moment in UTC: 2026-11-21T10:15:00Z."""


class Record(BaseModel):
    """What all records share: frozen, no unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Message(Record):
    """One turn of a dialogue."""

    role: Literal["system", "user", "assistant"]
    content: str


class Wish(Record):
    """An explicit wish of a prompt that a program can check, e.g. {"kind": "sentences", "count": 1}. Read by
    simulated labelers only."""

    kind: Literal["sentences", "max_words", "bullets", "mention", "end_with", "avoid", "start_with"]
    count: int | None = Field(default=None, ge=1)
    words: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _can_be_checked(self) -> Wish:
        if self.kind in ("sentences", "max_words", "bullets"):
            if self.count is None:
                raise ValueError(f"a wish of kind {self.kind} needs a count")
        elif not self.words or not all(word.strip() for word in self.words):
            raise ValueError(f"a wish of kind {self.kind} needs words")
        return self


class Prompt(Record):
    """What a user asked: a dialogue that ends with a user turn."""

    id: str = Field(min_length=1)
    messages: tuple[Message, ...] = Field(min_length=1)
    user: str = Field(min_length=1)
    source: str = ""
    licence: str | None = None
    consent: str | None = None
    time: str | None = None
    use_case: str | None = None
    language: str | None = None
    wishes: tuple[Wish, ...] = ()
    split: Split | None = None

    @model_validator(mode="after")
    def _ends_with_user(self) -> Prompt:
        if self.messages[-1].role != "user":
            raise ValueError("the last message must be the user's")
        return self


class Text(Record):
    """A piece of running text, for the pretraining mix and for measuring the alignment tax."""

    id: str
    text: str = Field(min_length=1)
    source: str = ""
    split: Split = "train"


class Answer(Record):
    """One answer of one model to one prompt."""

    text: str
    model: str
    tokens: tuple[int, ...] | None = None
    finish: Finish = "stop"
    step: int | None = None
    kl: float | None = None
    score: float | None = None


class Replies(Record):
    """K answers to one prompt, by one or several models."""

    prompt: Prompt
    answers: tuple[Answer, ...] = Field(min_length=1)


class Demonstration(Record):
    """The answer a labeler would want to see."""

    id: str
    prompt: Prompt
    answer: Answer
    labeler: str
    simulated: bool
    guideline: str


class Comparison(Record):
    """One labeler's ranking of K answers. `ranks[i]` belongs to `answers[i]`; 1 is best, equal ranks are a
    tie.

    `overall[i]` is the 1 to 7 given to that answer before ranking, `metadata[i]` the form's yes/no questions
    (null: not asked).
    """

    id: str
    prompt: Prompt
    answers: tuple[Answer, ...] = Field(min_length=2)
    ranks: tuple[int, ...]
    overall: tuple[int | None, ...] | None = None
    metadata: tuple[dict[str, bool | None] | None, ...] | None = None
    all_bad: bool | None = None
    comment: str | None = None
    labeler: str
    panel: Literal["training", "held_out"]
    simulated: bool
    guideline: str

    @model_validator(mode="after")
    def _one_rank_each(self) -> Comparison:
        if len(self.ranks) != len(self.answers):
            raise ValueError(
                f"{len(self.answers)} answers but {len(self.ranks)} ranks; give one rank an answer"
            )
        if min(self.ranks) < 1:
            raise ValueError(f"ranks {list(self.ranks)}: ranks start at 1 (best)")
        return self


class Rating(Record):
    """One labeler's 1-7 of one answer, with the yes/no questions of the form (null: not asked or not
    applicable)."""

    id: str
    prompt: Prompt
    answer: Answer
    overall: int = Field(ge=1, le=7)
    metadata: dict[str, bool | None] = {}
    labeler: str
    panel: Literal["training", "held_out"]
    simulated: bool
    guideline: str


class Policy(Record):
    """Who answered a turn: the policy's stage folder and the hash of what it held (`content` of its
    manifest)."""

    folder: str
    content: str


class Sampling(Record):
    """How the answer to a turn was sampled."""

    temperature: float = Field(default=1.0, ge=0)
    top_p: float = Field(default=1.0, gt=0, le=1)
    top_k: int = Field(default=0, ge=0)
    max_tokens: int = Field(ge=1)
    seed: int | None = None
    stop: tuple[str, ...] = ()
    best_of: int = Field(default=1, ge=1)


class Turn(Record):
    """One answer that a served policy gave, kept because its user had agreed to that. Two answers to the same
    messages are two turns.

    `user` is a pseudonym; who stands behind it is known to the serving side only. `consent` is the version of
    the text that the user agreed to.
    """

    id: str = Field(min_length=1)
    conversation: str = Field(min_length=1)
    user: str = Field(min_length=1)
    time: str = Field(pattern=TIME)
    messages: tuple[Message, ...] = Field(min_length=1)
    answer: Answer
    policy: Policy
    sampling: Sampling
    consent: str = Field(min_length=1)
    via: Literal["chat", "api"] = "chat"
    simulated: bool = False

    @model_validator(mode="after")
    def _ends_with_user(self) -> Turn:
        if self.messages[-1].role != "user":
            raise ValueError("the last message must be the user's")
        return self


class Feedback(Record):
    """What a user said about a turn, at once or later. Several lines about one turn: of each field the newest
    that is given counts.

    `preferred_over` and `same_as` name other turns of the same user with the same messages: together they
    rank the answers.
    """

    id: str = Field(min_length=1)
    turn: str = Field(min_length=1)
    user: str = Field(min_length=1)
    time: str = Field(pattern=TIME)
    thumbs: Literal["up", "down"] | None = None
    reasons: tuple[str, ...] = ()
    preferred_over: tuple[str, ...] = ()
    same_as: tuple[str, ...] = ()
    report: str | None = None


Level = Literal["definitely_breaks", "probably_breaks", "unsure", "probably_follows", "definitely_follows"]
"""How sure somebody is that a rule was broken. The first two count as broken, the last two as kept, unsure as
neither (Glaese et al. 2022)."""


class RuleCheck(Record):
    """One labeler's word on whether an answer, or a turn of a dialogue, breaks a rule. `turn` counts the
    messages from 0; none: the answer."""

    id: str
    prompt: Prompt
    answer: Answer
    rule: str
    rule_text: str
    level: Level
    turn: int | None = Field(default=None, ge=0)
    labeler: str
    panel: Literal["training", "held_out"]
    simulated: bool
    guideline: str


class Probe(Record):
    """A dialogue in which a labeler tried to make a model break a rule, and their word on whether it did, and
    in which turn."""

    id: str
    messages: tuple[Message, ...] = Field(min_length=2)
    model: str
    rule: str
    rule_text: str
    level: Level
    turn: int | None = Field(default=None, ge=0)
    labeler: str
    simulated: bool
    guideline: str


def hash_fraction(*words: object) -> float:
    """A number in [0, 1) that depends on nothing but the words. Splits are made with it: what is in one never
    moves when data is added."""
    digest = hashlib.sha256(
        "\x1f".join(str(word) for word in words).encode("utf-8", "surrogatepass")
    ).digest()
    return int.from_bytes(digest[:6], "big") / 2**48


def draw_split(name: object, valid_share: float, test_share: float, seed: int) -> Split:
    """The split of a user or a prompt, by a hash of its name and the seed and nothing else: nobody moves when others
    come."""
    drawn = hash_fraction("split", seed, name)
    if drawn < test_share:
        return "test"
    return "valid" if drawn < test_share + valid_share else "train"
