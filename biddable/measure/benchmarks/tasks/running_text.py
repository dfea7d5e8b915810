"""Running text: how likely a policy finds it, in nats per token (the alignment tax without a benchmark of its
own)."""

from __future__ import annotations

from collections.abc import Sequence

from biddable.measure.benchmarks.queries import Likelihoods
from biddable.measure.benchmarks.tasks.task import NATS, LikelihoodItem, Marks


class RunningText(LikelihoodItem):
    """A piece of text; one continuation of nothing."""

    separator = ""
    metrics = {"nll": NATS}  # noqa: RUF012
    text: str

    def input_text(self) -> str:
        return ""

    def continuations(self) -> Sequence[str]:
        return (self.text,)

    def score(self, result: Likelihoods) -> Marks:
        """Weighted by tokens, so that the mean is per token of the whole file."""
        return {"nll": (-sum(result.logp), float(sum(result.tokens)))}
