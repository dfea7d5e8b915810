"""A benchmark: one file, one task, any number of policies; every metric with its interval and its paired difference from the first policy.

One table in the TOML is one benchmark: `[measure.benchmarks.hellaswag] file = "hellaswag.jsonl.gz"`, `task = "hellaswag"`. The tasks are in `tasks/`, a file
each. Instead of policies, outputs that were made elsewhere can be scored, and the samples that OpenAI published. `answers.jsonl` holds what each policy gave
for each item, `results.jsonl` the table, summary.json the same numbers by name with the file's checksum and licence. It can be killed at any time: what is
answered is kept.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field

from biddable.measure import toxicity
from biddable.measure.benchmarks import aggregate, answers, inputs, published
from biddable.measure.benchmarks.published import Output
from biddable.measure.benchmarks.tasks import (
    INSTRUCTIONS,
    TASKS,
    GenerationItem,
    Item,
    LikelihoodItem,
    Marks,
    Result,
    few_shot_examples,
    to_question,
)
from biddable.measure.benchmarks.tasks.task import Scorer
from biddable.model.classifier import Classifier
from biddable.run import jsonl
from biddable.run.config import Input, Settings, UserError
from biddable.run.context import StageContext
from biddable.run.manifest import hash_file


class Config(Settings):
    renamed: ClassVar[dict[str, str]] = {"shape": "task"}
    file: Input | None = None
    """The items, one JSON object a line (also gzipped); without one they come with published samples in `outputs`."""
    task: Literal[
        "choice", "hellaswag", "truthfulqa", "truthfulqa_generation", "realtoxicity", "crows_pairs", "winogender", "bbq",
        "squad", "drop", "translation", "tldr", "ifeval", "refusal", "text",
    ] = "choice"  # fmt: skip
    """What a line holds, how it is asked and how it is scored: docs/evaluation.md."""
    policies: tuple[Input, ...] = ()
    """The policies to measure, all at once; without them `outputs` are measured."""
    outputs: Input | None = None
    """Outputs made elsewhere, measured instead of policies: a file of lines with `id`, `output` and, if they are several systems', `model`; or a CSV file of
    published samples."""
    names: dict[str, str] = Field(default={})
    """Short names of policies, e.g. {"learn.ppo.plain" = "plain"}; one that is not named here goes by its last word. Policies of several runs with
    the same name are named by their folders."""
    relative_to: str | None = None
    """Short name of the system that differences are taken from; none: the first."""
    limit: int | None = Field(default=None, ge=1)
    """Number of items at most, drawn at random, because files are often sorted by source; the run's seed decides which. None: all."""
    style: Literal["text", "chat"] = "text"
    """`text`: the policy continues the prompt as plain text, as in the paper; `chat`: the prompt is a user's message."""
    instruction: Literal["task", "none", "respectful", "biased", "careful"] = "task"
    """What stands first: the paper's instruction for this task (where it has one), nothing, one of the two for RealToxicityPrompts, or TruthfulQA's (D)."""
    shots: int = Field(default=0, ge=0)
    """Examples before the question: the file's first lines, which are not asked then; TruthfulQA has six pairs of its own."""
    max_tokens: int = Field(default=64, ge=1)
    """Length limit of an answer, in tokens."""
    temperature: float = Field(default=0.0, ge=0)
    """Sampling temperature (D: 0)."""
    truth_judge: Input | None = None
    """[learn.classifier] that recognises true answers, for truthfulqa_generation."""
    info_judge: Input | None = None
    """[learn.classifier] that recognises informative answers, for truthfulqa_generation."""
    toxicity: Input | None = None
    """[learn.classifier] that recognises toxic texts; it scores beside the default scorer, for realtoxicity."""
    resamples: int = Field(default=2000, ge=200)
    """Bootstrap resamples of items."""

    def judges(self) -> dict[str, Path]:
        """The trained classifiers that are named, by setting."""
        folders = {
            "truth_judge": self.truth_judge,
            "info_judge": self.info_judge,
            "toxicity": self.toxicity,
        }
        return {name: folder for name, folder in folders.items() if folder is not None}


def mistakes(cfg: Config) -> list[str]:
    """What is wrong with settings and files, read before anything runs: `biddable check` prints it."""
    paths = [path for path in (cfg.file, cfg.outputs) if path is not None]
    try:
        if errors := inputs.settings_errors(cfg):
            return errors
        if all(path.exists() for path in paths):
            inputs.load(cfg, 0)
    except UserError as error:
        return error.lines
    return []


