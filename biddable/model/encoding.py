"""From text to token ids, with the tokens that a model expects at a text's beginning. Every stage, and the
server, encodes through here, so that a model sees in training what it sees when it is measured and served."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any

from biddable.run.config import UserError
from biddable.run.records import Answer, Message

MAX_STEPS = 1_000_000
"""Lines of a chat template's code that may run for one dialogue. A usual template needs fifty for a message."""


def encode_chat(tokenizer: Any, messages: Sequence[Message]) -> tuple[int, ...]:
    """A dialogue as token ids by the model's chat template, up to where the assistant's answer begins. The
    template alone decides about a beginning-of-sequence token and a default system prompt: nothing is added
    to it.

    Raises UserError when the template refuses the dialogue (many take no system message, or want user and
    assistant to alternate), is broken, or does not come to an end."""
    with _bounded_template():
        out = tokenizer.apply_chat_template(
            _plain(messages), add_generation_prompt=True, tokenize=True, return_dict=True
        )
    return tuple(out["input_ids"])


def chat_text(tokenizer: Any, messages: Sequence[Message], answered: bool) -> str:
    """A dialogue as the model's chat template writes it. `answered`: without the beginning of another answer.
    Raises UserError as `encode_chat`."""
    with _bounded_template():
        text: str = tokenizer.apply_chat_template(
            _plain(messages), add_generation_prompt=not answered, tokenize=False
        )
    return text


def _plain(messages: Sequence[Message]) -> list[dict[str, str]]:
    return [{"role": message.role, "content": message.content} for message in messages]


@contextmanager
def _bounded_template() -> Iterator[None]:
    """What a chat template raises inside as the user's line. It is somebody else's program: jinja's sandbox
    keeps it from files and attributes, and counting the lines that run keeps it from going on for ever."""
    from jinja2 import TemplateError, TemplateRuntimeError

    steps_left = MAX_STEPS

    def count(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal steps_left
        steps_left -= 1
        if steps_left < 0:
            raise TemplateRuntimeError(f"it goes on for more than {MAX_STEPS:,} steps")
        return count

    def enter(frame: FrameType, event: str, argument: Any) -> Any:
        return count if frame.f_code.co_filename == "<template>" else None  # jinja's name for its code

    other_trace = sys.gettrace()
    sys.settrace(enter)
    try:
        yield
    except (TemplateError, TypeError, ValueError, LookupError, ArithmeticError, AttributeError) as error:
        # templates raise on purpose (TemplateError), or trip over a message they were not written for
        raise UserError(f"the model's chat template refuses the dialogue: {_first_line(error)}") from error
    except (RecursionError, MemoryError) as error:
        raise UserError("the model's chat template refuses the dialogue: it calls itself for ever") from error
    finally:
        sys.settrace(other_trace)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


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


def answer_ids(tokenizer: Any, answer: Answer) -> tuple[int, ...]:
    """An answer's token ids: those it was sampled as, or, for a person's text, the tokenizer's and the
    end-of-sequence token.

    Sampled ids are used as they are: decoding and encoding again may give others. The EOS token is a part of
    the answer: it is trained on, and the reward is read there.
    """
    if answer.tokens is not None:
        return answer.tokens
    return (*tokenizer.encode(answer.text, add_special_tokens=False), int(tokenizer.eos_token_id))
