"""`biddable show` prints a stage folder for reading."""

from __future__ import annotations

from pathlib import Path

from .conftest import biddable


def test_show_is_for_reading(folder: Path) -> None:
    assert biddable(folder, "run", "my.toml")[0] == 0
    code, out, _ = biddable(folder, "show", "runs/my/curate.prompts")
    assert code == 0
    assert not set("{}[]'") & set(out)
    assert max(map(len, out.splitlines())) <= 80
    assert all(f"\n{part}\n" in out for part in ("inputs", "settings", "final numbers"))
    assert "\n  prompts_read" in out