def run(cfg: Config, context: StageContext) -> None:
    started = time.monotonic()
    try:
        items, systems = inputs.load(cfg, context.seed)
        inputs.check_judges(cfg)
    except UserError as error:
        raise UserError([f"[{context.key}] {line}" for line in error.lines]) from None
    task = TASKS[cfg.task]
    examples = few_shot_examples(task, items, cfg.shots)
    if not task.primer:  # lines that serve as examples are not asked
        items = items[cfg.shots :]
        systems = {name: outputs[cfg.shots :] for name, outputs in systems.items()}
    names = list(systems) or list(answers.policy_names(cfg.policies, cfg.names, context.key).values())
    relative_to = cfg.relative_to or names[0]
    if relative_to not in names:
        raise UserError(
            f"[{context.key}] relative_to = {relative_to}: there is no such system; there are {', '.join(names)}"
        )
    if systems:
        if issubclass(task, GenerationItem) and task.single_line:
            for name, outputs in systems.items():
                systems[name], cut = published.cut_to_one_line(outputs)
                context.summary |= {f"outputs_cut_{name}": cut} if cut else {}
        marks = score_outputs(cfg, items, systems)
    else:
        instruction = task.instruction if cfg.instruction == "task" else INSTRUCTIONS[cfg.instruction]
        questions = [to_question(item, instruction, examples) for item in items]
        results = answers.ask_policies(cfg, context, [item.id for item in items], questions)
        marks = score_results(cfg, items, results)
    rows = aggregate.results_table(
        marks, [item.cluster() for item in items], relative_to, task.metrics, cfg.resamples, context.seed
    )
    jsonl.write_objects(context.path("results.jsonl"), rows)
    for row in rows:
        context.summary |= summary_of_row(row)
    source = cfg.outputs if cfg.file is None or published.is_csv(cfg.outputs) else cfg.file
    context.summary |= {
        "shape": cfg.task,
        "items": len(items),
        "sha256": hash_file(source) if source else "",
        "licence": sorted({str(item.license or "not stated") for item in items}),
        "relative_to": relative_to,
        "working_seconds": round(time.monotonic() - started, 1),
    } | inputs.judge_quality(cfg)


def score_results(
    cfg: Config, items: Sequence[Item], results: Mapping[str, Sequence[Result]]
) -> dict[str, list[Marks]]:
    """Every policy's marks, item by item."""
    if issubclass(TASKS[cfg.task], GenerationItem):
        outputs = {name: [Output(str(text)) for text in texts] for name, texts in results.items()}
        return score_outputs(cfg, items, outputs)
    return {
        name: [
            item.score(result)
            for item, result in zip(items, likelihoods, strict=True)
            if isinstance(item, LikelihoodItem) and not isinstance(result, str)
        ]
        for name, likelihoods in results.items()
    }


def score_outputs(
    cfg: Config, items: Sequence[Item], systems: Mapping[str, Sequence[Output]]
) -> dict[str, list[Marks]]:
    """Every system's marks, item by item: the task's own, and the scores that were published with its outputs."""
    task = TASKS[cfg.task]
    assert issubclass(task, GenerationItem)
    judges = load_judges(cfg, task)
    marks = {}
    for name, outputs in systems.items():
        scores = task.score_all(
            [item for item in items if isinstance(item, task)], [output.text for output in outputs], judges
        )
        marks[name] = [
            score | output.published_marks() for score, output in zip(scores, outputs, strict=True)
        ]
    return marks


def load_judges(cfg: Config, task: type[GenerationItem]) -> dict[str, Scorer]:
    """The trained classifiers that the task reads with, by the settings that name them."""
    return {
        name: toxicity.trained(folder) if name == "toxicity" else Classifier(folder)
        for name, folder in cfg.judges().items()
        if name in (*task.required_judges, *task.optional_judges)
    }


def summary_of_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of the table under the names of summary.json: METRIC_MODEL, METRIC_MODEL_low, ..."""
    name = f"{row['metric']}_{row['model']}"
    ends = ["low", "high", *(end for end in ("exact_low", "exact_high") if end in row)]
    change = ["change", "change_low", "change_high", "change_p"] if "change" in row else []
    unjudged = ["unjudged"] if "unjudged" in row else []
    return {name: row["value"]} | {f"{name}_{key}": row[key] for key in (*ends, *change, *unjudged)}
