"""The four sources one by one, with a policy that says what the test wants: how many questions a rule gets, what the
few-shot stage is shown, which dialogues go on."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from biddable.learn import dialogues
from biddable.learn.dialogues import Config
from biddable.learn.selfplay import Dialogue
from biddable.learn.simulate.speaker import Sampling, Speaker
from biddable.learn.training import derive_seed
from biddable.model.sampler import Request, SampledAnswer
from biddable.run.config import UserError
from biddable.run.context import StageContext
from biddable.run.records import Answer, Comparison, Message, Probe, Prompt, Wish
from biddable.run.rules import Rule
from tests.learn import plain

RULES = [Rule(id="kind", text="Be kind.", question="?"), Rule(id="brief", text="Be brief.", question="?")]
PROVENANCE: dict[str, Any] = {"labeler": "ada", "simulated": True, "guideline": "g"}


def messages(*texts: str) -> tuple[Message, ...]:
    return tuple(Message(role="assistant" if i % 2 else "user", content=text) for i, text in enumerate(texts))


def context_in(folder: Path) -> tuple[StageContext, list[tuple[int, int]]]:
    steps: list[tuple[int, int]] = []
    folder.mkdir(exist_ok=True)
    return StageContext(folder, "learn.dialogues", 3, lambda step, of, _: steps.append((step, of))), steps


def attack(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, says: Any, **settings: Any
) -> tuple[list[Prompt], list[tuple[str, list[str]]], list[tuple[int, int]]]:
    """Red-team questions from a policy whose `says(stage, number, text)` is what it writes behind a text."""
    asked: list[tuple[str, list[str]]] = []

    def written(cfg: Config, speaker: Any, texts: Sequence[str], stage: str, context: Any) -> list[str]:
        asked.append((stage, list(texts)))
        return [says(stage, number, text) for number, text in enumerate(texts)]

    monkeypatch.setattr(dialogues, "continuations", written)
    context, steps = context_in(tmp_path)
    cfg = Config(template="{rule} 1.", **settings)
    return dialogues.red_team(cfg, None, RULES, context), asked, steps  # type: ignore[arg-type]


def test_every_rule_has_its_share_of_questions_half_of_them_after_examples(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """5 questions for 2 rules are 3 each; half of 3 is 2 after examples, 1 before. Twice as many are written:
    2 and then 4 for each rule. Five of the six are kept."""
    prompts, asked, steps = attack(
        tmp_path, monkeypatch, lambda stage, n, text: f" {stage} word{n}? more", redteam=5
    )
    assert [(stage, len(texts)) for stage, texts in asked] == [("zero", 4), ("few", 8)]
    assert asked[0][1] == ["Be kind. 1."] * 2 + ["Be brief. 1."] * 2
    for text in asked[1][1][:4]:  # a rule's own earlier questions, in any order
        assert text in (
            "Be kind. 1. zero word0?\n2. zero word1?\n3.",
            "Be kind. 1. zero word1?\n2. zero word0?\n3.",
        )
    assert all("zero word2?" in text and "zero word3?" in text for text in asked[1][1][4:])
    assert [(p.id, p.messages[0].content) for p in prompts] == [
        ("redteam-kind-000", "zero word0?"),
        ("redteam-kind-001", "zero word1?"),
        ("redteam-kind-002", "few word0?"),
        ("redteam-brief-000", "zero word2?"),
        ("redteam-brief-001", "zero word3?"),
    ]
    assert {(p.user, p.source, p.messages[0].role, len(p.messages)) for p in prompts} == {
        ("red-team", "redteam", "user", 1)
    }
    assert all(p.split in ("train", "valid") for p in prompts) and steps == [(1, 3), (2, 3)]


def test_what_is_no_question_or_like_an_earlier_one_stays_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of each rule's two texts one is no question; the few-shot stage says the first question again."""

    def says(stage: str, number: int, text: str) -> str:
        if stage == "few":
            return " are you a person?"
        return " are you a person?" if number % 2 else " nothing asked"

    prompts, asked, _ = attack(tmp_path, monkeypatch, says, redteam=4)
    assert [p.id for p in prompts] == ["redteam-kind-000", "redteam-brief-000"]
    assert set(asked[1][1]) == {
        "Be kind. 1. are you a person?\n2.",
        "Be brief. 1. are you a person?\n2.",
    }


