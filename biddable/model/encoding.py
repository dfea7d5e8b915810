"""From text to token ids, with the tokens that a model expects at a text's beginning. Every stage, and the
server, encodes through here, so that a model sees in training what it sees when it is measured and served."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from biddable.run.config import UserError
from biddable.run.records import Message


def encode_chat(tokenizer: Any, messages: Sequence[Message]) -> tuple[int, ...]:
    """A dialogue as token ids by the model's chat template, up to where the assistant's answer begins. The
    template alone decides about a beginning-of-sequence token and a default system prompt: nothing is added
    to it.

    Raises UserError when the template refuses the dialogue: many take no system message, or want user and
    assistant to alternate."""
    from jinja2 import TemplateError

    plain = [{"role": message.role, "content": message.content} for message in messages]
    try:
        out = tokenizer.apply_chat_template(
            plain, add_generation_prompt=True, tokenize=True, return_dict=True
        )
    except (TemplateError, TypeError, ValueError, LookupError) as error:
        # templates raise on purpose (TemplateError), or trip over a message they were not written for
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f"the model's chat template refuses the dialogue: {reason}") from error
    return tuple(out["input_ids"])


def encode_text(tokenizer: Any, text: str) -> tuple[int, ...]:
    """Plain text as token ids, behind the tokens that the tokenizer itself puts before any text (Gemma and
    Llama: a beginning-of-sequence token; many: none). What it puts at the end is left out: the text goes
    on."""
    return (*prefix_ids(tokenizer), *tokenizer.encode(text, add_special_tokens=False))


def prefix_ids(tokenizer: Any) -> tuple[int, ...]:
    """The tokens that the tokenizer puts before any text."""
    plain = tokenizer.encode("a", add_special_tokens=False)
    wrapped = tokenizer.encode("a", add_special_tokens=True)
    for start in range(len(wrapped) - len(plain) + 1):
        if wrapped[start : start + len(plain)] == plain:
            return tuple(wrapped[:start])
    return ()
