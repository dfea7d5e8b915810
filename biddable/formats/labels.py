"""What other people's files say, in one plain shape: a dialogue, answers to it, and what somebody thought of them.

Every format gives `Label`s, `Skipped` for what holds nothing to learn from (and says why), and raises `Unreadable`
for what it cannot make sense of. Nothing is guessed.
"""

from __future__ import annotations

import ast
import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from biddable.run.rows import Row

Role = Literal["system", "user", "assistant"]
Kind = Literal["comparisons", "demonstrations", "ratings", "prompts"]


class Turn(NamedTuple):
    """One turn of a dialogue."""

    role: Role
    content: str


class Shown(NamedTuple):
    """An answer that somebody judged."""

    text: str
    model: str = "unknown"
    score: float | None = None  # what a reward model had predicted


class Label(NamedTuple):
    """What one person, or program, said about answers to one dialogue. With `ranks` it is a comparison (1 is
    best), with a `rating` a rating on `scale` (worst, best), with neither the one answer is a demonstration;
    without an answer it is a prompt alone."""

    turns: tuple[Turn, ...]
    answers: tuple[Shown, ...] = ()
    ranks: tuple[int, ...] | None = None
    rating: float | None = None
    scale: tuple[float, float] = (1, 7)
    labeler: str = ""  # empty: the file names nobody
    user: str = ""  # who asked; empty: the file does not say
    item: str = ""  # what the tool calls the record; questions that read alike may be several
    split: str = ""
    use_case: str = ""
    simulated: bool = False  # a program said it

    @property
    def kind(self) -> Kind:
        if not self.answers:
            return "prompts"
        if self.ranks is not None:
            return "comparisons"
        return "demonstrations" if self.rating is None else "ratings"


class Skipped(NamedTuple):
    """Something in a file that says nothing: counted, not an error."""

    reason: str


class Unreadable(Exception):
    """Why a row cannot be read."""


MALFORMED = (Unreadable, AttributeError, TypeError, ValueError, LookupError)
"""What a row of any content may raise where a reader takes it apart."""


def reason_of(error: Exception) -> str:
    """Why a row cannot be read, in words for whoever made the file."""
    return str(error) if isinstance(error, Unreadable) else "not in the shape that rows of its format have"


class Skip(Exception):
    """Why a row is left out."""


@dataclass(frozen=True)
class Fields:
    """Where things are in a row, for formats that leave that to their users; empty: what is found there."""

    prompt: str = ""
    answers: tuple[str, ...] = ()  # a field for each answer, or one with a list of them
    question: str = ""  # which question, control or score holds what people said
    scale: tuple[float | None, float | None] = (None, None)  # worst and best rating
    kind: Kind | None = None  # only labels of this kind are wanted
    all_turns: bool = False  # every answer of a dialogue is a demonstration, not only its last
    items: dict[str, Row] = field(default_factory=dict)  # Potato's instances, which its annotations only name


Result = Label | Skipped | str
"""What a row gives: a label, nothing, or what is wrong with it."""
Rows = Iterable[tuple[str, Row]]
Reader = Callable[[Rows, Fields], Iterator[tuple[str, Result]]]


def by_row(read: Callable[[Row, Fields], Iterator[Label | Skipped]]) -> Reader:
    """A reader of rows that stand for themselves."""

    def read_all(rows: Rows, fields: Fields) -> Iterator[tuple[str, Result]]:
        for where, row in rows:
            try:
                for result in read(row, fields):
                    yield where, result
            except Skip as reason:
                yield where, Skipped(str(reason))
            except KeyError as missing:
                yield where, f"there is no {missing}; the row has {', '.join(sorted(row)) or 'nothing'}"
            except MALFORMED as error:
                yield where, reason_of(error)

    return read_all


