"""The classifier: it learns what can be learned, goes on to the same bytes, groups stay together, measures by
hand, refusals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from biddable.learn import classifier
from biddable.model import classifier as classify
from biddable.model import random_model
from biddable.run.config import UserError
from biddable.run.context import StageContext


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random policy cut at block 2."""
    from biddable.model import checkpoints

    folder = tmp_path_factory.mktemp("classifier") / "learn.start"
    folder.mkdir()
    checkpoints.import_model(
        str(random_model.save_random_model(tmp_path_factory.mktemp("source"))), folder / "model", trunk=2
    )
    return folder


def rows(path: Path, count: int = 80) -> Path:
    """Texts whose last word decides."""
    lines = [
        {"question": f"q{i}", "answer": "aaaa" if i % 2 else "zz", "label": bool(i % 2)} for i in range(count)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in lines))
    return path


def train(folder: Path, start: Path, **settings: Any) -> StageContext:
    folder.mkdir(parents=True, exist_ok=True)
    context = StageContext(folder, "learn.classifier", 1, lambda step, steps, numbers: None)
    defaults = {
        "text": "{answer}",
        "valid_share": 0.3,
        "batch": 8,
        "learning_rate": 1e-3,
        "head_learning_rate": 3e-2,
        "epochs": 4,
    }
    classifier.run(classifier.Config(policy=start, **(defaults | settings)), context)
    return context


def test_it_learns_and_is_used_as_trained(tmp_path: Path, start: Path) -> None:
    context = train(tmp_path / "out", start, files=(rows(tmp_path / "x.jsonl"),))
    assert context.summary["auc"] > 0.95
    judge = classify.Classifier(tmp_path / "out")
    probabilities = judge([{"answer": "aaaa"}, {"answer": "zz"}, {"answer": ""}])
    assert probabilities[0] > probabilities[1] and probabilities.shape == (3,)


def test_it_goes_on_to_the_same_bytes(tmp_path: Path, start: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = rows(tmp_path / "x.jsonl", 40)
    train(tmp_path / "straight", start, files=(file,), epochs=2)
    real, calls = classifier.microbatches, []

    def dies(*defaults: Any) -> Any:
        calls.append(1)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return real(*defaults)

    monkeypatch.setattr(classifier, "microbatches", dies)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "broken", start, files=(file,), epochs=2, checkpoint_seconds=0)
    train(tmp_path / "broken", start, files=(file,), epochs=2, checkpoint_seconds=0)
    for name in ("model.safetensors", "head.safetensors"):
        assert (tmp_path / "broken/model" / name).read_bytes() == (
            tmp_path / "straight/model" / name
        ).read_bytes()


def test_the_interval_draws_groups() -> None:
    """Two groups, one all right, one all wrong: a quarter of the resamples is 0, a quarter 1, whatever their
    size."""
    right = np.array([True] * 30 + [False] * 10)
    assert classifier.accuracy_interval(right, ["a"] * 30 + ["b"] * 10, 1) == (0.0, 1.0)
    assert classifier.accuracy_interval(right[:30], [f"{i}" for i in range(30)], 1) == (1.0, 1.0)


def test_measures_by_hand() -> None:
    # scores 2, 1, -1, -2 with labels 1, 0, 1, 0: of four pairs (yes, no) three are in order
    numbers = classifier.measures(np.array([2.0, 1.0, -1.0, -2.0]), np.array([1.0, 0.0, 1.0, 0.0]))
    assert (numbers["auc"], numbers["accuracy"], numbers["balanced_accuracy"], numbers["positive"]) == (
        0.75,
        0.5,
        0.5,
        0.5,
    )
    assert "pearson" not in numbers
    assert classifier.measures(np.array([2.0, 1.0, -2.0]), np.array([0.9, 0.6, 0.1]))[
        "spearman"
    ] == pytest.approx(1.0)


def test_fields_and_templates() -> None:
    row = {"a": {"b": "{c}"}, "c": 1}
    assert classify.fill_template("x {a.b} {c}", row) == "x {c} 1"  # a value is never read as a template
    with pytest.raises(KeyError):
        classify.fill_template("{a.z}", row)


def test_several_texts_of_a_line(tmp_path: Path, start: Path) -> None:
    """Prompt and continuation with labels of their own; one without a label is left out, and a line's texts
    stay in one split."""
    lines = [
        {
            "id": f"i{i}",
            "a": {"text": "aaaa", "score": 0.9},
            "b": {"text": "zz", "score": 0.1 if i % 4 else None},
        }
        for i in range(40)
    ]
    file = tmp_path / "x.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in lines))
    settings = {"text": ("{a.text}", "{b.text}"), "label": ("a.score", "b.score"), "group": "id"}
    (examples,) = classify.examples([file], settings["text"], settings["label"], "id", "x").values()
    assert (
        len(examples) == 70
        and [one.text for one in examples[:3]] == ["aaaa", "aaaa", "zz"]
        and examples[1].group == examples[2].group
    )
    context = train(tmp_path / "out", start, files=(file,), **settings)
    assert context.summary["train"] + context.summary["valid"] == 70 and context.summary["auc"] == 1.0
    with pytest.raises(UserError) as refused:
        train(
            tmp_path / "no",
            start,
            files=(file,),
            **(settings | {"text": ("Q: {a.text}", "A: {b.text}"), "label": ("a.score",)}),
        )
    assert len(refused.value.lines) == 2 and "differ in more than names of keys" in refused.value.lines[1]


def test_refusals(tmp_path: Path, start: Path) -> None:
    file = tmp_path / "bad.jsonl"
    file.write_text(
        '{"question": "q", "answer": "a", "label": 3}\n{"question": "q", "label": true}\nnot json\n'
        '{"question": "q"}\n'
    )
    with pytest.raises(UserError) as refused:
        train(tmp_path / "out", start, files=(file,))
    assert [line.split("bad.jsonl:")[1][0] for line in refused.value.lines] == ["1", "2", "3"]
    with pytest.raises(UserError, match="must hold both labels"):
        train(tmp_path / "out", start, files=(rows(tmp_path / "x.jsonl", 2),))
    with pytest.raises(UserError, match="is no classifier"):
        classify.Classifier(start)


def test_every_file_that_cannot_be_read_is_told_beside_wrong_lines(tmp_path: Path) -> None:
    from biddable.model.classifier import examples

    good, latin, wrong = (tmp_path / name for name in ("good.jsonl", "latin.jsonl", "wrong.jsonl"))
    good.write_text('{"t": "a", "y": 1, "g": "x"}\n{"t": "b"}\n')
    latin.write_bytes(b'{"t": "caf\xe9"}\n')
    wrong.write_text('{"y": 1, "g": "x"}\n{"t": "a", "y": 2, "g": "x"}\n[]\n')
    read = examples([good], ["{t}!"], ["y"], "g", "k")
    assert read == {good: [("a!", 1.0, "x")]}  # the second line has no label
    assert examples([good], ["{t}"], ["y"], None, "k")[good][0].group == "good.jsonl:1"
    with pytest.raises(UserError) as error:
        examples([latin, good, wrong], ["{t}"], ["y"], "g", "k")
    assert [line.removeprefix(f"[k] files: {tmp_path}/") for line in error.value.lines] == [
        "latin.jsonl:1: not UTF-8 at byte 10; save the file as UTF-8",
        "wrong.jsonl:1: the key 't' is missing",
        "wrong.jsonl:2: y = 2: must be true, false or a number from 0 to 1",
        "wrong.jsonl:3: must be a JSON object, not []",
    ]
