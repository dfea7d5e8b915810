"""Screening, part 3: demonstrations, also for sensitive prompts, that an admin grades from 1 to 7 (Ouyang et
al. 2022, B.1)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from biddable.label.queue import CollectedLabel
from biddable.run.jsonl import read
from biddable.run.records import Prompt
from biddable.store.types import Task


def tasks(path: Path) -> list[tuple[Task, str | None]]:
    """A task for each prompt of the file; nobody knows the answer."""
    rows: list[tuple[Task, str | None]] = []
    for prompt in read(path, Prompt):
        # written out with json: the names of tasks in people's stores hold a hash of this very text
        text = json.dumps({"prompt": prompt.model_dump(mode="json", exclude_none=True), "answers": []})
        rows.append((Task(prompt.id, text), None))
    return rows


def grades_of(labels: Sequence[CollectedLabel], grades: Mapping[str, int]) -> list[int]:
    """The grades that these labels were given; some may have none yet."""
    return [grades[label.id] for label in labels if label.id in grades]
