"""Samples that were published elsewhere: OpenAI's CSV files beside Ouyang et al. 2022 (appendix F), and outputs in this project's own lines.

A CSV has one line for each item, model and kind of prompt; every model answers the same items. In `squadv2` and `drop` the character | separates alternative answers, in
`tldr` it separates the sentences of one reference. `true` and `info` (TruthfulQA) are probabilities by tuned judges, `toxicity` is the Perspective score of the sample.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from biddable.run import jsonl
from biddable.run.config import UserError

Row = dict[str, Any]
NO_ANSWER = "Not in background."
SHAPES = {"squad": "ref_text", "drop": "ref_text", "translation": "ref_text", "tldr": "ref_text"}
"""Shapes with a reference, and the column that holds it."""
SCORES = {"true": "true", "info": "info", "toxicity": "perspective"}
"""Columns with a number that was published with each sample, and what we call it."""


def is_csv(path: Path) -> bool:
    """Whether a file is a published CSV."""
    return path.name.endswith((".csv", ".csv.gz"))


def read(path: Path, shape: str) -> tuple[list[Row], dict[str, list[Row]]]:
    """(items, outputs by system): items in our own rows for `shape`; each system's outputs in the items' order, `output` and published scores.

    A system is called MODEL or MODEL:PROMPT. Raises UserError when systems do not answer the same items.
    """
    csv.field_size_limit(2**24)
    try:
        raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        lines = list(csv.DictReader(io.StringIO(raw.decode("utf-8"), newline="")))
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 at byte {error.start}; save the file as UTF-8") from None
    except (OSError, EOFError, zlib.error, csv.Error) as error:
        raise UserError(f"{path}: cannot be read ({error}); bring the file anew") from None
    reply = "answer" if shape.startswith("truthfulqa") else "sample"
    asked = "question" if shape.startswith("truthfulqa") else "context"
    wanted = {"model_type", asked, reply} | ({SHAPES[shape]} if shape in SHAPES else set())
    if not lines or (missing := wanted - set(lines[0])):
        told = ", ".join(sorted(missing)) if lines else "all"
        raise UserError(
            f"{path}: not a file of published samples for task = {shape!r}; columns missing: {told}"
        )
    systems: dict[str, list[Row]] = {}
    for line in lines:
        name = ":".join(line[key] for key in ("model_type", "prompt_type") if line.get(key))
        systems.setdefault(name, []).append(line)
    first = next(iter(systems.values()))
    wrong = [
        f"{path}: line {number} of the table: {key} = {line[key]}: a number from 0 to 1 was expected"
        for number, line in enumerate(lines, 1)
        for key in SCORES
        if line.get(key) and not share(line[key])
    ]
    wrong += [
        f"{path}: {name} answers other items than {next(iter(systems))}"
        for name, own in systems.items()
        if [line[asked] for line in own] != [line[asked] for line in first]
    ]
    if wrong:
        raise UserError(wrong)
    items = [item(number, line, shape) for number, line in enumerate(first)]
    outputs = {
        name: [
            {"output": line[reply] or ""}
            | {ours: float(line[key]) for key, ours in SCORES.items() if line.get(key)}
            for line in own
        ]
        for name, own in systems.items()
    }
    return items, outputs


def share(text: str) -> bool:
    """Whether a cell holds a number from 0 to 1."""
    try:
        return 0 <= float(text) <= 1
    except ValueError:
        return False


def item(number: int, line: Row, shape: str) -> Row:
    """One line of a CSV as a row of ours."""
    found: Row = {"id": str(number), "license": "published by OpenAI without a licence"}
    reference = line.get("ref_text") or ""
    match shape:
        case "squad":
            answers = [one.strip() for one in reference.split("|")]
            real = [one for one in answers if one != NO_ANSWER]
            return found | {
                "context": line["context"],
                "question": "",
                "answers": real,
                "is_impossible": not real,
            }
        case "drop":
            alternatives = [{"type": "span", "spans": [one]} for one in reference.split("|")]
            return found | {"passage": line["context"], "question": "", "answers": alternatives}
        case "translation":
            return found | {"fr": line["context"], "en": reference}
        case "tldr":
            return found | {
                "post": line["context"],
                "summary": reference,
                "summary_sentences": reference.split("|"),
            }
        case "realtoxicity":
            return found | {"prompt": {"text": line["context"]}}
        case "truthfulqa_generation":
            return found | {"question": line["question"]}
    raise UserError(f"task = {shape!r}: no samples of this kind were published")


def outputs(path: Path, names: Sequence[str]) -> dict[str, list[Row]]:
    """Outputs made elsewhere, one JSON object a line: `id`, `output` and, where several systems answer, `model`. In the order of the items' `names`.

    Raises UserError with a line for every wrong row and every system that leaves items out.
    """
    found: dict[str, dict[str, Row]] = {}
    wrong = []
    for number, line in jsonl.read_lines(path):
        try:
            row = json.loads(line)
            name = str(row.get("model", path.name.split(".")[0]))
            key, said = str(row["id"]), row["output"]
        except (ValueError, KeyError, AttributeError):
            wrong.append(f'{path}:{number}: a line such as {{"id": "...", "output": "..."}} was expected')
            continue
        if not isinstance(said, str):
            wrong.append(f"{path}:{number}: output = {json.dumps(said)[:40]}: text was expected")
            continue
        if key in found.setdefault(name, {}):
            wrong.append(f"{path}:{number}: a second output of {name} for item {key}")
        found[name][key] = {"output": said}
    for name, own in found.items():
        if left := [key for key in names if key not in own]:
            wrong.append(f"{path}: {name} has no output for {len(left)} items, the first is {left[0]}")
    if not found and not wrong:
        wrong.append(f"{path}: the file is empty; one output a line was expected")
    if wrong:
        raise UserError(wrong)
    return {name: [own[key] for key in names] for name, own in found.items()}