PROMPTS = ("prompt", "instruction", "question", "query", "messages", "conversation", "context", "input")
"""What the prompt's field is called."""
ANSWERS = ("response", "completion", "answer", "output", "text")
"""What an answer's field is called."""
USERS = ("user", "user_id", "username")
LABELERS = ("labeler", "annotator", "annotator_id", "worker", "rater")
SPLITS = {
    "train": "train",
    "valid": "valid",
    "validation": "valid",
    "val": "valid",
    "dev": "valid",
    "test": "test",
}
TOOL_ROLES = ("tool", "function", "function_call", "function_response", "observation", "ipython")
ROLES: dict[str, Role] = {
    "user": "user",
    "human": "user",
    "prompter": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "bot": "assistant",
    "model": "assistant",
    "ai": "assistant",
    "system": "system",
    "developer": "system",
}
SPEAKER = re.compile(r"(?:^|\n\n)\s*(Human|Assistant): ?")


def first(row: Row, names: Iterable[str]) -> Any:
    """The value of the first of these fields that is there and not null."""
    return next((row[name] for name in names if row.get(name) is not None), None)


def text_of(value: Any, what: str) -> str:
    """A text, or a list of parts of which some are text. Raises Skip for null, Unreadable for anything else."""
    if value is None:
        raise Skip(f"no {what}")
    if isinstance(value, list) and value and all(isinstance(part, dict) for part in value):
        if any(part.get("type", "text") not in ("text", "input_text", "output_text") for part in value):
            raise Skip("pictures or sound")
        value = "\n".join(str(part.get("text") or "") for part in value)
    if not isinstance(value, str):
        raise Unreadable(f"{what}: expected a text, not {_short(value)}")
    return value


def dialogue(value: Any, what: str = "prompt") -> tuple[Turn, ...]:
    """A dialogue: a list of turns (role and content, or from and value), Anthropic's `Human:` and `Assistant:` text,
    or a plain text, which is one turn of the user."""
    value = unquoted(value)
    if isinstance(value, dict):
        value = [value]
    if isinstance(value, list):
        if not value:
            raise Skip(f"no {what}")
        return tuple(_turn(turn, what) for turn in value)
    text = text_of(value, what)
    if not text.strip():
        raise Skip(f"no {what}")
    return spoken(text) if is_spoken(text) else (Turn("user", text),)


def unquoted(value: Any) -> Any:
    """A list that a table holds as its text, in JSON or as Python writes it."""
    if not isinstance(value, str) or not re.match(r"\s*\[\s*[\[{\"']", value):
        return value
    for read in (json.loads, ast.literal_eval):
        try:
            parsed = read(value)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
        return parsed if isinstance(parsed, list) else value
    return value


def _turn(turn: Any, what: str) -> Turn:
    if not isinstance(turn, dict):
        raise Unreadable(f"{what}: expected turns with role and content, not {_short(turn)}")
    name = first(turn, ("role", "from"))
    if str(name).lower() in TOOL_ROLES or turn.get("tool_calls"):
        raise Skip("turns by a tool")
    role = ROLES.get(str(name).lower())
    if role is None:
        raise Unreadable(f"{what}: unknown role {_short(name)}; expected user, assistant or system")
    return Turn(role, text_of(first(turn, ("content", "value", "text")), "text in a turn"))


def is_spoken(text: str) -> bool:
    """Whether a text is a dialogue of `Human:` and `Assistant:`."""
    return re.match(r"\s*Human: ?", text) is not None


def spoken(text: str) -> tuple[Turn, ...]:
    """The turns of such a text; what one side says in a row is one turn, an empty last one is left out."""
    parts = SPEAKER.split(text)
    turns: list[Turn] = []
    for speaker, content in zip(parts[1::2], parts[2::2], strict=True):
        turn = Turn("user" if speaker == "Human" else "assistant", content.strip())
        if turns and turns[-1].role == turn.role:
            turn = Turn(turn.role, f"{turns.pop().content}\n\n{turn.content}".strip())
        turns.append(turn)
    return tuple(turns[:-1] if turns and not turns[-1].content else turns)


def prompt_of(row: Row, names: Sequence[str] = PROMPTS) -> tuple[Turn, ...]:
    """The dialogue that a row's answers belong to, with its system prompt."""
    return with_system(row, dialogue(first(row, names)))


