"""Classifiers: scorers read as the probability of yes. What training and use share: how a row becomes text, and a text token ids."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from biddable.base import models
from biddable.base.config import Refusal
from biddable.base.lm import Scorer
from biddable.base.packing import Tree, pack

FACTS = "classifier.json"
"""Beside the model: its template, longest text, and what it tells."""
FIELD = re.compile(r"\{([\w.]+)\}")


def field(row: Mapping[str, Any], path: str) -> Any:
    """A row's value by a dotted path, e.g. "prompt.text". Raises KeyError when there is none."""
    found: Any = row
    for word in path.split("."):
        if not isinstance(found, Mapping):
            raise KeyError(path)
        found = found[word]
    return found


def fill(template: str, row: Mapping[str, Any]) -> str:
    """The template with {dotted.path} replaced by the row's values. Values are put in once and never read as templates."""
    return FIELD.sub(lambda found: str(field(row, found[1])), template)


def tree(tokenizer: Any, text: str, longest: int) -> Tree:
    """A text as the scorer reads it: its last `longest` tokens and an end; the score is read at the end."""
    ids = tokenizer.encode(text, add_special_tokens=False)[-longest:]
    return Tree((), ((*ids, int(tokenizer.eos_token_id)),))


@torch.no_grad()
def scores(scorer: Scorer, trees: Sequence[Tree], tokens: int = 4096) -> np.ndarray[Any, Any]:
    """Log odds of yes, in the trees' order; `tokens` per forward."""
    found: list[np.ndarray[Any, Any]] = []
    held: list[Tree] = []
    for number, one in enumerate(trees):
        held.append(one)
        if sum(map(len, held)) >= tokens or number == len(trees) - 1:
            found.append(scorer.scores(pack(held, 128)).cpu().numpy())
            held = []
    return np.concatenate(found) if found else np.zeros(0)


class Classifier:
    """A trained classifier for use: probabilities of yes for rows."""

    def __init__(self, folder: Path) -> None:
        path = folder / FACTS
        if not path.is_file():
            raise Refusal(f"{folder}: is no classifier (no {FACTS}); name the folder of a [learn.classifier]")
        facts = json.loads(path.read_text(encoding="utf-8"))
        self.template, self.longest = str(facts["text"]), int(facts["longest"])
        self.tokenizer = models.tokenizer(folder)
        self.scorer = models.load_scorer(folder).freeze()

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> np.ndarray[Any, Any]:
        """(N,) probabilities. Raises KeyError when a row lacks a field of the template."""
        trees = [tree(self.tokenizer, fill(self.template, row), self.longest) for row in rows]
        return np.asarray(1 / (1 + np.exp(-scores(self.scorer, trees))))
