"""`biddable new FILE`: a commented TOML file with every stage, every setting and every default."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from biddable.cli.arguments import File
from biddable.run import catalog
from biddable.run.errors import UserError

VARIANTS: dict[str, dict[str, Any]] = {
    "learn.replies.start": {"policies": ["learn.start"]},
    "learn.replies.test": {
        "policies": ["learn.start", "learn.sft", "learn.ppo"],
        "splits": ["test"],
        "min_answers": 1,
        "max_answers": 1,
    },
    "label.comparisons.heldout": {"replies": "learn.replies.test", "panel": "held_out"},
}
"""Stages that the paper's chain uses twice, under a third word, and what differs there."""

COMMENTED_OUT = {
    "collect.served",
    "curate.comparisons",
    "label.imports",
    "label.probes",
    "label.prompts",
    "label.rulechecks",
    "label.screening",
    "label.turns",
    "learn.a2c",
    "learn.classifier",
    "learn.dialogues",
    "learn.rerank",
    "learn.rules",
    "learn.simulate",
    "measure.benchmarks",
    "measure.judge",
    "measure.rewards",
    "measure.rules",
    "measure.toxicity",
}
"""Stages that a first loop does without, or that need a file or an address of the user's."""

PROMPTS = Path("prompts.jsonl")
"""What [collect.files] reads by default, below the folder in which commands run."""
EXAMPLE_PROMPTS = catalog.PACKAGE / "collect" / "files" / "example_prompts.jsonl"

HEADER = """\
# One run: every table is a stage; texts in quotes such as "learn.sft" are arrows to another stage's folder.
# "none" switches an optional setting off.
"""


def new(file: File) -> None:
    """Write a commented file with every stage and every default, and a few example prompts if there is no
    prompts.jsonl."""
    if file.exists():
        raise UserError(f"{file}: exists already; choose another name")
    if not file.parent.is_dir():
        raise UserError(f"{file}: there is no folder {file.parent}; make it first")
    file.write_text(template(file.stem), encoding="utf-8")
    print(f"wrote {file}; next: biddable check {file}")
    if not PROMPTS.exists():
        PROMPTS.write_bytes(EXAMPLE_PROMPTS.read_bytes())
        print(f"wrote {PROMPTS}, example prompts for a first try; put yours in their place")


def template(name: str) -> str:
    """The text of a new run's file."""
    lines = [HEADER + f"name = {json.dumps(name)}", "seed = 1", ""]
    for stage, summary in catalog.stage_names().items():
        table = [f"# {summary}", f"[{stage}]", *_setting_lines(stage), *_variant_lines(stage)]
        if stage in COMMENTED_OUT:
            lines.append("# Not part of the plain loop; take away the signs in front to use it:")
            table = [line if line.startswith("#") else f"# {line}" for line in table]
        lines += [*table, ""]
    return "\n".join(lines)


def _setting_lines(stage: str) -> Iterator[str]:
    for setting in catalog.settings(stage):
        yield from (f"# {line.strip()}" for line in setting.description.splitlines())
        if setting.default is None:
            yield f'# {setting.name} = "none"'
        else:
            comment = '  # or "none"' if setting.optional else ""
            yield f"{setting.name} = {format_toml(setting.default)}{comment}"


def _variant_lines(stage: str) -> Iterator[str]:
    for key, settings in VARIANTS.items():
        if key.startswith(stage + "."):
            yield from ("", f"# [{stage}] once more; every other setting as its default", f"[{key}]")
            yield from (f"{name} = {format_toml(value)}" for name, value in settings.items())


def format_toml(value: Any) -> str:
    """A value as TOML on one line. TOML writes texts, numbers and lists as JSON does, tables with `=`."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(k)} = {format_toml(v)}" for k, v in value.items()) + "}"
    return json.dumps(value, ensure_ascii=False)
