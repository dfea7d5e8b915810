"""Settings that a TOML file switches off with "none", through the command line to the weights."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from biddable.cli import main as cli
from tests.learn import plain

pytestmark = pytest.mark.usefixtures("fp32")


def summary(folder: Path, key: str) -> dict[str, Any]:
    return dict(json.loads((folder / "runs/off" / key / "summary.json").read_text(encoding="utf-8")))


def test_none_in_a_file_switches_off_what_would_be_read_and_done(
    tmp_path: Path, models: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """There are neither demonstrations nor running text, whose names are defaults. Without demonstrations the
    reward model's bias stays 0, without a missing-EOS score a cut answer is paid what the reward model says
    (about 0.25, its bias), with the default -1 at most."""
    start, reward = models
    answers = [plain.answer(50, 61, 2), plain.answer(51, 62, 63, 2)]
    rows = [plain.comparison(n, "valid" if n == 3 else "train", answers, (1, 2)) for n in range(4)]
    plain.write(tmp_path / "ranked", "comparisons.jsonl", rows)
    plain.write(
        tmp_path / "asked",
        "prompts.jsonl",
        [plain.prompt(n, split) for n, split in enumerate(("train", "train", "valid"))],
    )
    ppo = (
        f'policy = "{start}"\nreward = "{reward}"\nprompts = "asked"\ntext = "none"\nptx_coef = 0\n'
        "episodes = 16\nbatch = 16\nminibatch = 16\nmax_tokens = 2\nkl_coef = 0\neval_prompts = 1\n"
    )
    (tmp_path / "off.toml").write_text(
        f'[learn.reward]\npolicy = "{start}"\ncomparisons = "ranked"\ndemonstrations = "none"\nbatch = 2\nepochs = 1\n'
        f'[learn.ppo]\n{ppo}missing_eos_score = "none"\n[learn.ppo.least]\n{ppo}',
        encoding="utf-8",
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["biddable", "run", "off.toml"])
    with pytest.raises(SystemExit) as left:
        cli.main()
    assert not left.value.code
    assert summary(tmp_path, "learn.reward")["bias"] == 0.0
    manifests = {
        key: json.loads((tmp_path / "runs/off" / key / "manifest.json").read_text(encoding="utf-8"))
        for key in ("learn.reward", "learn.ppo", "learn.ppo.least")
    }
    assert manifests["learn.reward"]["settings"]["demonstrations"] is None
    assert "demonstrations" not in manifests["learn.reward"]["inputs"]
    assert (
        manifests["learn.ppo"]["settings"]["text"] is None and "text" not in manifests["learn.ppo"]["inputs"]
    )
    assert manifests["learn.ppo"]["settings"]["missing_eos_score"] is None
    cut = {}
    for key in ("learn.ppo", "learn.ppo.least"):
        lines = (tmp_path / "runs/off" / key / "samples.jsonl").read_text(encoding="utf-8").splitlines()
        cut[key] = [row["score"] for row in map(json.loads, lines) if row["finish"] == "length"]
    assert len(cut["learn.ppo"]) == len(cut["learn.ppo.least"]) > 0  # the same answers
    assert min(cut["learn.ppo"]) > -1.0 and set(cut["learn.ppo.least"]) == {-1.0}
