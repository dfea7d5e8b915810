"""The rule model's training, splits and measures against the same written out on plain transformers
models."""

from __future__ import annotations

import gzip
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from biddable.learn import rules
from biddable.learn.rules import examples, measures
from biddable.learn.training import epoch_order
from biddable.model import checkpoints
from biddable.model.encoding import encode_chat
from biddable.model.rule_model import TrainedRule
from biddable.run.config import UserError
from biddable.run.records import Message, RuleCheck
from tests.learn import plain

pytestmark = pytest.mark.usefixtures("fp32")

TEXTS = {"short": "It is short.", "kind": "It is kind.", "sorry": "It says sorry."}


def row(number: int, split: str, **holds: float) -> dict[str, Any]:
    return {
        "id": f"r{number}",  # other keys are left alone
        "messages": [{"role": "user", "content": "salt fox " * (1 + number % 3) + str(number)}],
        "response": "kettle Paris " * (1 + number % 2),
        "rules": [{"id": id, "text": TEXTS[id], "holds": label} for id, label in holds.items()],
        "split": split,
    }


ROWS = [
    row(0, "train", short=1, kind=0, sorry=1),
    row(1, "train", short=0, kind=1, sorry=0),
    row(2, "train", short=1, kind=0.25),
    row(3, "train", sorry=1),
    row(4, "train", kind=1),
    row(5, "valid", short=1, kind=0, sorry=0),
    row(6, "valid", short=0, kind=1, sorry=1),
    row(7, "test", short=0, kind=1, sorry=1),
]
SETTINGS: dict[str, Any] = {
    "rulechecks": None,
    "held_out_rules": ("sorry",),
    "epochs": 2,
    "batch": 3,
    "learning_rate": 2e-3,
    "head_learning_rate": 1e-2,
    "weight_decay": 0.1,
    "clip_norm": 0.5,
    "warmup": 2,
    "template": "{text} {question}",
}


def run(folder: Path, start: Path, rows: list[dict[str, Any]] = ROWS, **settings: Any) -> Any:
    folder.mkdir(parents=True, exist_ok=True)
    with gzip.open(folder / "x.jsonl.gz", "wt") as file:
        file.write("".join(json.dumps(row) + "\n" for row in rows))
    context = plain.make_context(folder / "learn.rules", "learn.rules")
    cfg = rules.Config(policy=start, files=(folder / "x.jsonl.gz",), **(SETTINGS | settings))
    rules.run(cfg, context)
    return context


