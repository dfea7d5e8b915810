"""`biddable show` prints a stage folder for reading."""

from __future__ import annotations

import json
from pathlib import Path

from biddable.cli import show

from .conftest import biddable


def test_show_is_for_reading(folder: Path) -> None:
    assert biddable(folder, "run", "my.toml")[0] == 0
    code, out, _ = biddable(folder, "show", "runs/my/curate.prompts")
    assert code == 0
    assert not set("{}[]'") & set(out)
    assert max(map(len, out.splitlines())) <= 80
    assert all(f"\n{part}\n" in out for part in ("inputs", "settings", "final numbers"))
    assert "\n  prompts_read" in out


def test_rows_end_at_the_newline_only(folder: Path) -> None:
    """U+2028, U+2029 and U+0085 are text; what is shown are the last samples."""
    assert biddable(folder, "run", "my.toml")[0] == 0
    stage = folder / "runs/my/curate.prompts"
    rows = [{"text": f"one\u2028two\u2029three\x85four {n}"} for n in range(5)]
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
    (stage / "samples.jsonl").write_text("".join(lines), encoding="utf-8")
    code, out, _ = biddable(folder, "show", "runs/my/curate.prompts")
    assert code == 0
    assert [f"four {n}" in out for n in range(5)] == [n >= 5 - show.SAMPLES for n in range(5)]
