"""Examples that are too long for the model, or for a limit of the user's: refused, left out, or cut."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from pydantic import Field

from biddable.learn.batches import prompt_ids
from biddable.model.encoding import encode_chat
from biddable.run.config import Settings
from biddable.run.records import Message, Prompt

NO_LIMIT = 1 << 60


class LengthSettings(Settings):
    """What a stage does with long prompts; inherited by every stage that reads some."""

    too_long: Literal["refuse", "drop", "cut"] = "refuse"
    """Prompts that leave no room for their answer, or exceed prompt_tokens: `refuse` them, a line for each;
    `drop` them with their answers; or `cut` the beginning of the dialogue away. The summary counts them."""
    prompt_tokens: int | None = Field(default=None, ge=1)
    """Tokens of a prompt at most (Ouyang et al. 2022, C: 1,000); none: what the context leaves beside its
    answer."""


class PromptLimits:
    """Encodes prompts and keeps the settings' limits, with what became of the long ones."""

    def __init__(self, cfg: LengthSettings, tokenizer: Any, context_length: int) -> None:
        self.cfg, self.tokenizer, self.context_length = cfg, tokenizer, context_length
        self.errors: list[str] = []
        self.dropped = 0
        self.cut = 0

    def encode(self, prompt: Prompt, answer_tokens: int) -> tuple[int, ...] | None:
        """The prompt's ids up to where the assistant begins to speak, with room for so many tokens behind
        them; None for one that is left out. Lines for those that are refused, and for dialogues that the chat
        template refuses, go to `errors`."""
        cfg, limit = self.cfg, self.context_length - answer_tokens
        if cfg.prompt_tokens is not None:
            limit = min(limit, cfg.prompt_tokens)
        allowed = limit if cfg.too_long == "refuse" else NO_LIMIT
        ids = prompt_ids(self.tokenizer, prompt.messages, allowed, prompt.id, self.errors)
        if len(ids) <= limit or cfg.too_long == "refuse":
            return ids
        shortened = cut_dialogue(self.tokenizer, prompt.messages, limit) if cfg.too_long == "cut" else None
        if shortened is None:
            self.dropped += 1
        else:
            self.cut += 1
        return shortened

    def summary(self) -> dict[str, int]:
        """For summary.json, where there is something to tell."""
        counts = {"dropped_too_long": self.dropped, "cut_too_long": self.cut}
        return {name: count for name, count in counts.items() if count}


def cut_dialogue(tokenizer: Any, messages: Sequence[Message], limit: int) -> tuple[int, ...] | None:
    """Ids of the dialogue's end, at most `limit`: whole turns go first, then the beginning of the first user's
    message that is left. The system's message and the template's own tokens stay. None where that is not
    enough."""
    rest = list(messages)
    while (excess := len(ids := encode_chat(tokenizer, rest)) - limit) > 0:
        users = [place for place, message in enumerate(rest) if message.role == "user"]
        if not users:
            return None
        content = tokenizer.encode(rest[users[0]].content, add_special_tokens=False)
        if len(users) > 1:  # the oldest question with its answer: what follows begins with a question again
            del rest[users[0] : users[1]]
        elif len(content) > excess:
            text = tokenizer.decode(content[excess:], skip_special_tokens=True)
            rest[users[0]] = rest[users[0]].model_copy(update={"content": text})
        else:
            return None
    return ids
