"""Task sets keep their names: an answer that people gave to a set must be found again by every later version of this program."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

from biddable.label import collection, comparisons, demonstrations, probes, prompts, ratings, rulechecks
from biddable.run import catalog
from biddable.run.config import Settings
from biddable.run.context import StageContext
from biddable.run.plan import load_plan
from biddable.store.store import open_store
from biddable.store.types import Task

TASKS = [Task("a-p0", '{"prompt":"x"}', 2), Task("b-p1", '{"prompt":"ä"}', 1)]
FROZEN = [
    (comparisons.Config(), "comparisons/3088ee4de270"),
    (
        comparisons.Config(
            labelers="simulated",
            panel="held_out",
            people=3,
            splits=("valid", "test"),
            limit=7,
            overlap=2,
            double_share=0.00001,
        ),
        "comparisons.judges/859fd5470b49",
    ),
    (demonstrations.Config(), "demonstrations/62e7bafa1326"),
    (
        demonstrations.Config(labelers="simulated", people=4, splits=("train",), limit=2),
        "demonstrations/615f50dbbe1d",
    ),
    (ratings.Config(), "ratings/475abef57fbb"),
    (
        ratings.Config(labelers="simulated", people=3, panel="training", overlap=2, enough=0.5, priority=3),
        "ratings/30d2a415855b",
    ),
    (rulechecks.Config(), "rulechecks/235d809330af"),
    (
        rulechecks.Config(
            rules=Path("rules.toml"), rules_each=2, panel="held_out", overlap=2, splits=("valid",), limit=9
        ),
        "rulechecks/9b45abfbd4f4",
    ),
    (prompts.Config(), "prompts/ae5809087b66"),
    (
        prompts.Config(plain=1, few_shot=2, pairs=3, use_cases=Path("cases.jsonl"), each=4),
        "prompts/399bdc2d2d13",
    ),
    (probes.Config(), "probes/e664dac5aec0"),
    (
        probes.Config(
            endpoint="http://10.0.0.1/v1",
            model="µ",
            rules=Path("r.toml"),
            dialogues=2,
            turns=3,
            panel="held_out",
        ),
        "probes/179e3bfde31c",
    ),
]
"""Names as the first version of November 2026 wrote them into stores."""


@pytest.mark.parametrize(("cfg", "name"), FROZEN, ids=lambda value: value if isinstance(value, str) else "")
def test_a_task_set_keeps_its_name(cfg: Settings, name: str) -> None:
    key = f"label.{name.split('/')[0]}"
    context = StageContext(Path("/tmp/run") / key, key, 3, lambda step, steps, numbers: None)
    assert collection.task_set_name(context, cfg, TASKS) == f"run/label.{name}"


FIXTURE = Path(__file__).parents[1] / "fixtures" / "run_of_november_2026.tar.xz"


def test_a_store_of_november_2026_gives_its_labels_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every label stage of an old run finds its set in the old store: no set is added, and the records come out byte for byte."""
    with tarfile.open(FIXTURE) as archive:
        archive.extractall(tmp_path, filter="data")
    monkeypatch.chdir(tmp_path)
    with open_store(tmp_path / "runs" / "old" / "store.db") as store:
        names = sorted(task_set.name for task_set in store.task_sets())
    keys = [
        name.split("/")[1]
        for name in names
        if name.split("/")[1].startswith("label.") and name.count("/") == 2
    ]
    assert len(keys) == 5
    for key in keys:
        plan = load_plan(Path("old.toml"), only=key)
        stage, file = plan.stage(key), plan.folder / key / f"{key.split('.')[1]}.jsonl"
        before = file.read_bytes()
        file.unlink()
        context = StageContext(plan.folder / key, key, plan.seed, lambda step, steps, numbers: None)
        catalog.import_stage(stage.name).run(stage.config, context)
        assert file.read_bytes() == before, key
    with open_store(tmp_path / "runs" / "old" / "store.db") as store:
        assert sorted(task_set.name for task_set in store.task_sets()) == names
