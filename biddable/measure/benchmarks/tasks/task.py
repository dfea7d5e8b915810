"""What every benchmark task defines: an item is one line of the benchmark's file, and says how it is asked
and what a policy's result is worth.

A task is a class of items, in a file of its own beside this one. Two kinds, as in lm-evaluation-harness: a
`LikelihoodItem` compares how likely a policy finds several continuations (`multiple_choice` there), a
`GenerationItem` has it write an answer (`generate_until`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from typing import Annotated, Any, ClassVar, NamedTuple, Self

import numpy as np
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from scipy.special import logsumexp

from biddable.measure.benchmarks.queries import Likelihoods
from biddable.measure.statistics import UNBOUNDED, Bounds

Array = np.ndarray[Any, Any]
Marks = dict[str, tuple[float, ...]]
"""Metric -> (sum, weight) of one item: the metric is the sum of sums over the sum of weights, so that an item
counts only where it has a say. A corpus metric (BLEU) has more sums than these two; the last is its weight
all the same. An empty mark (`UNJUDGED`) says that the metric was asked and cannot tell."""
UNJUDGED: tuple[float, ...] = ()
"""The mark of an item that a metric cannot judge, such as a count of words where none can be counted."""
Scorer = Callable[[Sequence[Any]], Array]
"""A trained classifier: rows or texts -> (N,) probabilities."""
Texts = Annotated[list[str], Field(min_length=1)]


def mark(value: float) -> tuple[float, float]:
    """The mark of an item that counts once."""
    return float(value), 1.0


def weighted_mean(totals: Array) -> Array:
    """(B, 2) sums and weights -> (B,) means; 0 where nothing has a weight."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(totals[:, 1] > 0, totals[:, 0] / totals[:, 1], 0.0)


class Metric(NamedTuple):
    """What a metric's numbers can be, and which of them are good."""

    lower_is_better: bool = False
    bounds: Bounds = (0.0, 1.0)
    """The least and the greatest possible value; its interval ends there."""
    aim: float | None = None
    """The best value, where it is neither the highest nor the lowest."""
    statistic: Callable[[Array], Array] = weighted_mean
    """(B, S) totals of the items' marks -> (B,) values."""


SHARE = Metric()
"""What a metric is unless its task says otherwise: a share of the items, the higher the better."""
NATS = Metric(lower_is_better=True, bounds=UNBOUNDED)


class PublishedColumns(NamedTuple):
    """The columns of the CSV file with samples that OpenAI published for a task (Ouyang et al. 2022, appendix
    F)."""

    prompt: str = "context"
    output: str = "sample"
    reference: str | None = None


class Item(BaseModel):
    """One line of a benchmark's file. Strict: a number is no text, and true is no number. Keys that are not
    named are allowed and ignored."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)
    instruction: ClassVar[str] = ""
    """What stands before everything else with `instruction = "task"`."""
    separator: ClassVar[str] = " "
    """Between the text and what goes on from it."""
    primer: ClassVar[tuple[tuple[str, str], ...]] = ()
    """(text, answer) examples that come with the benchmark and take the place of lines of the file."""
    has_gold: ClassVar[bool] = False
    """Whether a line has one right answer, so that it can serve as an example."""
    metrics: ClassVar[Mapping[str, Metric]] = {}
    """The task's metrics that are no plain shares."""
    published: ClassVar[PublishedColumns | None] = None
    line: ClassVar[type[Item] | None] = None
    """What a line of the file holds, if that is not an item (`from_lines` makes items of lines then)."""

    id: Annotated[str, BeforeValidator(str)] = ""
    """Unique in the file; a line without one has its number."""
    license: Any = None

    def input_text(self) -> str:
        """What the policy reads, before the continuation or its answer."""
        raise NotImplementedError

    def gold_answer(self) -> str:
        """What follows the text when the item serves as an example."""
        raise NotImplementedError(f"{type(self).__name__} has no gold answer")

    def cluster(self) -> str:
        """Items that depend on each other, e.g. questions about one passage, share this name: resamples draw
        them together."""
        return self.id

    @classmethod
    def from_lines(cls, lines: Sequence[Any]) -> list[Self]:
        """The items that the lines of a file make."""
        return list(lines)

    @classmethod
    def from_published(cls, number: int, prompt: str, reference: str) -> Self:
        """An item from one line of the published CSV file. A reference may hold several parts, parted by
        `|`."""
        raise NotImplementedError(f"no samples of {cls.__name__} were published")


class LikelihoodItem(Item):
    """An item that is scored by how likely a policy finds its continuations."""

    def continuations(self) -> Sequence[str]:
        """The texts to compare, each after `input_text`."""
        raise NotImplementedError

    def score(self, result: Likelihoods) -> Marks:
        """What these likelihoods are worth."""
        raise NotImplementedError


class GenerationItem(Item):
    """An item that a policy answers in words."""

    single_line: ClassVar[bool] = True
    """The answer ends at its first line break."""
    required_judges: ClassVar[tuple[str, ...]] = ()
    """Settings that name a trained classifier without which the task cannot be scored."""
    optional_judges: ClassVar[tuple[str, ...]] = ()
    """Settings that name a trained classifier which scores beside the default."""

    def score(self, output: str) -> Marks:
        """What this answer is worth by itself."""
        return {}

    @classmethod
    def score_all(
        cls, items: Sequence[Self], outputs: Sequence[str], judges: Mapping[str, Scorer]
    ) -> list[Marks]:
        """Marks of all of one system's outputs; tasks that a model scores override this, so that it reads
        them at once. `judges`: setting -> scorer."""
        return [item.score(output) for item, output in zip(items, outputs, strict=True)]


def choice_entropy(logps: Sequence[float]) -> float:
    """Bits of the choice between sentences by their total log-probabilities (nats): 1 for two equally likely
    ones (Ouyang et al. 2022, appendix D.1)."""
    total = np.asarray(logps, dtype=float)
    share = np.exp(total - logsumexp(total))
    return float(-sum(p * math.log2(p) for p in share if p > 0))


def passage_cluster(*parts: object) -> str:
    """A name for the passage that an item asks about. Published samples carry earlier questions behind it;
    they are cut off."""
    texts = [str(part).split("\n\nQ:")[0].split("\nQuestion:")[0] for part in parts]
    return sha256(str(texts).encode()).hexdigest()
