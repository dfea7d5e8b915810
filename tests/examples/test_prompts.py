"""examples/prompts.jsonl is what its script writes, and what the demo counts on."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from biddable.curate import prompts as stage
from biddable.curate.prompts.dedup import Dropped
from biddable.run import jsonl
from biddable.run.context import StageContext
from biddable.run.records import Prompt, Wish

FOLDER = Path(__file__).resolve().parents[2] / "examples"
PAPER = {  # Ouyang et al. 2022, table 1, in %
    "generation": 45.6,
    "open_qa": 12.4,
    "brainstorming": 11.2,
    "chat": 8.4,
    "rewrite": 6.6,
    "summarization": 4.2,
    "classification": 3.5,
    "other": 3.5,
    "closed_qa": 2.6,
    "extract": 1.9,
}
NUMBERS = {1: "one", 2: "two", 3: "three", 5: "five", 6: "six", 8: "eight", 10: "ten", 40: "forty"}


@pytest.fixture(scope="module")
def prompts() -> list[Prompt]:
    return jsonl.read(FOLDER / "prompts.jsonl", Prompt)


def test_the_script_writes_this_file(tmp_path: Path) -> None:
    for name in ("make_prompts.py", "written.txt", "templates.txt"):
        (tmp_path / name).write_bytes((FOLDER / name).read_bytes())
    subprocess.run(
        [sys.executable, tmp_path / "make_prompts.py"],
        check=True,
        cwd=FOLDER.parent,
        env={"PYTHONPATH": str(FOLDER.parent)},
    )
    assert (tmp_path / "prompts.jsonl").read_bytes() == (FOLDER / "prompts.jsonl").read_bytes()


def test_number_of_prompts_and_use_cases_as_in_the_paper(prompts: list[Prompt]) -> None:
    assert len(prompts) == 720
    found = Counter(one.use_case for one in prompts)
    assert found.keys() == PAPER.keys()
    for use_case, share in PAPER.items():
        assert abs(100 * found[use_case] / len(prompts) - share) < 1, use_case
    assert {one.source for one in prompts} == {"written for biddable"}
    assert len({one.id for one in prompts}) == 720
    by_hand = [
        line
        for line in (FOLDER / "written.txt").read_text().splitlines()
        if line and not line.startswith(("#", "=="))
    ]
    assert len(by_hand) >= 150


def test_users_are_eighty_and_skewed(prompts: list[Prompt]) -> None:
    found = [count for _, count in Counter(one.user for one in prompts).most_common()]
    assert len(found) == 80
    assert 30 <= found[0] <= 60 and sum(3 <= count <= 10 for count in found) > 40


def test_prompts_are_short_and_some_are_chats(prompts: list[Prompt]) -> None:
    words = sorted(sum(len(message.content.split()) for message in one.messages) for one in prompts)
    assert 12 <= words[len(words) // 2] <= 20 and words[-1] <= 60
    assert sum(len(one.messages) > 1 for one in prompts) >= 12
    assert all(one.use_case == "chat" for one in prompts if len(one.messages) > 1)


def said(wish: Wish, text: str) -> bool:
    """Whether a prompt's text says the wish."""
    if wish.count is None:
        return all(re.search(rf"(?<!\w){re.escape(word)}", text, re.I) for word in wish.words)
    number = f"{wish.count}|{NUMBERS.get(wish.count, '-')}" + ("|single" if wish.count == 1 else "")
    noun = {"sentences": "sentence", "max_words": "word", "bullets": "bullet"}[wish.kind]
    return bool(re.search(rf"\b({number})\b", text, re.I) and re.search(rf"\b{noun}", text, re.I))


def test_every_wish_is_said_in_the_prompt(prompts: list[Prompt]) -> None:
    """Except where `mention` holds the right answer to a question."""
    silent = [
        (one.id, wish)
        for one in prompts
        for wish in one.wishes
        if not said(wish, " ".join(message.content for message in one.messages if message.role == "user"))
        and not (
            wish.kind == "mention"
            and one.use_case in ("other", "open_qa", "rewrite", "classification", "closed_qa", "extract")
        )
    ]
    assert not silent


def test_about_two_thirds_carry_a_wish_and_kinds_are_well_formed(prompts: list[Prompt]) -> None:
    assert 0.6 < sum(bool(one.wishes) for one in prompts) / len(prompts) < 0.75
    kinds = Counter(wish.kind for one in prompts for wish in one.wishes)
    assert kinds.keys() == {"sentences", "max_words", "bullets", "mention", "end_with", "avoid", "start_with"}
    assert min(kinds.values()) >= 10
    for one in prompts:
        for wish in one.wishes:
            assert (wish.count is not None) == (wish.kind in ("sentences", "max_words", "bullets"))
            assert bool(wish.words) == (wish.count is None)
            assert all(word.strip() == word and word for word in wish.words)
            if wish.kind in ("sentences", "bullets"):
                assert wish.count in (1, 2, 3)
        kinds_here = [wish.kind for wish in one.wishes]
        assert len(set(kinds_here)) == len(kinds_here)
        assert not {"sentences", "bullets"} <= set(kinds_here)
        avoided = {word.lower() for wish in one.wishes if wish.kind == "avoid" for word in wish.words}
        wanted = {word.lower() for wish in one.wishes if wish.kind != "avoid" for word in wish.words}
        assert not avoided & wanted


def test_curation_finds_what_was_planted_and_nothing_else(prompts: list[Prompt], tmp_path: Path) -> None:
    context = StageContext(tmp_path / "out", "curate.prompts", 1, lambda *_: None)
    context.folder.mkdir()
    jsonl.write(tmp_path / "prompts.jsonl", prompts)
    stage.run(stage.Config(prompts=tmp_path), context)
    dropped = jsonl.read(context.path("dropped.jsonl"), Dropped)
    assert Counter(one.reason for one in dropped) == {"same_text": 8, "long_prefix": 8}
    assert {one.id for one in dropped} == {one.id for one in prompts[-16:]}
    assert context.summary["prompts"] == 704
    assert context.path("changed.jsonl").read_text() == ""
