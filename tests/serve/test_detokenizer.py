"""Text from tokens: what comes out piece by piece is what decoding at once gives, and stop words never
show."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from biddable.model import random_model
from biddable.serve.engine.detokenizer import Detokenizer

TOKENIZER = random_model.tokenizer()


def spoken(tokenizer: Any, ids: list[int], stop: tuple[str, ...] = ()) -> tuple[str, list[str]]:
    words = Detokenizer(tokenizer, stop)
    pieces = []
    for token in ids:
        pieces.append(words.add(token))
        if words.stopped:
            break
    pieces.append(words.end())
    return "".join(pieces), pieces


@given(st.text(max_size=40))
def test_pieces_joined_are_the_text(text: str) -> None:
    ids = TOKENIZER(text, add_special_tokens=False).input_ids
    assert spoken(TOKENIZER, ids)[0] == TOKENIZER.decode(ids, skip_special_tokens=True)


@given(st.lists(st.integers(0, len(TOKENIZER) - 1), max_size=30))
def test_any_tokens_also_halves_of_characters(ids: list[int]) -> None:
    assert spoken(TOKENIZER, ids)[0] == TOKENIZER.decode(ids, skip_special_tokens=True)


def test_a_character_of_several_tokens_comes_whole() -> None:
    ids = TOKENIZER("a😀b", add_special_tokens=False).input_ids
    assert len(ids) == 6  # the tiny tokenizer knows the four bytes of the emoji singly
    assert spoken(TOKENIZER, ids)[1] == ["a", "", "", "", "😀", "b", ""]


@given(
    st.text(alphabet="ab\n", max_size=30),
    st.lists(st.text(alphabet="ab\n", min_size=1, max_size=4), max_size=3),
)
def test_stop_words(text: str, stop: list[str]) -> None:
    ids = TOKENIZER(text, add_special_tokens=False).input_ids
    places = [text.find(word) for word in stop if word in text]
    got = spoken(TOKENIZER, ids, tuple(stop))[0]
    if not places:
        assert got == text
    else:  # the first stop word to be complete ends the answer, wherever another one might have begun
        assert text.startswith(got) and any(text.startswith(word, len(got)) for word in stop)
        assert not any(word in got for word in stop)


@pytest.mark.parametrize("sentencepiece", [True])
def test_a_leading_space_that_depends_on_the_token_before(sentencepiece: bool) -> None:
    """A metaspace decoder drops the first space of a text: pieces must not lose theirs."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    vocabulary = {"▁one": 0, "▁two": 1, "▁three": 2, "<s>": 3}
    made = Tokenizer(models.WordLevel(vocabulary, unk_token="<s>"))
    made.pre_tokenizer, made.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    fast = PreTrainedTokenizerFast(tokenizer_object=made, unk_token="<s>")
    assert spoken(fast, [0, 1, 2])[1] == ["one", " two", " three", ""]
