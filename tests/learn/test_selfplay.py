"""The self-play buffer: who speaks, what stays out, its cap, and going on after a break."""

from __future__ import annotations

from pathlib import Path

import pytest

from biddable.learn.selfplay import Buffer, Dialogue, encode_user_turn, statement_text
from biddable.model import encoding
from biddable.run.records import Message


def talk(*texts: str) -> Dialogue:
    return Dialogue(
        tuple(Message(role="assistant" if i % 2 else "user", content=t) for i, t in enumerate(texts))
    )


def test_roles_alternate_and_the_cap_is_obeyed() -> None:
    buffer = Buffer([talk("hello")], max_statements=5)
    dialogue = buffer.draw(1, 0)[0]
    grown = []
    for number in range(6):
        if not buffer.add(dialogue, f"statement {number}", ok=True):
            break
        dialogue = buffer.grown[-1]
        grown.append(len(dialogue.messages))
    assert grown == [2, 3, 4]  # each has room for one more statement: 5 at most
    for row in buffer.grown:
        assert [m.role for m in row.messages] == ["user", "assistant", "user", "assistant"][
            : len(row.messages)
        ]
    assert [row.role for row in buffer.grown] == ["user", "assistant", "user"]


def test_bad_statements_stay_out_and_are_counted() -> None:
    buffer = Buffer([talk("hello")])
    for text, ok in (
        ("fine", False),  # badly rewarded
        ("...", True),
        ("Hello", True),  # said before
        ("Yes.\nUser: and now?", True),
        ("Yes.<|im_end|>", True),
    ):
        assert not buffer.add(buffer.first[0], text, ok)
    assert (len(buffer), buffer.refused) == (1, 5)
    assert buffer.add(buffer.first[0], "Good day to you.", ok=True)
    assert len(buffer) == 2


def test_draws_are_each_once_while_there_are_enough_and_the_same_for_a_seed() -> None:
    buffer = Buffer([talk(str(i)) for i in range(5)])
    five = buffer.draw(5, 3)
    assert len({d.messages for d in five}) == 5 and five == buffer.draw(5, 3)
    twelve = buffer.draw(12, 3)
    assert sorted(twelve.count(d) for d in set(twelve)) == [2, 2, 2, 3, 3]
    assert buffer.draw(5, 4) != five
    with pytest.raises(ValueError, match="no dialogue"):
        Buffer([]).draw(1, 0)


def test_the_oldest_grown_make_room_and_the_first_stay() -> None:
    buffer = Buffer([talk("a"), talk("b")], size=2)
    for text in ("one", "two", "three"):
        buffer.add(buffer.first[0], text, ok=True)
    assert [row.messages[-1].content for row in buffer.grown] == ["two", "three"]
    assert len(buffer) == 4


def test_a_restored_buffer_goes_on_as_the_first_would() -> None:
    buffer = Buffer([talk("a")])
    buffer.add(buffer.first[0], "one", ok=True)
    buffer.add(buffer.first[0], "", ok=True)
    resumed = Buffer([talk("a")])
    resumed.restore(buffer.state())
    assert resumed.grown == buffer.grown and resumed.refused == 1
    assert resumed.draw(7, 5) == buffer.draw(7, 5)


def test_a_user_turn_is_opened_as_the_template_writes_one(tiny_folder: Path) -> None:
    """The ids are a prefix of the dialogue in which the user goes on, and the next is the user's first
    word."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_folder)
    dialogue = talk("Name three fruits.", "Paris.")
    assert dialogue.ids(tokenizer) == encode_user_turn(tokenizer, dialogue.messages)
    text = tokenizer.decode(dialogue.ids(tokenizer))
    assert text.endswith("<|im_start|>assistant\nParis.<|im_end|>\n<|im_start|>user\n")
    assistant = talk("Name three fruits.")
    assert assistant.ids(tokenizer) == encoding.encode_chat(tokenizer, assistant.messages)


def test_the_end_token_is_no_part_of_a_statement(tiny_folder: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_folder)
    ids = tokenizer(" the sea", add_special_tokens=False).input_ids
    assert statement_text(tokenizer, (*ids, tokenizer.eos_token_id), "stop") == "the sea"
    assert statement_text(tokenizer, ids, "length") == "the sea"
