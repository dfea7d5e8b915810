"""An installation without extras: `new`, `check` and `status` work, and say what to install for the rest."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

EXTRAS = (
    "torch", "transformers", "safetensors", "gguf", "accelerate", "matplotlib", "httpx2", "prometheus_client",
    "pyarrow", "rensa", "phonenumbers", "py3langid", "sacrebleu", "rouge_score", "langdetect",
)  # fmt: skip
BASE = f"""
import sys
class NotInstalled:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {EXTRAS!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, NotInstalled())
from biddable.cli.main import main
main()
"""


def base(folder: Path, *arguments: str) -> tuple[int, str, str]:
    done = subprocess.run(
        [sys.executable, "-c", BASE, *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        env={**os.environ, "COLUMNS": "200"},
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def test_new_check_and_status_in_an_empty_folder(tmp_path: Path) -> None:
    assert base(tmp_path, "new", "my.toml")[::2] == (0, "")
    path = tmp_path / "my.toml"  # with microbatches that fit a small machine, or one where others work
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("microbatch_tokens = 8192", "microbatch_tokens = 1024"), encoding="utf-8")
    code, out, err = base(tmp_path, "check", "my.toml")
    assert (code, err) == (0, "")
    rows = {line.split()[0]: " ".join(line.split()[1:]) for line in out.splitlines() if line[:1].isalpha()}
    assert rows["collect.files"] == "ready reads prompts.jsonl"
    assert rows["learn.ppo"].startswith("not installed reads learn.sft")
    assert "pip install 'biddable[learn]'" in out
    code, out, err = base(tmp_path, "status", "my.toml")
    assert (code, err) == (0, "")
    lines = [line for line in out.splitlines() if "not installed" in line]
    assert any("learn.ppo " in line and "pip install 'biddable[learn]'" in line for line in lines)
    assert any("serve.api " in line and "pip install 'biddable[serve]'" in line for line in lines)
    assert not any("collect" in line or "curate" in line or "label" in line for line in lines)


def test_what_is_installed_runs_and_the_rest_is_refused_in_one_line(tmp_path: Path) -> None:
    base(tmp_path, "new", "my.toml")
    code, _, err = base(tmp_path, "collect.files", "my.toml")
    assert (code, err) == (0, "")
    summary = json.loads((tmp_path / "runs/my/collect.files/summary.json").read_text(encoding="utf-8"))
    assert summary["prompts"] == 40
    code, _, err = base(tmp_path, "learn.replies.start", "my.toml")
    line = "my.toml: [learn.replies.start] needs the package torch: pip install 'biddable[learn]'\n"
    assert (code, err) == (2, line)
    code, _, err = base(tmp_path, "run", "my.toml")
    assert code == 2 and line in err and "Traceback" not in err
    assert not (tmp_path / "runs/my/curate.prompts").exists()  # refused before anything runs


def test_names_and_arrows_of_a_stage_that_is_not_installed_are_checked(tmp_path: Path) -> None:
    (tmp_path / "my.toml").write_text(
        '[learn.ppo]\nkl_coeff = 0.1\npolicy = "learn.stf"\ntext = "none"\nprompts = "."\nreward = "."\n'
        '[learn.sft]\nmodel = "my.toml"\ndemonstrations = "my.toml"\n'
    )
    code, _, err = base(tmp_path, "check", "my.toml")
    assert code == 2
    assert "[learn.ppo] kl_coeff = 0.1: unknown key; did you mean 'kl_coef'?" in err
    assert "collect.text" not in err  # switched off
