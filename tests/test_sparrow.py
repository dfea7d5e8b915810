"""Sparrow's whole flow on a random model: people talk, rules are checked, five networks on one trunk, A2C and PPO on
the combined reward, probing by others, the frontier."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.killed import kill_and_finish, results

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def sparrow_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sparrow")
    for name in ("configs", "examples"):
        (folder / name).symlink_to(ROOT / name)
    run = subprocess.run(
        [sys.executable, "-m", "biddable.cli", "run", "configs/sparrow_tiny.toml"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    return folder


def fingerprint(folder: Path) -> str:
    return str(json.loads((folder / "model" / "biddable.json").read_text())["fingerprint"])


def test_all_models_stand_on_one_trunk(sparrow_run: Path) -> None:
    """Policy, preference model and rule model: the trunk's bytes are the start model's after every stage."""
    runs = sparrow_run / "runs" / "sparrow_tiny"
    names = ("learn.start", "learn.sft", "learn.reward", "learn.rules", "learn.a2c", "learn.ppo")
    assert len({fingerprint(runs / name) for name in names}) == 1


def test_every_policy_was_probed_by_others_and_judged_by_others(sparrow_run: Path) -> None:
    runs = sparrow_run / "runs" / "sparrow_tiny"

    def rows(stage: str, file: str) -> list[dict[str, object]]:
        return [json.loads(line) for line in (runs / stage / file).read_text().splitlines()]

    def openings(stage: str) -> set[str]:
        return {row["messages"][0]["content"] for row in rows(stage, "probes.jsonl")}  # type: ignore[index]

    assert not openings("learn.simulate.start") & openings("learn.simulate.test")
    trained = {row["labeler"] for row in rows("label.rulechecks", "rulechecks.jsonl")}
    graded = {row["labeler"] for row in rows("label.rulechecks.heldout", "rulechecks.jsonl")}
    assert trained and graded and not trained & graded
    models = {row["model"] for row in rows("learn.simulate.test", "probes.jsonl")}
    assert models == {"learn.start", "learn.sft", "learn.a2c", "learn.a2c+best2"}
    frontier = rows("measure.rules", "frontier.jsonl")
    assert {row["model"] for row in frontier} == {"start", "sft", "a2c", "a2c+best2"}


def test_the_report_has_the_frontier_with_the_reranked_policy(sparrow_run: Path) -> None:
    page = (sparrow_run / "runs" / "sparrow_tiny" / "measure.report" / "report.html").read_text(
        encoding="utf-8"
    )
    chapter = page.split('id="rules"')[1].split("<section")[0]
    assert "Being preferred and keeping the rules" in chapter and "a2c+best2" in chapter


def test_terms_are_logged_apart(sparrow_run: Path) -> None:
    lines = (sparrow_run / "runs" / "sparrow_tiny" / "learn.a2c" / "metrics.jsonl").read_text().splitlines()
    last = json.loads(lines[-1])
    assert {"reward_scorer", "reward_rules", "reward_length", "reward_invalid"} <= set(last)


def test_the_report_calls_the_policy_by_what_trained_it(sparrow_run: Path) -> None:
    page = (sparrow_run / "runs/sparrow_tiny/measure.report/report.html").read_text(encoding="utf-8")
    assert "What A2C did" in page and "What PPO did" not in page
    assert re.search(r"<h1[^>]*>[^<]*\bA2C\b", page) and not re.search(r"<h1[^>]*>[^<]*\bPPO\b", page)
    assert "Each nat costs" not in page  # A2C has its KL in the loss


def test_terms_apart_give_a_frontier_of_their_own(sparrow_run: Path) -> None:
    """configs/sparrow_terms.toml with this run's folders and sizes: five policies, two of them of one term alone."""
    text = (ROOT / "configs" / "sparrow_terms.toml").read_text(encoding="utf-8")
    text = text.replace("runs/sparrow/", "runs/sparrow_tiny/")
    small = {
        "episodes": 16,
        "batch": 8,
        "max_tokens": 12,
        "eval_prompts": 2,
        "reference_answers": 8,
        "probes": 1,
        "probe_turns": 1,
    }
    for name, value in {**small, "limit": 4, "min_answers": 2, "max_answers": 2}.items():
        text = re.sub(rf"^{name} = \d+$", f"{name} = {value}", text, flags=re.M)
    (sparrow_run / "terms.toml").write_text(text, encoding="utf-8")
    command = [sys.executable, "-m", "biddable.cli", "run", "terms.toml"]
    run = subprocess.run(command, cwd=sparrow_run, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    stages = sparrow_run / "runs" / "sparrow_terms"
    frontier = (stages / "measure.rules" / "frontier.jsonl").read_text().splitlines()
    names = {json.loads(line)["model"] for line in frontier}
    assert names == {"start", "sft", "a2c", "preference", "rules"}
    logged = {
        name: set(json.loads((stages / f"learn.a2c.{name}" / "metrics.jsonl").read_text().splitlines()[-1]))
        for name in ("preference", "rules")
    }
    assert "reward_scorer" in logged["preference"] and "reward_rules" not in logged["preference"]
    assert "reward_rules" in logged["rules"] and "reward_scorer" not in logged["rules"]


@pytest.mark.parametrize(
    ("stage", "settings"),
    [
        ("learn.rules", ("checkpoint_seconds=0",)),
        ("learn.dialogues", ()),
        ("learn.a2c", ("checkpoint_seconds=0",)),
        ("learn.simulate.test", ()),
    ],
)
def test_killed_stages_end_the_same(sparrow_run: Path, stage: str, settings: tuple[str, ...]) -> None:
    kill_and_finish(sparrow_run, "configs/sparrow_tiny.toml", stage, settings, (1.5, 5.0))
    runs = sparrow_run / "runs"
    assert results(runs / "killed" / stage) == results(runs / "sparrow_tiny" / stage)
