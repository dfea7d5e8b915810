"""Text becomes token ids as the model expects them: its own beginning-of-sequence token, its chat template."""

from __future__ import annotations

from typing import Any

import pytest

from biddable.learn.batches import prompt_ids
from biddable.model import classifier, random_model
from biddable.model.encoding import encode_chat, encode_text, prefix_ids
from biddable.run.config import UserError
from biddable.run.records import Message


def with_special_tokens(template: str) -> Any:
    """The small tokenizer, which puts its special tokens around texts as `template` says ("$A": the text)."""
    from tokenizers.processors import TemplateProcessing

    words = random_model.tokenizer()
    names = ["<|im_start|>", "<|im_end|>"]
    words.backend_tokenizer.post_processor = TemplateProcessing(
        single=template, special_tokens=[(name, words.convert_tokens_to_ids(name)) for name in names]
    )
    return words


@pytest.mark.parametrize("text", ["The sea is salt.", " two spaces ", "a", ""])
def test_a_tokenizers_own_beginning_comes_first(text: str) -> None:
    words = with_special_tokens("<|im_start|> $A")
    assert encode_text(words, text) == tuple(words.encode(text, add_special_tokens=True))
    assert encode_text(words, text)[0] == words.bos_token_id
    assert prefix_ids(words) == (words.bos_token_id,)


def test_a_classifier_reads_the_beginning_too_however_short_the_text_is_cut() -> None:
    words = with_special_tokens("<|im_start|> $A")
    plain = words.encode("The sea is salt.", add_special_tokens=False)
    bos, eos = words.bos_token_id, words.eos_token_id
    assert classifier.tree(words, "The sea is salt.", 100).answers == ((bos, *plain, eos),)
    assert classifier.tree(words, "The sea is salt.", 4).answers == ((bos, *plain[-3:], eos),)
    assert classifier.tree(words, "The sea is salt.", 1).answers == ((bos, eos),)


def test_a_tokenizer_that_adds_nothing_gets_nothing() -> None:
    words = random_model.tokenizer()
    assert encode_text(words, "a kettle") == tuple(words.encode("a kettle", add_special_tokens=False))


def test_the_end_that_a_tokenizer_adds_is_left_out() -> None:
    """The text goes on, or an end token of the answer's own follows it."""
    words = with_special_tokens("<|im_start|> $A <|im_end|>")
    wrapped = words.encode("the sea", add_special_tokens=True)
    assert wrapped[-1] == words.eos_token_id
    assert encode_text(words, "the sea") == tuple(wrapped[:-1])


REFUSING = (
    "{% for m in messages %}{% if m['role'] == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
    "{{ m['content'] }}{% endfor %}"
)


@pytest.mark.parametrize(
    "template, reason",
    [
        (REFUSING, "no system role"),  # on purpose, as Gemma's does
        ("{{ messages[0].role.missing.more }}", "missing"),  # jinja2's UndefinedError
        ("{{ messages[0]['content'] + 1 }}", "str"),  # a TypeError of Python's own
    ],
)
def test_a_template_that_raises_is_told_in_one_line(template: str, reason: str) -> None:
    words = random_model.tokenizer()
    words.chat_template = template
    with pytest.raises(UserError, match="the model's chat template refuses the dialogue: ") as refusal:
        encode_chat(words, [Message(role="system", content="Be brief."), Message(role="user", content="Hi")])
    (line,) = refusal.value.lines
    assert reason in line


def test_training_tells_every_prompt_that_the_template_refuses() -> None:
    words = random_model.tokenizer()
    words.chat_template = REFUSING
    errors: list[str] = []
    system, user = Message(role="system", content="Be brief."), Message(role="user", content="Hi")
    for name, messages in (("p1", [system, user]), ("p2", [user]), ("p3", [system])):
        prompt_ids(words, messages, 100, name, errors)
    assert [line.split(":")[0] for line in errors] == ["prompt p1", "prompt p3"]
    assert all("no system role" in line for line in errors)
