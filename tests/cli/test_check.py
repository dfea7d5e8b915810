"""`biddable check`: everything that is wrong before anything runs, in 80 columns."""

from __future__ import annotations

from pathlib import Path

from .conftest import TOML, biddable


def test_check_fits_80_columns_and_counts_sites_apart(folder: Path) -> None:
    long = (
        '[learn.start]\nmodel = "tiny"\n[learn.replies.with_a_rather_long_name]\npolicies = '
        '["learn.start"]\n[label.site]\n'
    )
    (folder / "my.toml").write_text(TOML + long, encoding="utf-8")
    code, out, err = biddable(folder, "check", "my.toml")
    assert (code, err) == (0, "")
    assert max(map(len, out.splitlines())) <= 80
    assert "learn.replies.with_a_rather_long_name" in out and "…" not in out and "GB" not in out
    assert "4 stages and 1 site into runs/my" in out


def test_check_reads_the_files_of_every_stage(folder: Path) -> None:
    (folder / "mine.jsonl").write_text('{"a": 1}\n{oops\n[1]\n', encoding="utf-8")
    (folder / "my.toml").write_text(
        TOML + '[learn.start]\nmodel = "tiny"\n[learn.classifier]\nfiles = ["mine.jsonl"]\n', encoding="utf-8"
    )
    code, out, err = biddable(folder, "check", "my.toml")
    assert (code, out) == (2, "")
    assert [line.split(": ")[1] for line in err.splitlines()] == [
        "[learn.classifier] mine.jsonl:2",
        "[learn.classifier] mine.jsonl:3",
    ]


def test_a_mistyped_table_is_one_line(folder: Path) -> None:
    for wrong in ("[collect.file]", "[colect.files]"):
        (folder / "my.toml").write_text(TOML.replace("[collect.files]", wrong), encoding="utf-8")
        code, _, err = biddable(folder, "check", "my.toml")
        assert code == 2 and len(err.splitlines()) == 1, err
        assert "did you mean" in err
