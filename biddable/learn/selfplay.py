"""Self-play: a buffer of dialogues that grows while a policy trains (Glaese et al. 2022, Sparrow).

Every episode is one statement. The dialogue with the statement in it becomes a new place to go on from, so
that later episodes start from the model's own turns; the same policy speaks for the user and for the
assistant in turn. Dialogues have a longest length, and bad statements stay out.

    buffer = Buffer(Dialogue(prompt.messages) for prompt in prompts)
    for dialogue in buffer.draw(n, seed):
        ids = dialogue.ids(tokenizer)  # up to where dialogue.role begins to speak
        ...  # sample tokens, score them
        buffer.add(dialogue, statement_text(tokenizer, tokens, finish), ok=valid and reward > threshold)
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from biddable.learn.training import derive_seed
from biddable.model.encoding import chat_text, encode_chat
from biddable.run.records import Finish, Message

MAX_STATEMENTS = 12
"""Statements of a dialogue at most, the one to come included. What the paper allowed is not known."""
BUFFER_SIZE = 4096
"""Dialogues kept at most beside the first ones; the oldest make room."""
SPEAKER = re.compile(r"<\|?\w+\|?>|^[^\S\n]*(?:user|human|assistant|system|sparrow|ai)\s*:", re.I | re.M)
"""Marks of another speaker inside a statement: it was written for two."""
PLACEHOLDER = "biddableplaceholder"


@dataclass(frozen=True)
class Dialogue:
    """A dialogue that goes on with a statement of `role`."""

    messages: tuple[Message, ...]

    @property
    def role(self) -> Literal["user", "assistant"]:
        """Who speaks next: the one who did not speak last."""
        return "assistant" if self.messages[-1].role == "user" else "user"

    def ids(self, tokenizer: Any) -> tuple[int, ...]:
        """Token ids up to where the next speaker's words begin."""
        if self.role == "assistant":
            return encode_chat(tokenizer, self.messages)
        return encode_user_turn(tokenizer, self.messages)

    def with_statement(self, text: str) -> Dialogue:
        return Dialogue((*self.messages, Message(role=self.role, content=text)))


def encode_user_turn(tokenizer: Any, messages: Sequence[Message]) -> tuple[int, ...]:
    """A dialogue by the model's chat template up to where the user begins to speak. Templates open only the
    assistant's turn by themselves, so a placeholder is written as the user's words and the text cut there."""
    placed = [*messages, Message(role="user", content=PLACEHOLDER)]
    text = chat_text(tokenizer, placed, answered=True)
    opened = text[: text.rindex(PLACEHOLDER)]
    return tuple(tokenizer(opened, add_special_tokens=False).input_ids)


def statement_text(tokenizer: Any, tokens: Sequence[int], finish: Finish) -> str:
    """The words of a sampled statement, without its end token."""
    ids = tokens[:-1] if finish == "stop" else tokens
    return str(tokenizer.decode(ids, skip_special_tokens=True)).strip()


def is_valid_statement(dialogue: Dialogue, text: str) -> bool:
    """Whether a statement may stand in a dialogue: it has words, speaks for one side only, and is not what
    either side has said before."""
    said_before = {message.content.casefold() for message in dialogue.messages}
    return bool(re.search(r"\w", text)) and not SPEAKER.search(text) and text.casefold() not in said_before


class Buffer:
    """Dialogues to go on from: the first ones, which stay, and those that episodes have added."""

    def __init__(
        self, first: Iterable[Dialogue], max_statements: int = MAX_STATEMENTS, size: int = BUFFER_SIZE
    ) -> None:
        self.first = [dialogue for dialogue in first if len(dialogue.messages) < max_statements]
        self.max_statements, self.size = max_statements, size
        self.grown: list[Dialogue] = []
        self.refused = 0
        """Statements that were not good enough to go on from."""

    def __len__(self) -> int:
        return len(self.first) + len(self.grown)

    def add(self, dialogue: Dialogue, text: str, ok: bool) -> bool:
        """Add a dialogue with its new statement. Not added are statements that the caller finds bad (`ok`:
        valid and well rewarded), that cannot stand in a dialogue, and dialogues that have no room for another
        statement. Returns whether it was added."""
        if not ok or not is_valid_statement(dialogue, text):
            self.refused += 1
            return False
        longer = dialogue.with_statement(text)
        if len(longer.messages) >= self.max_statements:
            return False
        self.grown.append(longer)
        del self.grown[: max(0, len(self.grown) - self.size)]
        return True

    def draw(self, n: int, seed: int) -> list[Dialogue]:
        """`n` dialogues, each once while there are enough; the same for the same buffer and seed."""
        if not len(self):
            raise ValueError("the buffer holds no dialogue")
        rows = [*self.first, *self.grown]
        drawn: list[Dialogue] = []
        generator = random.Random(derive_seed("selfplay", seed))
        while len(drawn) < n:
            drawn += generator.sample(rows, min(n - len(drawn), len(rows)))
        return drawn

    def state(self) -> dict[str, Any]:
        """What a checkpoint holds; the first dialogues come from the stage's input."""
        grown = [[(m.role, m.content) for m in dialogue.messages] for dialogue in self.grown]
        return {"grown": grown, "refused": self.refused}

    def restore(self, state: dict[str, Any]) -> None:
        self.refused = int(state["refused"])
        self.grown = [
            Dialogue(tuple(Message(role=role, content=content) for role, content in rows))
            for rows in state["grown"]
        ]
