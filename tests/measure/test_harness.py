"""A saved policy in lm-evaluation-harness: the same accuracy there and here."""

from __future__ import annotations

import json
import os
import random
import subprocess
from pathlib import Path

import pytest

from biddable.measure import benchmarks
from biddable.run.context import StageContext

TASK = """
task: local_choices
dataset_path: json
dataset_kwargs: {{data_files: {{validation: "{file}"}}}}
output_type: multiple_choice
validation_split: validation
doc_to_text: "{{{{context}}}}"
doc_to_choice: "endings"
doc_to_target: "label"
metric_list:
  - {{metric: acc, aggregation: mean, higher_is_better: true}}
  - {{metric: acc_norm, aggregation: mean, higher_is_better: true}}
"""
SCRIPT = """
import json, sys
from lm_eval import simple_evaluate
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager
model, tasks, out = sys.argv[1:]
language_model = HFLM(pretrained=model, dtype="float32", device="cpu", batch_size=32)
found = simple_evaluate(language_model, tasks=["local_choices"], task_manager=TaskManager(include_path=tasks), bootstrap_iters=0)
json.dump({"acc": found["results"]["local_choices"]["acc,none"], "acc_norm": found["results"]["local_choices"]["acc_norm,none"]}, open(out, "w"))
"""


def items(path: Path) -> Path:
    """200 questions in HellaSwag's shape, of words drawn by chance."""
    chance = random.Random(4)
    words = [
        "river",
        "stone",
        "bright",
        "walks",
        "under",
        "seven",
        "quiet",
        "bakery",
        "lamps",
        "follow",
        "winter,",
        "then",
        "the",
        "old",
        "man",
        "said",
        "that",
        "nobody",
        "knows",
    ]

    def text(least: int, most: int) -> str:
        return " ".join(chance.choices(words, k=chance.randint(least, most)))

    rows = [
        {
            "id": f"{i}",
            "context": text(6, 14),
            "endings": [text(3, 9) + "." for _ in range(4)],
            "label": chance.randrange(4),
        }
        for i in range(200)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.mark.usefixtures("fp32")
def test_the_same_accuracy_there_and_here(tmp_path: Path, policy: Path, harness: str) -> None:
    file = items(tmp_path / "items.jsonl")
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "local.yaml").write_text(TASK.format(file=file))
    out = tmp_path / "found.json"
    offline = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "cache"), "TOKENIZERS_PARALLELISM": "false"}
    done = subprocess.run(
        [harness, "-W", "ignore", "-c", SCRIPT, str(policy / "model"), str(tmp_path / "tasks"), str(out)],
        env={**os.environ, **offline},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    theirs = json.loads(out.read_text())
    context = StageContext(tmp_path, "measure.benchmarks", 1, lambda step, steps, numbers: None)
    cfg = benchmarks.Config(
        file=file, task="hellaswag", instruction="none", policies=(policy,), resamples=200
    )
    benchmarks.run(cfg, context)
    assert context.summary["items"] == 200
    assert context.summary["accuracy_start"] == pytest.approx(theirs["acc"])
    assert context.summary["accuracy_per_character_start"] == pytest.approx(theirs["acc_norm"])