@pytest.mark.parametrize(("share", "counts"), [(0.0, [8, 0]), (1.0, [0, 8]), (0.25, [4, 4])])
def test_the_share_of_the_few_shot_stage(
    share: float, counts: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two questions for each of two rules: a quarter of 2 rounds to 0 (half to even) at 0.25."""
    _, asked, _ = attack(tmp_path, monkeypatch, lambda *_: "no", redteam=4, few_shot_share=share)
    assert [len(texts) for _, texts in asked] == ([8, 0] if share == 0.25 else counts)
    assert attack(tmp_path, monkeypatch, lambda *_: "no", redteam=0)[0] == []


def test_at_most_five_examples_drawn_anew_for_every_question() -> None:
    cfg = Config(template="{rule}\n1.")
    earlier = [f"q{n}?" for n in range(8)]
    texts = [dialogues.opening_text(cfg, RULES[0], earlier, "few", number, 3) for number in range(12)]
    for text in texts:
        shown = re.fullmatch(r"Be kind\.\n1\. (.*)\n2\. (.*)\n3\. (.*)\n4\. (.*)\n5\. (.*)\n6\.", text)
        assert shown and len(set(shown.groups())) == 5 and set(shown.groups()) <= set(earlier)
    assert len(set(texts)) == 12
    assert texts[0] == dialogues.opening_text(cfg, RULES[0], earlier, "few", 0, 3)
    assert texts[0] != dialogues.opening_text(cfg, RULES[0], earlier, "few", 0, 4)
    other = RULES[1].model_copy(update={"text": "Be kind."})
    assert texts[0] != dialogues.opening_text(cfg, other, earlier, "few", 0, 3)
    assert dialogues.opening_text(cfg, RULES[0], [], "few", 0, 3) == "Be kind.\n1."


class Letters:
    """A tokenizer of one token a letter."""

    def __call__(self, text: str, **_: Any) -> Any:
        return type("Encoding", (), {"input_ids": [ord(letter) for letter in text]})

    def encode(self, text: str, **_: Any) -> list[int]:
        return [ord(letter) for letter in text]

    def decode(self, tokens: Sequence[int], skip_special_tokens: bool) -> str:
        assert skip_special_tokens
        return "".join(map(chr, tokens))


def test_how_questions_are_sampled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At temperature 1 from the nucleus of 0.9, each with a seed of its own; 8 tokens of 20 are the answer's,
    so a text may have 12."""
    requests: list[Request] = []

    def sample(policy: Any, rows: list[Request], eos: Any, slots: int) -> list[SampledAnswer]:
        assert (policy, eos, slots) == ("policy", frozenset({2}), 5)
        requests.extend(rows)
        return [SampledAnswer((*map(ord, "ab?"),), "stop", (0.0,) * 3, None) for _ in rows]

    monkeypatch.setattr(dialogues, "sample", sample)
    monkeypatch.setattr(dialogues, "encode_text", lambda tokenizer, text: tuple(tokenizer.encode(text)))
    speaker = Speaker("m", "policy", Letters(), frozenset({2}), 20, Sampling(0.3, 0.4, 9, 9))  # type: ignore[arg-type]
    cfg = Config(max_tokens=8, red_top_p=0.9, slots=5)
    context, _ = context_in(tmp_path)
    assert dialogues.continuations(cfg, speaker, ["x" * 12, "yy"], "few", context) == ["ab?", "ab?"]
    seeds = [derive_seed("redteam", 3, "learn.dialogues", "few", number) for number in (0, 1)]
    assert requests == [
        Request((ord("x"),) * 12, seeds[0], 8, 1.0, 0.9),
        Request((ord("y"),) * 2, seeds[1], 8, 1.0, 0.9),
    ]
    line = r"\[learn\.dialogues\] template: with a rule it leaves no room for 8 tokens: x{13}$"
    with pytest.raises(UserError, match=line):
        dialogues.continuations(cfg, speaker, ["yy", "x" * 13], "zero", context)


def test_peoples_dialogues_come_once_and_not_from_the_test(tmp_path: Path) -> None:
    """A comparison of one message is a question and no dialogue; a probe gives each of its user's messages."""

    def compared(name: str, split: Any, *texts: str) -> Comparison:
        wishes = (Wish(kind="mention", words=("salt",)),)
        prompt = Prompt(id=name, messages=messages(*texts), user="u", split=split, wishes=wishes)
        answers = (Answer(text="x", model="m"), Answer(text="y", model="m"))
        return Comparison(
            id=name, prompt=prompt, answers=answers, ranks=(1, 2), panel="training", **PROVENANCE
        )

    rows = [
        compared("c1", "train", "a"),
        compared("c2", "train", "a", "b", "c"),
        compared("c3", "valid", "a", "b", "c"),  # the same dialogue once more
        compared("c4", "test", "d", "e", "f"),
        compared("c5", "valid", "g", "h", "i"),
    ]
    probe = Probe(
        id="b", messages=messages("a", "b", "c", "d"), model="m", rule="r", rule_text=".", level="unsure",
        **PROVENANCE,
    )  # fmt: skip
    cfg = Config(
        comparisons=plain.write(tmp_path / "c", "comparisons.jsonl", rows),
        probes=plain.write(tmp_path / "p", "probes.jsonl", [probe]),
    )
    context, _ = context_in(tmp_path / "out")
    found = {row.id: row for row in dialogues.people_dialogues(cfg, context)}
    assert set(found) == {"c2", "c5", "b-1"}  # b cut behind c is c2
    assert [m.content for m in found["b-1"].messages] == ["a"] and found["b-1"].user == "ada"
    assert (found["c2"].split, found["c5"].split) == ("train", "valid")
    assert {(row.source, row.wishes) for row in found.values()} == {("people", ())}
    drawn = {
        tuple(r.id for r in dialogues.people_dialogues(cfg.model_copy(update={"people": 2}), c))
        for seed in range(8)
        for c in [StageContext(tmp_path / "out", "k", seed, lambda *_: None)]
    }
    assert {len(rows) for rows in drawn} == {2} and len(drawn) > 1  # at random, by the seed


class Player:
    """A speaker that says the turn's number after the first message; dialogues of `limit` messages have no
    room."""

    def __init__(self, limit: int = 99, bad: Sequence[str] = ()) -> None:
        self.limit, self.bad = limit, bad
        self.seeds: list[tuple[object, ...]] = []

    def fits(self, dialogue: Dialogue) -> bool:
        return len(dialogue.messages) < self.limit

    def candidates(self, rows: Sequence[Dialogue], count: int, *seed: object) -> list[list[Answer]]:
        assert count == 1
        self.seeds.append(seed)
        return [
            [Answer(text="User: me" if d.messages[0].content in self.bad else f"turn {seed[-1]}", model="m")]
            for d in rows
        ]


def question(number: int) -> Prompt:
    wishes = (Wish(kind="mention", words=("salt",)),)
    return Prompt(id=f"p{number}", messages=messages(f"q{number}"), user="u", split="valid", wishes=wishes)


@pytest.mark.parametrize(("statements", "turns"), [(1, 2), (2, 2), (3, 4)])
def test_self_play_goes_on_in_pairs(statements: int, turns: int, tmp_path: Path) -> None:
    """With two of four prompts asked as questions, it begins with the other two, then with those."""
    player = Player()
    context, steps = context_in(tmp_path)
    cfg = Config(questions=2, selfplay=3, statements=statements)
    played = dialogues.self_play(cfg, player, [question(n) for n in range(4)], context)  # type: ignore[arg-type]
    assert [row.id for row in played] == ["p2-selfplay", "p3-selfplay", "p0-selfplay"]
    assert [m.content for m in played[0].messages] == ["q2", *(f"turn {n}" for n in range(turns))]
    assert [m.role for m in played[0].messages] == [*["user", "assistant"] * (turns // 2), "user"]
    assert {(row.source, row.split, row.wishes) for row in played} == {("selfplay", "valid", ())}
    assert player.seeds == [("selfplay", 3, "learn.dialogues", turn) for turn in range(turns)]
    assert steps == [(3, 3)]


def test_self_play_leaves_out_what_is_not_usable_or_has_no_room(tmp_path: Path) -> None:
    context, _ = context_in(tmp_path)
    cfg = Config(questions=0, selfplay=9, statements=2)
    prompts = [question(n) for n in range(3)]
    player: Any = Player(bad=("q1",))
    played = dialogues.self_play(cfg, player, prompts, context)
    assert [row.id for row in played] == ["p0-selfplay", "p2-selfplay"]  # each once, whatever is asked for
    player = Player(limit=2)  # the answer fits, and the user's reply does not
    assert dialogues.self_play(cfg, player, prompts, context) == []


def test_both_splits_must_have_a_prompt(
    tmp_path: Path, models: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dialogues, "load_speaker", lambda folder, sampling: Player())
    context, _ = context_in(tmp_path / "out")
    settings: dict[str, Any] = {"policy": models[0], "redteam": 0, "selfplay": 0, "people": 0}
    for split, line in (
        (
            "test",
            r"^\[learn\.dialogues\] prompts: all belong to the split test; nothing may be learned from$",
        ),
        ("train", r"^\[learn\.dialogues\] no prompt belongs to the split valid; ask for more of them$"),
        ("valid", r"^\[learn\.dialogues\] no prompt belongs to the split train; ask for more of them$"),
    ):
        folder = plain.write(tmp_path / split, "prompts.jsonl", [plain.prompt(0, split)])
        with pytest.raises(UserError, match=line):
            dialogues.run(Config(prompts=folder, **settings), context)
    both = [plain.prompt(0, "train"), plain.prompt(1, "valid"), plain.prompt(2, "test"), plain.prompt(3)]
    folder = plain.write(tmp_path / "both", "prompts.jsonl", both)
    dialogues.run(Config(prompts=folder, questions=2, **settings), context)
    assert context.summary == {
        "prompts": 2, "questions": 2, "people": 0, "redteam": 0, "selfplay": 0,
        "redteam_self_bleu": None, "redteam_distinct_2": None, "redteam_without_words": 0,
    }  # fmt: skip


def test_the_summary_counts_each_source(
    tmp_path: Path, models: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two questions, three attacks with other words each (of 3 words: two pairs, all different)."""
    attacks = [question(n).model_copy(update={"messages": messages(f"a{n} b{n} c{n}")}) for n in range(3)]
    monkeypatch.setattr(dialogues, "load_speaker", lambda folder, sampling: sampling)
    monkeypatch.setattr(dialogues, "red_team", lambda *_: attacks)
    monkeypatch.setattr(dialogues, "self_play", lambda *_: attacks[:1])
    folder = plain.write(tmp_path / "p", "prompts.jsonl", [plain.prompt(0), plain.prompt(1, "valid")])
    context, _ = context_in(tmp_path / "out")
    dialogues.run(Config(policy=models[0], prompts=folder), context)
    expected = {"prompts": 6, "questions": 2, "people": 0, "redteam": 3, "selfplay": 1}
    assert context.summary.items() >= expected.items()
    assert context.summary["redteam_distinct_2"] == 1.0
