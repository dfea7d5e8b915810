"""Toxicity scorers side by side: figures by hand, a trained one beside the default, splits kept apart,
refusals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from biddable.learn import classifier
from biddable.measure import toxicity
from biddable.model import classifier as classify
from biddable.run.config import UserError
from biddable.run.context import StageContext

KIND, RUDE = "What a lovely day in the park with all of you", "You are a stupid idiot"


def stage(folder: Path, key: str) -> StageContext:
    folder.mkdir(parents=True, exist_ok=True)
    return StageContext(folder, key, 1, lambda step, steps, numbers: None)


def texts(path: Path, count: int = 40) -> Path:
    """Kind and rude texts in turn, an unlabelled one last."""
    rows = [
        {
            "id": f"t{i}",
            "piece": {"text": RUDE if i % 2 else KIND, "score": (0.9 if i % 2 else 0.2) - i / 1000},
        }
        for i in range(count)
    ]
    rows.append({"id": "none", "piece": {"text": "?", "score": None}})
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def measure(folder: Path, **settings: Any) -> dict[str, Any]:
    context = stage(folder, "measure.toxicity")
    given = {"text": ("{piece.text}",), "label": ("piece.score",)}
    toxicity.run(toxicity.Config(**(given | settings)), context)
    return context.summary


def test_figures_by_hand() -> None:
    """Scores 1 2 3 4 against labels 0 1 0 1: three of four pairs in order; Pearson's r of 1 2 3 4 and .1 .9
    .2 .8 is .5 / sqrt(5 · .25) = .4472."""
    found = toxicity.compared(np.array([1.0, 2, 3, 4]), np.array([0.0, 1, 0, 1]), 200, 1)
    assert found["auc"] == 0.75 and found["auc_low"] <= 0.75 <= found["auc_high"] and "pearson" not in found
    # deviations -1.5 -.5 .5 1.5 and -.4 .4 -.3 .3: sum of products .6 - .2 - .15 + .45 = .7; sums of squares
    # 5 and .5
    found = toxicity.compared(np.array([1.0, 2, 3, 4]), np.array([0.1, 0.9, 0.2, 0.8]), 200, 1)
    assert (
        found["pearson"] == pytest.approx(0.7 / np.sqrt(5 * 0.5))
        and found["pearson_low"] < found["pearson"] < found["pearson_high"]
    )
    # Fisher: artanh .442719 = .47557, 1.96 / √(4 - 3) to each side
    half = 1.96
    middle = np.arctanh(0.7 / np.sqrt(5 * 0.5))
    assert (found["pearson_low"], found["pearson_high"]) == pytest.approx(
        (np.tanh(middle - half), np.tanh(middle + half))
    )
    assert found["spearman"] == pytest.approx(0.4)  # ranks 1 4 2 3: 1 - 6 · (0 + 4 + 1 + 1) / (4 · 15)


def test_the_default_and_one_trained_here(tmp_path: Path, policy: Path) -> None:
    file = texts(tmp_path / "rude.jsonl")
    own = stage(tmp_path / "learn.classifier.toxicity", "learn.classifier.toxicity")
    settings: dict[str, Any] = {
        "text": ("{piece.text}",),
        "label": ("piece.score",),
        "group": "id",
        "valid_share": 0.4,
    }
    rates = {"learning_rate": 1e-3, "head_learning_rate": 3e-2, "epochs": 4, "batch": 8}
    classifier.run(classifier.Config(policy=policy, files=(file,), **settings, **rates), own)
    found = measure(tmp_path / "a", files=(file,), classifiers=(own.folder,), only="valid")
    assert found["auc_profanity_check_rude"] == found["auc_toxicity_rude"] == 1.0
    assert found["pearson_toxicity_rude"] > 0.9
    others = measure(tmp_path / "b", files=(file,), classifiers=(own.folder,), only="train")
    assert found["texts_rude"] + others["texts_rude"] == 40 and found["texts_rude"] == own.summary["valid"]
    facts = own.folder / classify.FACTS
    facts.write_text(
        json.dumps(
            {k: v for k, v in json.loads(facts.read_text()).items() if k not in ("group", "valid_share")}
        )
    )
    assert (
        measure(tmp_path / "c", files=(file,), classifiers=(own.folder,))["texts_rude"] == 40
    )  # one of an older version
    with pytest.raises(UserError, match="it is their split"):
        measure(tmp_path / "d", files=(file,), classifiers=(own.folder,), only="valid")
    assert toxicity.trained(own.folder)([RUDE]) > toxicity.trained(own.folder)([KIND])


def test_refusals(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="0 keys for 1 of text"):
        measure(tmp_path / "o", files=(texts(tmp_path / "a.jsonl"),), label=())
    twin = tmp_path / "x" / "a.jsonl"
    twin.parent.mkdir()
    with pytest.raises(UserError) as refused:
        measure(
            tmp_path / "o",
            files=(texts(tmp_path / "a.jsonl"), texts(twin)),
            classifiers=(tmp_path,),
            label=(),
        )
    assert len(refused.value.lines) == 3 and "two are called a" in refused.value.lines[1]
    with pytest.raises(UserError, match="give classifiers"):
        measure(tmp_path / "o", files=(tmp_path / "a.jsonl",), only="valid")
    with pytest.raises(UserError, match="9 labelled texts; at least ten"):
        measure(tmp_path / "o", files=(texts(tmp_path / "b.jsonl", 9),))
    bad = tmp_path / "bad.jsonl"
    bad.write_text(
        '{"piece": {"text": "x", "score": "high"}}\n{"piece": {"score": 1}}\nnot json\n[]\n{"piece": '
        '{"score": 2, "text": ""}}\n'
    )
    with pytest.raises(UserError) as refused:
        measure(tmp_path / "o", files=(bad,))
    assert [line.rsplit("bad.jsonl:", 1)[1][0] for line in refused.value.lines] == ["1", "2", "3", "4", "5"]


def test_area_counts_ties_half() -> None:
    assert classify.roc_auc(np.array([1.0, 1.0]), np.array([0.2, 0.5])) == 0.5


def test_the_areas_interval_is_that_of_its_resamples() -> None:
    """Resampled one by one in the test: the 2.5 % and 97.5 % quantiles of the areas of resamples that have
    both labels."""
    chance = np.random.default_rng(2)
    labels = (chance.random(20) < 0.5).astype(float)
    scores = labels + chance.normal(size=20)
    draws = np.random.default_rng(5)
    areas = []
    for _ in range(300):
        rows = draws.integers(0, 20, size=20)
        yes, no = scores[rows][labels[rows] == 1], scores[rows][labels[rows] == 0]
        if len(yes) and len(no):
            areas.append(np.mean([float(a > b) + 0.5 * float(a == b) for a in yes for b in no]))
    found = toxicity.compared(scores, labels, 300, 5)
    assert found["auc_low"] == pytest.approx(np.quantile(areas, 0.025))
    assert found["auc_high"] == pytest.approx(np.quantile(areas, 0.975))
