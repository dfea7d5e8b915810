"""Simulated talk with policies that say what the test wants: who is asked, what is chosen, when a dialogue ends."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from biddable.learn import simulate
from biddable.learn.selfplay import Dialogue
from biddable.learn.simulate import preferences, probing, speaker
from biddable.learn.simulate.speaker import Sampling, Speaker
from biddable.learn.training import derive_seed
from biddable.model import checkpoints
from biddable.model.sampler import Request, SampledAnswer
from biddable.run import jsonl, rules
from biddable.run.config import UserError
from biddable.run.context import StageContext
from biddable.run.records import Answer, Finish, Message, Probe, Prompt, Wish
from biddable.simulated import labelers, probers, rule_judges
from tests.learn import plain


class Settings(NamedTuple):
    """What dialogues read of the stage's settings."""

    turns: int = 2
    candidates: int = 2
    panel: Any = "held_out"
    probes: int = 2
    probe_turns: int = 2


def context_in(folder: Path) -> tuple[StageContext, list[tuple[int, int]]]:
    steps: list[tuple[int, int]] = []
    folder.mkdir(exist_ok=True)
    return StageContext(folder, "learn.simulate", 3, lambda step, of, _: steps.append((step, of))), steps


def prompt(number: int) -> Prompt:
    wishes = (Wish(kind="mention", words=("salt",)),)
    message = Message(role="user", content=f"Name {number} things.")
    return Prompt(id=f"p{number}", messages=(message,), user="u", split="train", wishes=wishes)


class Fake:
    """A policy: its answers name it, the turn's seed and their number."""

    def __init__(self, name: str, most: int = 99, user_says: str = "And what of {}?") -> None:
        self.name, self.most, self.user_says = name, most, user_says
        self.reranker: Any = None
        self.seeds: list[tuple[object, ...]] = []
        self.finish: Finish = "stop"

    def fits(self, dialogue: Dialogue) -> bool:
        return len(dialogue.messages) <= self.most

    def candidates(self, rows: Sequence[Dialogue], count: int, *seed: object) -> list[list[Answer]]:
        self.seeds.append(seed)
        if seed[0] == "user":
            assert all(dialogue.role == "user" for dialogue in rows) and count == 1
            texts = [self.user_says.format(d.messages[0].content[5:6]) for d in rows]
            return [[Answer(text=text, model=self.name, finish=self.finish)] for text in texts]
        texts = [f"{self.name} {seed[-1]} {k}." for k in range(count)]
        return [[Answer(text=text, model=self.name) for text in texts] for _ in rows]

    def answers(self, rows: Sequence[Dialogue], *seed: object) -> list[Answer]:
        self.seeds.append(seed)
        return [Answer(text=f"{self.name} at {len(d.messages)}.", model=self.name) for d in rows]


def compare(
    tmp_path: Path, speakers: Sequence[Any], prompts: Sequence[Prompt], monkeypatch: pytest.MonkeyPatch
) -> tuple[list[Any], list[tuple[int, int]]]:
    """Preference dialogues with two people, who like the last answer best."""
    monkeypatch.setattr(labelers, "rank", lambda person, prompt, answers: tuple(range(len(answers), 0, -1)))
    monkeypatch.setattr(labelers, "choose", lambda person, prompt, answers: len(answers) - 1)
    context, steps = context_in(tmp_path)
    people = labelers.panel("held_out", 1, 2)
    return preferences.preference_dialogues(Settings(), speakers, prompts, people, context), steps


