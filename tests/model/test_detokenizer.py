"""Text from tokens: what comes out piece by piece is what decoding at once gives, and stop words never
show."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from biddable.model import random_model
from biddable.model.detokenizer import CharacterDecoder, Detokenizer
from biddable.model.token_bytes import Vocabulary, show_token

TOKENIZER = random_model.tokenizer()


def spoken(tokenizer: Any, ids: list[int], stop: tuple[str, ...] = ()) -> tuple[str, list[str]]:
    words = Detokenizer(Vocabulary(tokenizer), stop)
    pieces = []
    for token in ids:
        pieces.append(words.add(token))
        if words.stopped:
            break
    pieces.append(words.end())
    return "".join(pieces), pieces


@settings(deadline=None)
@given(st.text(max_size=40))
def test_pieces_joined_are_the_text(text: str) -> None:
    ids = TOKENIZER(text, add_special_tokens=False).input_ids
    assert spoken(TOKENIZER, ids)[0] == TOKENIZER.decode(ids, skip_special_tokens=True)


@settings(deadline=None)
@given(st.lists(st.integers(0, len(TOKENIZER) - 1), max_size=30))
def test_any_tokens_also_halves_of_characters(ids: list[int]) -> None:
    assert spoken(TOKENIZER, ids)[0] == TOKENIZER.decode(ids, skip_special_tokens=True)


def test_a_character_of_several_tokens_comes_whole() -> None:
    ids = TOKENIZER("a😀b", add_special_tokens=False).input_ids
    assert len(ids) == 6  # the tiny tokenizer knows the four bytes of the emoji singly
    assert spoken(TOKENIZER, ids)[1] == ["a", "", "", "", "😀", "b", ""]


@settings(deadline=None)
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


BLANK = "\u2581"
PIECES = ["<s>", "</s>", BLANK + "one", BLANK + "two", "s", BLANK, "é", *(f"<0x{b:02X}>" for b in range(256))]
"""A vocabulary as SentencePiece makes it: words with their blank in front, and 256 single bytes."""


def sentencepiece() -> Any:
    """Llama 2's shape: blanks as U+2581, byte fallback, and a decoder that drops the text's first blank."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(models.Unigram([(piece, -1.0) for piece in PIECES], 0, byte_fallback=True))
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    steps = [
        decoders.Replace(BLANK, " "),
        decoders.ByteFallback(),
        decoders.Fuse(),
        decoders.Strip(" ", 1, 0),
    ]
    backend.decoder = decoders.Sequence(steps)
    fast = PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", eos_token="</s>")
    return fast


def ids_of(*pieces: str) -> list[int]:
    return [PIECES.index(piece) for piece in pieces]


def test_bytes_of_sentencepiece_tokens() -> None:
    vocabulary = Vocabulary(sentencepiece())
    expected = {
        BLANK + "one": (b"one", b" one"),
        "s": (b"s", b"s"),
        BLANK: (b"", b" "),
        "é": (b"\xc3\xa9", b"\xc3\xa9"),
        "<0x0A>": (b"\n", b"\n"),
        "<0xC3>": (b"\xc3", b"\xc3"),
        "</s>": (b"", b""),
    }
    for piece, both in expected.items():
        assert tuple(vocabulary.spell(PIECES.index(piece))) == both, piece
    assert vocabulary.name(1) == "</s>"
    assert tuple(vocabulary.spell(len(PIECES) + 3)) == (b"", b"")  # an embedding row that no token uses
    assert vocabulary.name(len(PIECES) + 3) == f"token_id:{len(PIECES) + 3}"


def test_bytes_of_byte_level_tokens() -> None:
    """Every single byte has a token, and each token's bytes are those of the text it was made from."""
    vocabulary = Vocabulary(TOKENIZER)
    text = "The sea \n é 😀 \u00a0 \ufffd"
    ids = TOKENIZER(text, add_special_tokens=False).input_ids
    assert b"".join(vocabulary.spell(token).later for token in ids) == text.encode()
    singles = {vocabulary.spell(token).later for token in range(len(TOKENIZER))}
    assert {bytes([byte]) for byte in range(256)} <= singles
    assert vocabulary.spell(TOKENIZER.eos_token_id).later == b""
    assert show_token(b"\xf0\x9f") == "bytes:\\xf0\\x9f" and show_token("é".encode()) == "é"


def offsets(tokenizer: Any, ids: list[int], at_start: bool = True) -> tuple[str, list[int]]:
    words, places, text = Detokenizer(Vocabulary(tokenizer), (), at_start), [], ""
    for token in ids:
        text += words.add(token)
        places.append(words.offset)
    return text + words.end(), places


def test_offsets_count_characters_also_of_characters_in_several_tokens() -> None:
    ids = TOKENIZER("a😀bé", add_special_tokens=False).input_ids  # a | 4 bytes | b | 2 bytes
    assert offsets(TOKENIZER, ids) == ("a😀bé", [0, 1, 1, 1, 1, 2, 3, 3])
    ids = ids_of(BLANK + "one", "s", "<0xC3>", "<0xA9>", BLANK + "two", "<0x0A>", "é")
    assert offsets(sentencepiece(), ids) == ("onesé two\né", [0, 3, 4, 4, 5, 9, 10])
    # behind a word of the prompt the first blank stays
    assert offsets(sentencepiece(), ids[:2], at_start=False) == (" ones", [0, 4])
    # a blank of its own takes the place of the one that is dropped; control tokens have no text
    ids = ids_of("<s>", BLANK, BLANK + "one", "</s>")
    assert offsets(sentencepiece(), ids) == (" one", [0, 0, 0, 4])


def test_a_token_that_begins_inside_a_character_has_its_place() -> None:
    decoder = CharacterDecoder()
    parts = [b"x\xc3", b"\xa9y", b"\xf0\x9f", b"z", b""]
    assert [decoder.add(part) for part in parts] == [("x", 0), ("éy", 1), ("", 3), ("\ufffdz", 4), ("", 5)]
    assert decoder.add(b"\xe2") == ("", 5) and decoder.end() == "\ufffd"


@settings(deadline=None)
@given(st.text(alphabet="onetws é😀\n", max_size=20))
def test_sentencepiece_text_is_what_decoding_gives(text: str) -> None:
    tokenizer = sentencepiece()
    ids = tokenizer(text, add_special_tokens=False).input_ids
    assert spoken(tokenizer, ids)[0] == tokenizer.decode(ids, skip_special_tokens=True)
