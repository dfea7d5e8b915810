"""Toxicity scorers, side by side: how well each follows the Perspective scores and the labels of people.

A scorer is anything that gives texts a number from 0 to 1. The default is alt-profanity-check, whose model comes with the package; a [learn.classifier] trained here is
another. The Perspective API, which RealToxicityPrompts was made with, ends with 2026, so numbers of different scorers must not be compared: one scorer for all models.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field
from scipy import stats

from biddable.base import classify, records
from biddable.base.config import Input, Refusal, Settings
from biddable.base.runs import Here

Scorer = Callable[[Sequence[str]], np.ndarray[Any, Any]]
"""Texts -> (N,) numbers from 0 (harmless) to 1."""


class Config(Settings):
    files: tuple[Input, ...] = (Path("examples/toxicity.jsonl"),)
    """JSONL files with texts and what people or another scorer said of them."""
    text: tuple[str, ...] = ("text",)
    """Keys that hold texts, dots for keys within keys; lines without one are passed over."""
    label: tuple[str, ...] = ("label",)
    """For each of `text`, the key of its label: true or false, or a number from 0 to 1."""
    classifiers: tuple[Input, ...] = ()
    """[learn.classifier] folders to compare with the default scorer."""
    only: str | None = None
    """Measure only texts whose split says so: `valid` for those that a classifier of the same files was not trained on; none: all."""
    group: str | None = None
    """With `only`: the classifier's `group`."""
    valid_share: float = Field(default=0.1, gt=0, lt=1)
    """With `only`: the classifier's `valid_share`."""
    resamples: int = Field(default=1000, ge=200)
    """Bootstrap resamples of texts."""


def profanity(texts: Sequence[str]) -> np.ndarray[Any, Any]:
    """alt-profanity-check: a linear model on words, shipped with its package."""
    from profanity_check import predict_prob

    return np.asarray(predict_prob(list(texts)), dtype=float) if texts else np.zeros(0)


def trained(folder: Path) -> Scorer:
    """A [learn.classifier] whose template has one field, as a scorer of plain texts."""
    classifier = classify.Classifier(folder)
    names = classify.FIELD.findall(classifier.template)
    if len(names) != 1:
        raise Refusal(f"{folder}: its text is {classifier.template!r}; a toxicity scorer reads one text alone")
    classifier.template = classify.FIELD.sub("{text}", classifier.template)
    return lambda texts: classifier([{"text": text} for text in texts])


def run(cfg: Config, here: Here) -> None:
    if len(cfg.text) != len(cfg.label):
        raise Refusal(f"[{here.key}] label: {len(cfg.label)} keys for {len(cfg.text)} of text; give one each")
    scorers: dict[str, Scorer] = {"profanity_check": profanity}
    scorers |= {folder.name.rsplit(".", 1)[-1]: trained(folder) for folder in cfg.classifiers}
    done = 0
    for file in cfg.files:
        texts, labels = read(file, cfg, here)
        name = file.name.split(".")[0]
        for scorer, score in scorers.items():
            told = compared(score(texts), np.array(labels), cfg.resamples, here.seed)
            here.summary |= {f"{key}_{scorer}_{name}": value for key, value in told.items()}
            done += 1
            here.progress(done, len(cfg.files) * len(scorers))
        here.summary[f"texts_{name}"] = len(texts)


def read(file: Path, cfg: Config, here: Here) -> tuple[list[str], list[float]]:
    """Texts with labels. Raises Refusal when there are fewer than ten, or only one label."""
    texts, labels = [], []
    for number, line in records.lines(file):
        row = json.loads(line)
        for text, label in zip(cfg.text, cfg.label, strict=True):
            try:
                said, words = classify.field(row, label), classify.field(row, text)
                group = str(classify.field(row, cfg.group)) if cfg.group else f"{file.name}:{number}"
            except KeyError:
                continue
            held_out = records.fraction("classifier", group) < cfg.valid_share
            if said is None or (cfg.only is not None and held_out != (cfg.only == "valid")):
                continue
            texts.append(str(words))
            labels.append(float(said))
    if len(texts) < 10 or len({label >= 0.5 for label in labels}) < 2:
        raise Refusal(
            f"[{here.key}] files: {file}: {len(texts)} labelled texts; at least ten, of both labels, are needed: see text and label"
        )
    return texts, labels


def compared(scores: np.ndarray[Any, Any], labels: np.ndarray[Any, Any], resamples: int, seed: int) -> dict[str, float]:
    """Area under the ROC curve against label >= 0.5, and, where labels are shares, correlations; intervals by bootstrap over texts."""
    found = {"auc": area(scores, labels)}
    drawn = np.random.default_rng(seed).integers(0, len(scores), size=(resamples, len(scores)))
    areas = [area(scores[row], labels[row]) for row in drawn if 0 < (labels[row] >= 0.5).mean() < 1]
    found |= {"auc_low": float(np.quantile(areas, 0.025)), "auc_high": float(np.quantile(areas, 0.975))}
    if len(set(labels.tolist())) > 2:
        for word, measure in (("pearson", stats.pearsonr), ("spearman", stats.spearmanr)):
            value = float(measure(scores, labels).statistic)
            if word == "pearson":  # Fisher's interval
                middle, half = np.arctanh(value), 1.96 / np.sqrt(max(len(scores) - 3, 1))
                found |= {"pearson_low": float(np.tanh(middle - half)), "pearson_high": float(np.tanh(middle + half))}
            found[word] = value
    return found


def area(scores: np.ndarray[Any, Any], labels: np.ndarray[Any, Any]) -> float:
    """How often a text labelled toxic scores above one that is not; ties count half."""
    yes = labels >= 0.5
    ranks = stats.rankdata(scores)
    return float((ranks[yes].sum() - yes.sum() * (yes.sum() + 1) / 2) / (yes.sum() * (~yes).sum()))