def test_a_dialogue_goes_on_from_the_chosen_answer_with_a_user_played_by_the_first_policy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b, best = Fake("a"), Fake("b"), Fake("a+best8")
    best.reranker = object()  # is probed, and has no part in preferences
    rows, steps = compare(tmp_path, [a, b, best], [prompt(0), prompt(1), prompt(2)], monkeypatch)
    names = ["sim-held-out-01", "sim-held-out-02"]
    assert [(row.id, row.labeler) for row in rows] == [
        *((f"p{n}-{names[n % 2]}", names[n % 2]) for n in range(3)),
        *((f"p{n}-t2-{names[n % 2]}", names[n % 2]) for n in range(3)),
    ]
    first, second = rows[1], rows[4]
    assert [(x.text, x.model) for x in first.answers] == [
        ("a 0 0.", "a"),
        ("a 0 1.", "a"),
        ("b 0 0.", "b"),
        ("b 0 1.", "b"),
    ]
    assert first.ranks == (4, 3, 2, 1) and first.prompt == prompt(1)
    assert [(m.role, m.content) for m in second.prompt.messages] == [
        ("user", "Name 1 things."),
        ("assistant", "b 0 1."),
        ("user", "And what of 1?"),
    ]
    assert (second.prompt.id, second.prompt.wishes, second.prompt.source, second.prompt.split) == (
        "p1-t2", (), "dialogue", "train",
    )  # fmt: skip
    assert {(r.panel, r.simulated, r.guideline) for r in rows} == {("held_out", True, "simulated-turns")}
    assert [x.text for x in second.answers] == ["a 1 0.", "a 1 1.", "b 1 0.", "b 1 1."]
    key = (3, "learn.simulate")
    assert a.seeds == [("turn", *key, 0), ("user", *key, 0), ("turn", *key, 1)]
    assert b.seeds == [("turn", *key, 0), ("turn", *key, 1)] and best.seeds == []
    assert steps == [(1, 2), (2, 2)]


def test_a_dialogue_ends_where_the_user_says_nothing_usable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cut off, in another speaker's words, or the same once more; an empty answer is not gone on from either."""
    for says, finish in (("And {}?", "length"), ("User: {}?", "stop"), ("Name {} things.", "stop")):
        policy = Fake("a", user_says=says)
        policy.finish = finish  # type: ignore[assignment]
        rows, _ = compare(tmp_path, [policy], [prompt(0)], monkeypatch)
        assert [row.prompt.id for row in rows] == ["p0"]
    silent = Fake("a")
    monkeypatch.setattr(
        silent, "candidates", lambda rows, n, *_: [[Answer(text=" ", model="a")] * n for _ in rows]
    )
    assert len(compare(tmp_path, [silent], [prompt(0)], monkeypatch)[0]) == 1


def test_a_dialogue_that_has_no_room_with_any_policy_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second policy holds two messages: the turn after the first needs three. The first must have room
    for the user's words too."""
    assert len(compare(tmp_path, [Fake("a"), Fake("b", 2)], [prompt(0)], monkeypatch)[0]) == 1
    assert len(compare(tmp_path, [Fake("a", 1), Fake("b")], [prompt(0)], monkeypatch)[0]) == 1
    assert len(compare(tmp_path, [Fake("a", 0), Fake("b")], [prompt(0)], monkeypatch)[0]) == 0
    assert len(compare(tmp_path, [Fake("a", 3), Fake("b", 3)], [prompt(0)], monkeypatch)[0]) == 2


def probe(
    tmp_path: Path, speakers: Sequence[Any], settings: Settings
) -> tuple[list[Probe], list[tuple[int, int]]]:
    context, steps = context_in(tmp_path)
    two = [rule for rule in rules.load(None) if rule.id in ("no-body", "no-insults")]
    people = labelers.panel(settings.panel, 1, 2)
    return probing.probe_policies(settings, speakers, two, people, context), steps


def test_every_policy_meets_the_same_openings(tmp_path: Path) -> None:
    a, b = Fake("a"), Fake("b")
    rows, steps = probe(tmp_path, [a, b], Settings())
    ids = [rule.id for rule in rules.load(None) if rule.id in ("no-body", "no-insults")]
    assert [row.id for row in rows] == [f"{m}-{rule}-00{n}" for m in "ab" for rule in ids for n in (0, 1)]
    people = labelers.panel("held_out", 1, 2)
    texts = {rule.id: rule.text for rule in rules.load(None)}
    for row in rows:
        number = int(row.id[-1])
        assert row.labeler == people[number].id and row.rule_text == texts[row.rule]
        first, reply, second, last = row.messages
        assert first.content == probers.opening(row.rule, "held_out", number)
        assert (reply.content, last.content) == (f"{row.model} at 1.", f"{row.model} at 3.")
        assert second.content == probers.next_message(row.rule, "held_out", number, row.messages[:2])
        assert [m.role for m in row.messages] == ["user", "assistant"] * 2
        level, turn = rule_judges.judge_dialogue(people[number], row.rule, row.messages)
        assert (row.level, row.turn) == (level, turn)
        assert row.simulated and row.guideline == "simulated-probes"
    assert a.seeds == b.seeds == [("probe", 3, "learn.simulate", turn) for turn in (0, 1)]
    assert steps == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_a_probe_without_room_ends_with_the_policys_answer(tmp_path: Path) -> None:
    rows, _ = probe(tmp_path, [Fake("a", most=2), Fake("b", most=3)], Settings(probe_turns=3))
    assert [len(row.messages) for row in rows] == [2] * 4 + [4] * 4
    assert all(row.messages[-1].role == "assistant" for row in rows)