def tokens(start: Path, row: dict[str, Any], text: str, question: str = "Is this true of the answer?") -> Any:
    """Dialogue, reply and question as ChatML, written out."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(start / "model")
    turns = "".join(f"<|im_start|>{m['role']}\n{m['content']}<|im_end|>\n" for m in row["messages"])
    chat = f"{turns}<|im_start|>assistant\n"
    question_text = f"\n<|im_start|>user\n{text} {question}<|im_end|>\n<|im_start|>assistant\n"
    ids = [
        tokenizer.encode(part, add_special_tokens=False) for part in (chat, row["response"], question_text)
    ]
    return [*ids[0], *ids[1], tokenizer.eos_token_id, *ids[2]]


def test_every_update_and_every_measure(tmp_path: Path, models: tuple[Path, Path]) -> None:
    start, _ = models
    context = run(tmp_path, start, microbatch_tokens=256)
    train = ROWS[:3] + ROWS[4:5]  # the fourth has the held-out rule only
    network = plain.load(start)
    branch = plain.branch(network)
    from transformers import AutoTokenizer

    yes, no = (AutoTokenizer.from_pretrained(start / "model").encode(word)[0] for word in ("Yes", "No"))
    matrix = network.get_output_embeddings().weight.detach()
    head = (matrix[yes] - matrix[no]).clone().requires_grad_(True)
    bias = torch.zeros((), requires_grad=True)
    scorer = plain.PlainScorer(network, head, bias)
    adam, head_adam = plain.Adam(branch, decay=0.1), plain.Adam([head, bias])
    for step, logged in enumerate(plain.metrics(context)):
        epoch, at = divmod(step, 2)
        batch = [train[i] for i in epoch_order(4, 1, epoch)[3 * at : 3 * at + 3]]
        judged = [(r, rule) for r in batch for rule in r["rules"] if rule["id"] != "sorry"]
        loss = torch.zeros(())
        for reply, rule in judged:
            p = scorer.score([], tokens(start, reply, rule["text"])).sigmoid()
            loss = loss - (rule["holds"] * p.log() + (1 - rule["holds"]) * (1 - p).log()) / len(judged)
        loss.backward()
        rate = plain.cosine(step, 4, 2e-3) * min(1, (step + 1) / 2)
        norm = adam.step(rate, 0.5)
        head_adam.step(5 * rate, 0.5)
        expected = {"step": step + 1, "loss": loss.item(), "learning_rate": rate, "grad_norm": norm}
        assert logged == pytest.approx(expected, rel=2e-4)
    assert context.summary["steps"] == 4
    assert (context.summary["replies"], context.summary["judgements"], context.summary["rules"]) == (4, 7, 2)
    saved = plain.load_scorer(tmp_path / "learn.rules")
    plain.same_weights(saved.network.model, network.model)
    plain.only_the_branch_changed(saved.network.model, plain.load(start).model)
    torch.testing.assert_close(saved.weight, head.detach(), atol=2e-6, rtol=0)

    def log_odds(reply: dict[str, Any], rule: str) -> float:
        with torch.no_grad():
            return float(saved.score([], tokens(start, reply, TEXTS[rule])))

    # left-out replies under trained rules: 1 0 / 0 1
    order = [(ROWS[5], "short", 1), (ROWS[5], "kind", 0), (ROWS[6], "short", 0), (ROWS[6], "kind", 1)]
    scores = [log_odds(reply, rule) for reply, rule, _ in order]
    pairs = [(scores[0], scores[1]), (scores[0], scores[2]), (scores[3], scores[1]), (scores[3], scores[2])]
    assert context.summary["auc_valid"] == np.mean([better > worse for better, worse in pairs])
    losses = [math.log1p(math.exp(-s if y else s)) for s, (_, _, y) in zip(scores, order, strict=True)]
    assert context.summary["loss_valid"] == pytest.approx(np.mean(losses), rel=1e-3)
    assert context.summary["judgements_valid"] == 4
    # a rule never seen, on all replies but the split test: 1 0 1 (train), 0 1 (valid)
    assert context.summary["judgements_held_out_rules"] == 5
    assert list(context.summary["rules_held_out_rules"]) == ["sorry"]
    labelled = [(ROWS[i], y) for i, y in ((0, 1), (1, 0), (3, 1), (5, 0), (6, 1))]
    odds = [(log_odds(reply, "sorry"), y) for reply, y in labelled]
    above = [a > b for a, y in odds for b, z in odds if y > z]
    assert context.summary["auc_held_out_rules"] == np.mean(above)
    # and the saved rule model reads the same
    model = checkpoints.load_rule_model(tmp_path / "learn.rules")
    assert {rule.id for rule in model.rules} == {"short", "kind"}
    ids = encode_chat(model.tokenizer, [Message(**m) for m in ROWS[5]["messages"]])
    reply = model.tokenizer.encode(ROWS[5]["response"], add_special_tokens=False)
    unseen = TrainedRule("sorry", TEXTS["sorry"], examples.HOLDS)
    p = model.p_break([(*ids, *reply)], [*model.rules, unseen])[0]
    expected_p = [1 / (1 + math.exp(-log_odds(ROWS[5], rule.id))) for rule in (*model.rules, unseen)]
    torch.testing.assert_close(p, torch.tensor(expected_p), atol=1e-5, rtol=0)


def test_a_run_that_breaks_off_ends_with_the_same_bytes(tmp_path: Path, models: tuple[Path, Path]) -> None:
    unbroken = run(tmp_path / "a", models[0], rules_each=1, batch=1, epochs=3)

    class Killed(Exception):
        pass

    original = rules.accumulate_gradient
    calls = 0

    def stops(*arguments: Any) -> float:
        nonlocal calls
        calls += 1
        if calls in (3, 8):
            raise Killed
        return original(*arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rules, "accumulate_gradient", stops)
        for _ in range(2):
            with pytest.raises(Killed):
                run(tmp_path / "b", models[0], rules_each=1, batch=1, epochs=3, checkpoint_seconds=0)
        broken = run(tmp_path / "b", models[0], rules_each=1, batch=1, epochs=3, checkpoint_seconds=0)
    assert calls < 2 * 12  # it went on, and did not begin again
    names = ("metrics.jsonl", "model/model.safetensors", "model/head.safetensors", "model/biddable.json")
    for name in names:
        assert unbroken.path(name).read_bytes() == broken.path(name).read_bytes()
    assert unbroken.summary == broken.summary


def test_a_reply_has_other_rules_in_every_epoch_and_keeps_its_states(models: tuple[Path, Path]) -> None:
    model = checkpoints.load_rule_model(models[0])
    rows = [TrainedRule(f"r{n}", "It is " + "so " * n, "?") for n in range(6)]
    tree = next(model.trees((5, 6, 7), rows))
    cached = rules.split_hidden(rules.cache_trunk_outputs(model.scorer.trunk, [tree], 1.0)[0])
    example = rules.Example(cached, tuple(rows), tuple(n / 5 for n in range(6)), 0, "train")
    drawn = [rules.draw_rules(example, 2, 1, epoch, 0) for epoch in range(6)]
    assert drawn[0].rules == rules.draw_rules(example, 2, 1, 0, 0).rules
    assert len({part.rules for part in drawn}) > 2
    for part in drawn:
        assert part.labels == tuple(int(rule.id[1:]) / 5 for rule in part.rules)
        plain_tree = next(model.trees((5, 6, 7), part.rules))
        assert part.tree.answers == plain_tree.answers
        fresh = rules.cache_trunk_outputs(model.scorer.trunk, [plain_tree], 1.0)[0].hidden
        torch.testing.assert_close(torch.cat(part.tree.hidden), torch.cat(fresh), atol=1e-5, rtol=1e-4)


def check(
    number: int, level: Any, labeler: str = "l1", split: Any = "train", rule: str = "kind", **more: Any
) -> RuleCheck:
    return RuleCheck(
        id=f"k{number}-{rule}-{labeler}",
        prompt=plain.prompt(number, split),
        answer=plain.answer(60, 61 + number),
        rule=rule,
        rule_text=TEXTS[rule],
        level=level,
        labeler=labeler,
        panel="training",
        simulated=True,
        guideline="g1",
        **more,
    )


def test_levels_count_as_the_paper_says_and_unsure_by_setting() -> None:
    rows = [
        check(0, "definitely_breaks"),
        check(0, "probably_follows", "l2"),
        check(1, "unsure"),
        check(1, "definitely_follows", rule="sorry"),
        check(2, "probably_breaks", "l1"),
        check(2, "unsure", "l2"),
    ]
    dropped = examples.judge_checks(
        rows, "drop", 0.1, {("kind", TEXTS["kind"]): "Unkind?", ("sorry", "x"): "?"}
    )
    questions = {rule.id: rule.question for row in dropped for rule in row.labels}
    assert questions == {"kind": "Unkind?", "sorry": "Does the answer break this rule?"}
    assert [[sum(v) / len(v) for v in row.labels.values()] for row in dropped] == [[0.5], [0.0], [1.0]]
    half = examples.judge_checks(rows, "half", 0.1, {})
    assert [[sum(v) / len(v) for v in row.labels.values()] for row in half] == [[0.5], [0.5, 0.0], [0.75]]


def test_a_turn_is_judged_with_what_came_before_it_only() -> None:
    prompt = plain.prompt(0, "train").model_copy(
        update={
            "messages": tuple(
                Message(role=role, content=words)  # type: ignore[arg-type]
                for role, words in (("user", "a"), ("assistant", "b"), ("user", "c"))
            )
        }
    )
    row = check(0, "unsure").model_copy(update={"prompt": prompt})
    messages, reply = examples.judged_turn(row.model_copy(update={"turn": 1}))
    assert ([m.content for m in messages], reply.text, reply.tokens) == (["a"], "b", None)
    for turn in (None, 2):  # the answer; a user's turn is no reply
        messages, reply = examples.judged_turn(row.model_copy(update={"turn": turn}))
        assert ([m.content for m in messages], reply.tokens) == (["a", "b", "c"], (60, 61))


def test_rule_checks_train_and_held_out_labelers_measure(tmp_path: Path, models: tuple[Path, Path]) -> None:
    def level(number: int, rule: str) -> str:
        return "definitely_breaks" if (number + (rule == "kind")) % 2 else "probably_follows"

    rows = [
        check(n, level(n, rule), split="valid" if n > 5 else "train", rule=rule)
        for n in range(9)
        for rule in ("kind", "short")
    ]
    checks = plain.write(tmp_path / "label.rulechecks", "rulechecks.jsonl", rows)
    others = [row.model_copy(update={"labeler": "h1"}) for row in rows]
    held_out = plain.write(tmp_path / "label.rulechecks.heldout", "rulechecks.jsonl", others)
    context = plain.make_context(tmp_path / "learn.rules", "learn.rules")
    cfg = rules.Config(policy=models[0], rulechecks=checks, held_out=held_out, epochs=1)
    rules.run(cfg, context)
    assert context.summary["judgements"] == 12
    assert context.summary["judgements_valid"] == context.summary["judgements_held_out_labelers"] == 6
    assert context.summary["auc_valid"] == context.summary["auc_held_out_labelers"]  # they agree
    with pytest.raises(UserError, match=r"\[learn.rules\] held_out: labelers l1 also gave training data"):
        rules.run(cfg.model_copy(update={"held_out": checks}), context)


def test_measures_by_hand() -> None:
    scores = np.array([2.0, -1.0, 1.0, -2.0, 0.5, -0.5])
    labels = np.array([1.0, 1.0, 0.0, 0.0, 0.0, 0.0])
    rules_of = ["a", "a", "a", "a", "b", "b"]
    numbers = measures.rule_summary(scores, labels, rules_of, [0, 1, 2, 3, 4, 5], 1, "valid")
    # of the 2 x 4 pairs the first beats all 4, the second only -2
    assert numbers["auc_valid"] == 5 / 8
    # under a alone: 2 > 1, 2 > -2, -1 < 1, -1 > -2; b has one label only
    assert numbers["rules_valid"]["a"]["auc"] == numbers["auc_per_rule_valid"] == 3 / 4
    assert numbers["rules_valid"]["b"] == {
        "auc": None,
        "broken_called": 0,
        "broken_missed": 0,
        "kept_called": 1,
        "kept_passed": 1,
    }
    a = numbers["rules_valid"]["a"]
    assert (a["broken_called"], a["broken_missed"], a["kept_called"], a["kept_passed"]) == (1, 1, 1, 1)
    assert numbers["accuracy_valid"] == 3 / 6
    assert numbers["auc_valid_low"] <= 5 / 8 <= numbers["auc_valid_high"]
    # σ: 0.88, 0.27, 0.73, 0.12, 0.62, 0.38 -> fifths 4, 1, 3, 0, 3, 1
    assert [(row["judgements"], round(row["predicted"], 2), row["observed"]) for row in numbers["calibration_valid"]] == [
        (1, 0.12, 0.0),
        (2, round((0.26894 + 0.37754) / 2, 2), 0.5),
        (2, round((0.73106 + 0.62246) / 2, 2), 0.0),
        (1, 0.88, 1.0),
    ]  # fmt: skip
    assert measures.rule_summary(scores[:0], labels[:0], [], [], 1, "x") == {}


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (lambda r: r.pop("messages"), "x.jsonl.gz:1: JudgedReply messages: Field required"),
        (lambda r: r.update(rules=[]), "JudgedReply rules: Tuple should have at least 1 item"),
        (lambda r: r["rules"][0].update(broken=1), "give holds .* or broken .*, and not both"),
        (lambda r: r["rules"][0].update(holds=2), "less than or equal to 1"),
        (lambda r: r["rules"].append(r["rules"][0]), "x.jsonl.gz:1: the rule short is there twice"),
        (lambda r: r["rules"][0].update(text="Other."), r"the rule short has 2 texts; one id is one text"),
    ],
)
def test_wrong_lines_are_refused(tmp_path: Path, models: tuple[Path, Path], change: Any, line: str) -> None:
    rows = json.loads(json.dumps(ROWS))
    change(rows[0])
    with pytest.raises(UserError, match=line):
        run(tmp_path, models[0], rows)


def test_settings_that_cannot_work_are_refused(tmp_path: Path, models: tuple[Path, Path]) -> None:
    with pytest.raises(
        UserError, match="held_out_rules: polite has no labels; labelled are kind, short, sor"
    ):
        run(tmp_path, models[0], held_out_rules=("polite",))
    with pytest.raises(UserError, match="no rule to train on with a broken and a kept reply"):
        run(tmp_path, models[0], held_out_rules=("kind", "short", "sorry"))
    with pytest.raises(UserError, match=r"\[learn.rules\] rulechecks and files: both are empty; name one"):
        rules.run(rules.Config(rulechecks=None), plain.make_context(tmp_path / "c", "learn.rules"))
    long = json.loads(json.dumps(ROWS))
    long[1]["rules"][0]["text"] = "so " * 900
    long[0]["rules"][0]["text"] = "so " * 900
    long = [r for r in long if r["id"] in ("r0", "r1", "r5")]
    del long[2]["rules"][0]
    with pytest.raises(UserError, match=r"dialogue 'salt fox 0': rule short: its question has \d+ tokens"):
        run(tmp_path, models[0], long)
    deep = [*ROWS, row(8, "train", short=1) | {"response": "fox " * 3000}]
    run(tmp_path / "cut", models[0], deep, max_tokens=64, epochs=1)
    with pytest.raises(UserError, match="and the dialogue 30"):
        run(tmp_path, models[0], deep, max_tokens=None)
    with pytest.raises(UserError, match="the loss is"):
        run(tmp_path / "nan", models[0], learning_rate=1e30, head_learning_rate=1e30, epochs=9)


def test_a_dialogue_is_on_one_side_only() -> None:
    messages = (Message(role="user", content="hello"),)
    sides = {examples.split_of(messages, None, share) for share in (0.0, 0.999)}
    assert sides == {"train", "valid"}
    assert examples.split_of(messages, "test", 0.999) == "test"
    judged = examples.Collection(0.5)
    for number in range(40):
        for reply in ("a", "b"):
            judged.add(
                (Message(role="user", content=f"q{number}"),),
                plain.answer().model_copy(update={"text": reply}),
                None,
                [(TrainedRule("kind", "t", "q"), 1.0)],
            )
    sides_of = {(row.messages[0].content, row.split) for row in judged.rows()}
    assert len(sides_of) == 40
    assert 8 < sum(split == "valid" for _, split in sides_of) < 32


def test_the_documented_line_is_read(tmp_path: Path) -> None:
    flow = (Path(__file__).parents[2] / "docs" / "flow.md").read_text(encoding="utf-8")
    line = flow.split("`files` hold a reply")[1].split("```json\n")[1].split("\n")[0]
    (tmp_path / "x.jsonl").write_text(line + "\n")
    (judged,) = examples.read_files([tmp_path / "x.jsonl"], "learn.rules", 0.0)
    assert {(rule.id, rule.question): judged.label(rule) for rule in judged.labels} == {
        ("apology", "Is this true of the answer?"): 1.0,
        ("no-medical-advice", "Does the answer break this rule?"): 0.75,
    }
