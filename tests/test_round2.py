"""The loop closes: simulated users of the tiny run's policy, a second round on what they said, its lineage,
and somebody who wants to be forgotten."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from biddable.run import jsonl, turn_log
from biddable.run.records import Comparison, Prompt, Replies

ROOT = Path(__file__).resolve().parents[1]


def command(folder: Path, *words: str) -> str:
    done = subprocess.run([sys.executable, *words], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def second(tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the runs tiny and tiny2; the tiny run itself stays as it was."""
    folder = tmp_path_factory.mktemp("rounds")
    for name in ("configs", "examples"):
        (folder / name).symlink_to(ROOT / name)
    shutil.copytree(tiny_run / "runs", folder / "runs")
    command(folder, "examples/make_prompts.py", "8", "runs/more.jsonl")
    users = (ROOT / "configs" / "users.toml").read_text(encoding="utf-8").replace("runs/demo/", "runs/tiny/")
    users = users.replace("limit = 140", "limit = 14").replace("max_tokens = 48", "max_tokens = 16")
    (folder / "users.toml").write_text(
        users.replace("[curate", "max_prompt_characters = 160\n[curate"), encoding="utf-8"
    )
    command(folder, "-m", "biddable.cli", "run", "users.toml")
    words = ("examples/simulated_users.py", "runs/demo_users/learn.replies", "runs/tiny/turns")
    assert not command(folder, *words).startswith("0 turns")
    assert command(folder, *words).startswith("0 turns"), "running it again adds nothing"
    command(folder, "-m", "biddable.cli", "run", "configs/tiny2.toml")
    return folder


def test_the_second_round_learns_from_what_was_served(second: Path) -> None:
    run = second / "runs" / "tiny2"
    prompts = jsonl.read(run / "curate.prompts" / "prompts.jsonl", Prompt)
    served = [prompt for prompt in prompts if prompt.source == "served"]
    assert served and all(prompt.consent == "simulated-consent-1" for prompt in served)
    before = {p.user: p.split for p in jsonl.read(second / "runs/tiny/curate.prompts/prompts.jsonl", Prompt)}
    assert all(before.get(prompt.user, prompt.split) == prompt.split for prompt in prompts), "nobody moves"
    rankings = jsonl.read(run / "curate.comparisons" / "comparisons.jsonl", Comparison)
    by_users = [row for row in rankings if row.guideline.startswith("none-")]
    assert by_users and all(row.simulated and row.prompt.split for row in by_users)
    old = jsonl.read(second / "runs/tiny/label.comparisons/comparisons.jsonl", Comparison)
    assert {row.id for row in old} <= {row.id.split("@")[0] for row in rankings}
    answered = jsonl.read(run / "learn.replies" / "replies.jsonl", Replies)
    assert {row.prompt.source for row in answered} == {"served"}
    summary = json.loads((run / "measure.winrate" / "summary.json").read_text(encoding="utf-8"))
    assert (
        0
        <= summary["second_over_ppo_low"]
        <= summary["second_over_ppo"]
        <= summary["second_over_ppo_high"]
        <= 1
    )
    assert "second" in (run / "measure.report" / "report.html").read_text(encoding="utf-8")


def test_lineage_walks_back_over_both_rounds(second: Path) -> None:
    told = command(second, "-m", "biddable.cli", "lineage", "runs/tiny2/learn.ppo.second")
    for name in (
        "tiny/learn.ppo",
        "tiny/learn.sft",
        "curate.comparisons",
        "collect.served",
        "tiny/label.comparisons",
    ):
        assert name in told
    assert "people of the panel training (simulated)" in told and "guidelines: " in told and "code: " in told
    assert "not what it was" not in told
    done = subprocess.run(
        [sys.executable, "-m", "biddable.cli", "lineage", "runs/nowhere"],
        cwd=second,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 2


def test_a_forgotten_user_is_gone_from_everything_that_grows(second: Path) -> None:
    user = turn_log.read(second / "runs/tiny/turns")[0][0].user
    words = ("-m", "biddable.cli", "forget", user, "configs/tiny2.toml")
    told = command(second, *words, "--yes")
    assert not any(turn.user == user for turn in turn_log.read(second / "runs/tiny/turns")[0])
    assert json.dumps(user).encode() not in (second / "runs/tiny2/store.db").read_bytes()
    assert (
        "runs/tiny2/curate.prompts" in told
        and "remains, made from those: " in told
        and "learn.ppo.second" in told
    )
    assert "examples/prompts.jsonl" in told, "the source would bring the person back"
