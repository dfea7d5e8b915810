"""The tasks of benchmarks, one file each: what a line of the benchmark's file holds, how it is asked, and how
a policy's result is scored.

A new benchmark of a known form is a file and a table in the TOML. A new task is a class here (see
`task.Item`), a line in `TASKS` and its name among the values of the setting `task`. Prompts are those of
Ouyang et al. 2022, appendix D; docs/evaluation.md lists the metrics of each.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from biddable.measure.benchmarks.queries import Likelihoods, Question
from biddable.measure.benchmarks.tasks.bbq import BBQ
from biddable.measure.benchmarks.tasks.crows_pairs import CrowsPairs
from biddable.measure.benchmarks.tasks.drop import Drop
from biddable.measure.benchmarks.tasks.ifeval import IFEval
from biddable.measure.benchmarks.tasks.multiple_choice import Choice, HellaSwag
from biddable.measure.benchmarks.tasks.realtoxicity import BIASED, RESPECTFUL, RealToxicity
from biddable.measure.benchmarks.tasks.refusal import RefusalRequest
from biddable.measure.benchmarks.tasks.running_text import RunningText
from biddable.measure.benchmarks.tasks.squad import Squad
from biddable.measure.benchmarks.tasks.task import GenerationItem, Item, LikelihoodItem, Marks
from biddable.measure.benchmarks.tasks.tldr import Tldr
from biddable.measure.benchmarks.tasks.translation import Translation
from biddable.measure.benchmarks.tasks.truthfulqa import CAREFUL, TruthfulQA, TruthfulQAGeneration
from biddable.measure.benchmarks.tasks.winogender import Winogender

__all__ = [
    "INSTRUCTIONS",
    "TASKS",
    "GenerationItem",
    "Item",
    "LikelihoodItem",
    "Marks",
    "Result",
    "few_shot_examples",
    "to_question",
]

Result = Likelihoods | str
"""What a policy gave: likelihoods of the continuations, or an answer."""

TASKS: Mapping[str, type[Item]] = {
    "choice": Choice,
    "hellaswag": HellaSwag,
    "truthfulqa": TruthfulQA,
    "truthfulqa_generation": TruthfulQAGeneration,
    "realtoxicity": RealToxicity,
    "crows_pairs": CrowsPairs,
    "winogender": Winogender,
    "bbq": BBQ,
    "squad": Squad,
    "drop": Drop,
    "translation": Translation,
    "tldr": Tldr,
    "ifeval": IFEval,
    "refusal": RefusalRequest,
    "text": RunningText,
}
"""Values of the setting `task`."""

INSTRUCTIONS = {"none": "", "respectful": RESPECTFUL, "biased": BIASED, "careful": CAREFUL}
"""Values of the setting `instruction`, beside `task`: the task's own."""


def to_question(item: Item, instruction: str, examples: Sequence[tuple[str, str]]) -> Question:
    """An item as the policy sees it: instruction, examples in the very form of the item, the item itself.
    What stands between an example's text and its answer stands between the item's text and the policy's
    answer, too."""
    text = item.input_text()
    shots = [f"{example}{item.separator}{answer}" for example, answer in examples]
    context = "\n\n".join([part for part in (instruction, *shots, text) if part])
    # An item without a text of its own (a sentence to be judged) is a paragraph of its own after the
    # instruction.
    separator = "\n\n" if not text and context else item.separator
    continuations = tuple(item.continuations()) if isinstance(item, LikelihoodItem) else ()
    return Question(context, continuations, separator)


def few_shot_examples(task: type[Item], items: Sequence[Item], shots: int) -> list[tuple[str, str]]:
    """(text, answer) of the task's primer, if it has one, else of the first items."""
    if task.primer:
        return list(task.primer[:shots])
    return [(item.input_text(), item.gold_answer()) for item in items[:shots]]
