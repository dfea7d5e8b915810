"""Classifiers: scorers read as the probability of yes. What training and use share: how a row becomes text,
and a text token ids."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy import stats

from biddable.model import checkpoints
from biddable.model.encoding import encode_text, prefix_ids
from biddable.model.packing import Tree, pack
from biddable.model.trunk import Scorer
from biddable.run import jsonl, records
from biddable.run.config import UserError
from biddable.run.parse import parse_json, read_object

FACTS = "classifier.json"
"""Beside the model: its template, longest text, and what it tells."""
FIELD = re.compile(r"\{([\w.]+)\}")


def field_value(row: Mapping[str, Any], path: str) -> Any:
    """A row's value by a dotted path, e.g. "prompt.text". Raises KeyError when there is none."""
    value: Any = row
    for name in path.split("."):
        if not isinstance(value, Mapping):
            raise KeyError(path)
        value = value[name]
    return value


def fill_template(template: str, row: Mapping[str, Any]) -> str:
    """The template with {dotted.path} replaced by the row's values. Values are put in once and never read as
    templates."""
    return FIELD.sub(lambda match: str(field_value(row, match[1])), template)


class Example(NamedTuple):
    """A text and its label from 0 (no) to 1 (yes). Examples of one group, e.g. answers to one question, are
    in one split only."""

    text: str
    label: float
    group: str


def examples(
    files: Sequence[Path], templates: Sequence[str], labels: Sequence[str], group: str | None, key: str
) -> dict[Path, list[Example]]:
    """All labelled texts of JSONL files. A line has one for each template whose label (a key of its own) it
    carries; without `group` it is a group by itself.

    Raises UserError with a sentence for every line of any file that does not fit; `key` is the stage's name
    in it.
    """
    read: dict[Path, list[Example]] = {file: [] for file in files}
    errors = []
    for file in files:
        try:
            for number, line in jsonl.read_lines(file):
                try:
                    row = parse_json(line)
                    for template, path in zip(templates, labels, strict=True):
                        if (label := labelled(row, path)) is not None:
                            name = str(field_value(row, group)) if group else f"{file.name}:{number}"
                            read[file].append(Example(fill_template(template, row), label, name))
                except (ValueError, KeyError) as error:
                    missing = f"the key {error} is missing" if isinstance(error, KeyError) else str(error)
                    errors.append(f"[{key}] files: {file}:{number}: {missing}")
        except UserError as error:
            errors += [f"[{key}] files: {line}" for line in error.lines]
    if errors:
        raise UserError(errors)
    return read


def as_tuple(value: str | Sequence[str]) -> tuple[str, ...]:
    """A setting that holds one text or several."""
    return (value,) if isinstance(value, str) else tuple(value)


def paired_settings(templates: Sequence[str], labels: Sequence[str], key: str) -> list[str]:
    """Error lines for the settings `text` and `label`: there must be a label for each text, and texts may
    differ in names of keys only."""
    errors = []
    if not templates or len(labels) != len(templates):
        errors.append(
            f"[{key}] label: {len(labels)} keys for {len(templates)} of text; give one each, and at least one"
        )
    if len({FIELD.sub("{}", template) for template in templates}) > 1:
        errors.append(
            f"[{key}] text: {', '.join(map(repr, templates))} differ in more than names of keys; a "
            "classifier reads all texts alike"
        )
    return errors


def labelled(row: Any, path: str) -> float | None:
    """A line's label from 0 to 1; None when it has none. Raises ValueError for anything else."""
    if not isinstance(row, Mapping):
        raise ValueError(f"must be a JSON object, not {json.dumps(row)[:40]}")
    try:
        label = field_value(row, path)
    except KeyError:
        return None
    if label is None:
        return None
    if not isinstance(label, bool | int | float) or not 0 <= label <= 1:
        raise ValueError(f"{path} = {json.dumps(label)}: must be true, false or a number from 0 to 1")
    return float(label)


def is_held_out(group: str, share: float) -> bool:
    """Whether a group is in the split that measures, and not in the one that trains."""
    return records.hash_fraction("classifier", group) < share


def roc_auc(scores: np.ndarray[Any, Any], labels: np.ndarray[Any, Any]) -> float:
    """Area under the ROC curve: how often a text labelled 0.5 and more scores above one labelled less; ties
    count half. There must be texts of both kinds. By ranks: Mann-Whitney's U over the number of pairs."""
    yes = labels >= 0.5
    ranks = stats.rankdata(scores)
    return float((ranks[yes].sum() - yes.sum() * (yes.sum() + 1) / 2) / (yes.sum() * (~yes).sum()))


def tree(tokenizer: Any, text: str, longest: int) -> Tree:
    """A text as the scorer reads it: what the tokenizer puts before any text, the text's last tokens, `longest` of both, and an end,
    where the score is read."""
    prefix = prefix_ids(tokenizer)
    ids = encode_text(tokenizer, text)[len(prefix) :]
    ids = ids[max(0, len(ids) - (longest - len(prefix))) :]
    return Tree((), ((*prefix, *ids, int(tokenizer.eos_token_id)),))


@torch.no_grad()
def scores(scorer: Scorer, trees: Sequence[Tree], tokens: int = 4096) -> np.ndarray[Any, Any]:
    """Log odds of yes, in the trees' order; `tokens` per forward."""
    parts: list[np.ndarray[Any, Any]] = []
    batch: list[Tree] = []
    size = 0
    for number, text_tree in enumerate(trees):
        batch.append(text_tree)
        size += len(text_tree)
        if size >= tokens or number == len(trees) - 1:
            parts.append(scorer.scores(pack(batch, 128)).cpu().numpy())
            batch, size = [], 0
    return np.concatenate(parts) if parts else np.zeros(0)


def classifier_info(folder: Path) -> dict[str, Any]:
    """How a trained classifier reads its texts. Raises UserError for another folder."""
    path = folder / FACTS
    if not path.is_file():
        raise UserError(f"{folder}: is no classifier (no {FACTS}); name the folder of a [learn.classifier]")
    return read_object(path)


def template_fields(folder: Path) -> list[str]:
    """The keys that a trained classifier's template reads."""
    return list(dict.fromkeys(FIELD.findall(str(classifier_info(folder)["text"]))))


class Classifier:
    """A trained classifier for use: probabilities of yes for rows."""

    def __init__(self, folder: Path) -> None:
        info = classifier_info(folder)
        self.template, self.longest = str(info["text"]), int(info["longest"])
        self.tokenizer = checkpoints.tokenizer(folder)
        self.scorer = checkpoints.load_scorer(folder).freeze()

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> np.ndarray[Any, Any]:
        """(N,) probabilities. Raises KeyError when a row lacks a field of the template."""
        trees = [tree(self.tokenizer, fill_template(self.template, row), self.longest) for row in rows]
        return np.asarray(np.exp(-np.logaddexp(0, -scores(self.scorer, trees))))