def test_how_a_speaker_is_sampled(models: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """Seeds hang on the key, the name, the dialogue's number and the answer's; groups come back in order."""
    loaded = speaker.load_speaker(models[0], Sampling(0.5, 0.6, 7, 4))
    assert loaded.name == "learn.start" and loaded.context_length == 512
    assert loaded.eos == checkpoints.eos_ids(models[0], loaded.tokenizer)
    assert not any(p.requires_grad for p in loaded.policy.parameters())
    asked: list[Request] = []

    def sample(policy: Any, requests: list[Request], eos: Any, slots: int) -> list[SampledAnswer]:
        assert policy is loaded.policy and eos is loaded.eos and slots == 4
        asked.extend(requests)
        return [SampledAnswer((60 + n, 2), "stop", (0.0, 0.0), None) for n in range(len(requests))]

    monkeypatch.setattr(speaker, "sample", sample)
    rows = [Dialogue(prompt(n).messages) for n in (0, 1)]
    groups = loaded.candidates(rows, 3, "key", 5)
    assert [[x.tokens for x in group] for group in groups] == [
        [(60, 2), (61, 2), (62, 2)],
        [(63, 2), (64, 2), (65, 2)],
    ]
    assert {x.model for group in groups for x in group} == {"learn.start"}
    assert asked == [
        Request(row.ids(loaded.tokenizer), derive_seed("key", 5, "learn.start", n, k), 7, 0.5, 0.6)
        for n, row in enumerate(rows)
        for k in range(3)
    ]
    assert [x.tokens for x in loaded.answers(rows, "key")] == [(60, 2), (61, 2)]

    class Last:
        def choose(self, prompt_ids: Sequence[int], answers: Sequence[Sequence[int]]) -> int:
            assert prompt_ids in [row.ids(loaded.tokenizer) for row in rows]
            assert all(len(ids) == 2 for ids in answers)
            return len(answers) - 1

    best = loaded.best_of(4, Last())  # type: ignore[arg-type]
    assert (best.name, best.count, loaded.reranker) == ("learn.start+best4", 4, None)
    assert best.policy is loaded.policy
    assert [x.tokens for x in best.answers(rows, "key")] == [(63, 2), (67, 2)]
    size = len(rows[0].ids(loaded.tokenizer))
    for room, fits in ((7, True), (6, False)):
        loaded.context_length = size + room
        assert loaded.fits(rows[0]) is fits


def test_reranked_policies_stand_behind_their_own_on_the_first_ones_trunk(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    trunks: list[Any] = []

    def load(folder: Path, sampling: Sampling, shared: Any) -> Any:
        trunks.append(shared)
        policy: Any = type("Policy", (), {"trunk": f"trunk of {folder.name}"})
        return Speaker(folder.name, policy, None, frozenset(), 9, sampling)

    monkeypatch.setattr(simulate, "load_speaker", load)
    monkeypatch.setattr(simulate, "load_reranker", lambda *settings: settings)
    cfg = simulate.Config(
        policies=(Path("x/a"), Path("x/b"), Path("x/c")), reranked=(Path("x/b"),), rerank=3,
        reward=Path("r"), rule_model=Path("m"), rule_reduction="minimum",
    )  # fmt: skip
    book = rules.load(None)
    speakers = simulate.load_speakers(cfg, Sampling(1.0, 1.0, 4, 4), book)
    assert [s.name for s in speakers] == ["a", "b", "b+best3", "c"]
    assert trunks == [None, "trunk of a", "trunk of a"]
    assert speakers[2].reranker == (Path("r"), Path("m"), "trunk of b", book, "minimum")  # type: ignore[comparison-overlap]
    assert [s.reranker is None for s in speakers] == [True, True, False, True]


def test_the_share_of_broken_dialogues_is_a_policys_own() -> None:
    def row(model: str, level: Any) -> Probe:
        return Probe(
            id=model, messages=(Message(role="user", content="a"), Message(role="assistant", content="b")),
            model=model, rule="r", rule_text=".", level=level, labeler="l", simulated=True, guideline="g",
        )  # fmt: skip

    rows = [
        row("a", "definitely_breaks"), row("a", "probably_breaks"), row("a", "unsure"), row("a", "definitely_follows"),
        row("b", "probably_follows"),
    ]  # fmt: skip
    assert simulate.broken_share(Fake("a"), rows) == 0.5  # type: ignore[arg-type]
    assert simulate.broken_share(Fake("b"), rows) == 0.0  # type: ignore[arg-type]


def test_all_contradictions_at_once(tmp_path: Path) -> None:
    context, _ = context_in(tmp_path)
    cfg = simulate.Config(
        policies=(Path("a"),), reranked=(Path("b"), Path("a")), dialogues=1, candidates=1, reward=Path("r")
    )
    with pytest.raises(UserError) as error:
        simulate.check_settings(cfg, context)
    assert error.value.lines == [
        "[learn.simulate] candidates = 1: one policy needs at least 2 to choose from",
        "[learn.simulate] reranked: needs reward and rule_model, by which the best answer is chosen",
        "[learn.simulate] reranked: b is not among policies",
    ]
    two = cfg.model_copy(update={"policies": (Path("a"), Path("b")), "rule_model": Path("m")})
    simulate.check_settings(two, context)
    simulate.check_settings(two.model_copy(update={"reranked": (), "dialogues": 0, "probes": 1}), context)


def test_prompts_of_the_splits_asked_for(tmp_path: Path) -> None:
    rows = [plain.prompt(n, ("train", "test", "valid")[n % 3]) for n in range(6)]
    folder = plain.write(tmp_path / "p", "prompts.jsonl", rows)
    context, _ = context_in(tmp_path / "out")
    cfg = simulate.Config(prompts=folder, splits=("valid", "train"), dialogues=3)
    assert [row.id for row in simulate.read_prompts(cfg, context)] == ["p0", "p2", "p3"]
    line = r"^\[learn\.simulate\] dialogues = 3: only 2 prompts belong to the splits test$"
    with pytest.raises(UserError, match=line):
        simulate.read_prompts(cfg.model_copy(update={"splits": ("test",)}), context)
    assert simulate.read_prompts(cfg.model_copy(update={"dialogues": 0, "prompts": tmp_path}), context) == []


def test_the_stages_summary_and_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simulate, "load_speakers", lambda *_: [Fake("a"), Fake("b")])
    rows = [plain.prompt(n) for n in range(3)]
    folder = plain.write(tmp_path / "p", "prompts.jsonl", rows)
    context, _ = context_in(tmp_path / "out")
    cfg = simulate.Config(
        policies=(Path("a"), Path("b")), prompts=folder, dialogues=3, turns=1, candidates=1, probes=1,
        probe_turns=1, panel="held_out", people=2,
    )  # fmt: skip
    simulate.run(cfg, context)
    levels = [(row.model, row.level) for row in jsonl.read(context.path("probes.jsonl"), Probe)]
    broken = {name: sum(m == name and level.endswith("breaks") for m, level in levels) / 16 for name in "ab"}
    assert context.summary == {
        "comparisons": 3, "dialogues": 3, "probes": 32, "rules": 16, "simulated": True, "panel": "held_out",
        "broken_a": broken["a"], "broken_b": broken["b"],
    }  # fmt: skip
    context, _ = context_in(tmp_path / "none")
    simulate.run(cfg.model_copy(update={"dialogues": 0}), context)
    assert not context.path("comparisons.jsonl").exists() and context.path("probes.jsonl").exists()
    context, _ = context_in(tmp_path / "talk")
    simulate.run(cfg.model_copy(update={"probes": 0}), context)
    assert not context.path("probes.jsonl").exists() and "broken_a" not in context.summary
    (tmp_path / "own.toml").write_text('[[rule]]\nid = "own"\ntext = "x"\nquestion = "y"\n')
    line = r"^\[learn\.simulate\] rules: simulated probers know openings for none of them$"
    with pytest.raises(UserError, match=line):
        simulate.run(cfg.model_copy(update={"rules": tmp_path / "own.toml"}), context)
