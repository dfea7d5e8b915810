"""Toxicity scorers, side by side: how well each follows the Perspective scores and the labels of people.

A scorer is anything that gives texts a number from 0 to 1. The default is alt-profanity-check, whose model
comes with the package; a [learn.classifier] trained here is another. The Perspective API, which
RealToxicityPrompts was made with, ends with 2026, so numbers of different scorers must not be compared: one
scorer for all models.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field
from scipy import stats

from biddable.model import classifier as classify
from biddable.run.config import Input, Settings, UserError
from biddable.run.context import StageContext

DEFAULT = "profanity_check"
Scorer = Callable[[Sequence[str]], np.ndarray[Any, Any]]
"""Texts -> (N,) numbers from 0 (harmless) to 1."""


class Config(Settings):
    files: tuple[Input, ...] = (Path("examples/toxicity.jsonl"),)
    """JSONL files with texts and what people or another scorer said of them."""
    text: str | tuple[str, ...] = "{text}"
    """The texts of a line: names of its keys in braces, dots for keys within keys."""
    label: str | tuple[str, ...] = "label"
    """For each of `text`, the key of its label: true or false, or a number from 0 to 1. Texts without one are
    left out."""
    classifiers: tuple[Input, ...] = ()
    """[learn.classifier] folders to compare with the default scorer."""
    only: Literal["train", "valid"] | None = None
    """Measure only texts of the files that the classifiers kept out (`valid`) or were trained on; none:
    all."""
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
        raise UserError(
            f"{folder}: its text is {classifier.template!r}; a toxicity scorer reads one text alone"
        )
    classifier.template = classify.FIELD.sub("{text}", classifier.template)
    return lambda texts: classifier([{"text": text} for text in texts])


def run(cfg: Config, context: StageContext) -> None:
    split = classifiers_split(cfg, context)
    scorers: dict[str, Scorer] = {DEFAULT: profanity}
    scorers |= {name_of(folder): trained(folder) for folder in cfg.classifiers}
    templates, keys = classify.as_tuple(cfg.text), classify.as_tuple(cfg.label)
    examples = classify.examples(cfg.files, templates, keys, split[0] if split else None, context.key)
    if split:
        examples = {
            file: [e for e in rows if classify.is_held_out(e.group, split[1]) == (cfg.only == "valid")]
            for file, rows in examples.items()
        }
    if errors := [
        f"[{context.key}] files: {file}: {len(rows)} labelled texts; at least ten, of both labels, are "
        "needed: see text, label and only"
        for file, rows in examples.items()
        if len(rows) < 10 or len({e.label >= 0.5 for e in rows}) < 2
    ]:
        raise UserError(errors)
    step = 0
    for file, rows in examples.items():
        name, labels = file.name.split(".")[0], np.array([e.label for e in rows])
        for scorer, score in scorers.items():
            figures = compared(score([e.text for e in rows]), labels, cfg.resamples, context.seed)
            context.summary |= {f"{key}_{scorer}_{name}": value for key, value in figures.items()}
            step += 1
            context.progress(step, len(cfg.files) * len(scorers))
        context.summary[f"texts_{name}"] = len(rows)


def name_of(folder: Path) -> str:
    """A classifier's short name."""
    return folder.name.rsplit(".", 1)[-1]


def classifiers_split(cfg: Config, context: StageContext) -> tuple[str | None, float] | None:
    """The classifiers' (group, valid_share), when `only` asks for their split. Raises UserError with all
    settings that contradict each other."""
    errors = classify.paired_settings(classify.as_tuple(cfg.text), classify.as_tuple(cfg.label), context.key)
    for word, names in (
        ("classifiers", [DEFAULT, *map(name_of, cfg.classifiers)]),
        ("files", [file.name.split(".")[0] for file in cfg.files]),
    ):
        errors += [
            f"[{context.key}] {word}: two are called {name}"
            for name in sorted(set(names))
            if names.count(name) > 1
        ]
    splits = set()
    for folder in cfg.classifiers:
        try:
            info = classify.classifier_info(folder)
            splits |= (
                {(info["group"], float(info["valid_share"]))} if "group" in info else set()
            )  # older ones do not say
        except UserError as error:
            errors += [f"[{context.key}] classifiers: {line}" for line in error.lines]
    if cfg.only is not None and len(splits) != 1 and not errors:
        errors.append(
            f"[{context.key}] only = {cfg.only}: give classifiers, all of one group and valid_share: it is "
            "their split"
        )
    if errors:
        raise UserError(errors)
    return splits.pop() if cfg.only else None


def compared(
    scores: np.ndarray[Any, Any], labels: np.ndarray[Any, Any], resamples: int, seed: int
) -> dict[str, float]:
    """Area under the ROC curve against label >= 0.5, and, where labels are shares, correlations; intervals by
    bootstrap over texts."""
    figures = {"auc": classify.roc_auc(scores, labels)}
    chance = np.random.default_rng(seed)
    drawn = (chance.integers(0, len(scores), size=len(scores)) for _ in range(resamples))
    areas = [
        classify.roc_auc(scores[row], labels[row]) for row in drawn if 0 < (labels[row] >= 0.5).mean() < 1
    ]
    figures |= {"auc_low": float(np.quantile(areas, 0.025)), "auc_high": float(np.quantile(areas, 0.975))}
    if len(set(labels.tolist())) > 2:
        for word, measure in (("pearson", stats.pearsonr), ("spearman", stats.spearmanr)):
            value = float(measure(scores, labels).statistic)
            if word == "pearson":  # Fisher's interval
                middle, half = np.arctanh(value), 1.96 / np.sqrt(max(len(scores) - 3, 1))
                figures |= {
                    "pearson_low": float(np.tanh(middle - half)),
                    "pearson_high": float(np.tanh(middle + half)),
                }
            figures[word] = value
    return figures