def with_system(row: Row, turns: tuple[Turn, ...]) -> tuple[Turn, ...]:
    """The row's own system prompt goes first, where the dialogue has none. Raises Unreadable when the dialogue does
    not end with the user's turn."""
    system = first(row, ("system", "system_prompt"))
    if isinstance(system, str) and system.strip() and turns[:1] and turns[0].role != "system":
        turns = (Turn("system", system), *turns)
    if not turns or turns[-1].role != "user":
        raise Unreadable("the dialogue before the answer does not end with the user's turn")
    return turns


def about(row: Row) -> dict[str, Any]:
    """Who asked, who judged, and which split a row says it belongs to: arguments of a Label."""
    return {
        "user": name_of(first(row, USERS)),
        "labeler": name_of(first(row, LABELERS)),
        "split": SPLITS.get(str(row.get("split")).lower(), ""),
        "use_case": name_of(first(row, ("use_case", "category", "subset"))),
    }


def name_of(value: Any) -> str:
    """A name, or a number that stands for one; "" for anything else."""
    return str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""


def number(value: Any) -> float | None:
    """A number, also one that a table holds as text; None for anything else and for what is not finite."""
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def ranks_of(scores: Sequence[float]) -> tuple[int, ...]:
    """Ranks by scores, the highest first; equal scores are a tie."""
    return tuple(1 + sum(rival > score for rival in scores) for score in scores)


def comparison(
    turns: tuple[Turn, ...], answers: Sequence[Shown], ranks: Sequence[int], **more: Any
) -> Label | Skipped:
    """A comparison, if there is anything to compare."""
    if len(answers) < 2:
        return Skipped("fewer than two answers to compare")
    if len({answer.text for answer in answers}) == 1:
        return Skipped("all answers are the same")
    return Label(turns, tuple(answers), tuple(ranks), **more)


def demonstration(turns: tuple[Turn, ...], text: str, model: str = "people", **more: Any) -> Label | Skipped:
    """A demonstration, if anything was written."""
    return Label(turns, (Shown(text, model),), **more) if text.strip() else Skipped("no answer")


def groups_by_rank(entries: Sequence[tuple[int | None, str]]) -> dict[str, int]:
    """Rank of each name; without ranks the order of the entries counts and nothing is tied."""
    names = [name for _, name in entries]
    if repeated := next((name for name in names if names.count(name) > 1), None):
        raise Unreadable(f"a ranking names {repeated!r} twice")
    if all(rank is None for rank, _ in entries):
        return {name: place for place, name in enumerate(names, 1)}
    ranks = [rank for rank, _ in entries if rank is not None]
    if len(ranks) < len(entries):
        raise Unreadable("some entries of the ranking have a rank, others have none")
    if min(ranks) != 1 or max(ranks) > len(entries):
        raise Unreadable(f"ranks {ranks}: they begin at 1, and none is above {len(entries)}")
    return {
        name: sum(rival < rank for rival in set(ranks)) + 1 for rank, name in zip(ranks, names, strict=True)
    }


def ranked(answers: Sequence[tuple[str, str]], places: dict[str, int]) -> tuple[int, ...]:
    """One rank for each named answer: all are ranked, each once."""
    names = [name for name, _ in answers]
    if set(places) != set(names):
        unknown, missing = sorted(set(places) - set(names)), sorted(set(names) - set(places))
        reason = f"unknown: {unknown}" if unknown else f"missing: {missing}"
        raise Unreadable(f"a ranking of {len(names)} answers names {len(places)}; {reason}")
    return tuple(places[name] for name in names)


def side_of(choice: str, names: Sequence[str]) -> int | None:
    """Which of two answers a choice means, by the field's name, its side or its number; None: a tie. Raises
    Unreadable when it could be anything."""
    word = choice.strip().lower()
    if re.search(r"\b(tie|tied|equal|same|both|neither|no preference)\b", word):
        return None
    lower = [name.lower() for name in names]
    if word in lower:
        return lower.index(word)
    sides = (("left", "a", "1", "first"), ("right", "b", "2", "second"))
    hits = [side for side in range(2) if any(re.search(rf"(?<![a-z0-9]){s}$", word) for s in sides[side])]
    if len(hits) != 1 or len(names) != 2:
        raise Unreadable(f"choice {choice!r}: expected one of {', '.join(names)}")
    return hits[0]


def _short(value: Any) -> str:
    return json.dumps(value, default=str)[:60]
