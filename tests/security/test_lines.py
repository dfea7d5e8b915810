"""Lines of JSON end at the newline only: U+2028, U+2029, U+0085 and form feeds are text, from a prompt's file to
turns, imports and what is shown."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import pytest

from biddable.cli.check import find_unreadable_lines
from biddable.cli.lineage import describe_lineage
from biddable.label import imports
from biddable.run import jsonl, traces, turn_log
from biddable.run.context import StageContext
from biddable.run.plan import load_plan
from biddable.run.records import Comparison, Prompt
from biddable.run.runner import run_stage
from tests.security.test_store import turn_of

PACKAGE = Path(__file__).resolve().parents[2] / "biddable"
BREAKS = "one\u2028two\u2029three\x85four\x0cfive\x0bsix\x1cseven\x1deight\x1enine"
WORDS = ("tea", "iron", "owls", "snow", "maps", "jazz", "salt", "loam", "kites")


def rows_with_breaks() -> list[dict[str, object]]:
    return [
        {
            "id": f"p{n}",
            "user": f"user{BREAKS}{n}",
            "messages": [{"role": "user", "content": f"{BREAKS}: what do you know of {word}?"}],
        }
        for n, word in enumerate(WORDS)
    ]


def write(path: Path, rows: list[dict[str, object]]) -> None:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def test_a_prompt_file_through_a_run_its_lineage_and_a_deletion(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "prompts.jsonl", rows_with_breaks())
    (tmp_path / "my.toml").write_text('[collect.files]\nfiles = ["prompts.jsonl"]\n', encoding="utf-8")
    assert list(find_unreadable_lines(tmp_path / "prompts.jsonl")) == []
    plan = load_plan(Path("my.toml"))
    run_stage(plan, plan.stage("collect.files"), lambda *_: None)
    made = plan.folder / "collect.files/prompts.jsonl"
    texts = [prompt.messages[0].content for prompt in jsonl.read(made, Prompt)]
    assert texts == [f"{BREAKS}: what do you know of {word}?" for word in WORDS]
    assert len(jsonl.read_objects(made)) == len(WORDS)
    assert f"{len(WORDS)} prompts" in next(describe_lineage(plan.folder / "collect.files"))
    assert traces.count_rows(made, f"user{BREAKS}0") == 1


def test_turns_are_appended_read_and_forgotten(tmp_path: Path) -> None:
    turns = [turn_of(f"{name}{BREAKS}") for name in ("ann", "bob")]
    turn_log.append(tmp_path, *turns)
    assert turn_log.read(tmp_path)[0] == turns
    assert turn_log.forget(tmp_path, turns[0].user)[0] == 1
    assert turn_log.read(tmp_path)[0] == turns[1:]


def test_labels_from_elsewhere(tmp_path: Path) -> None:
    pairs = [
        {"prompt": f"{BREAKS} {word}", "chosen": f"yes {BREAKS}", "rejected": f"no {BREAKS}"}
        for word in WORDS
    ]
    write(tmp_path / "pairs.jsonl", [*pairs])
    (tmp_path / "label.imports").mkdir()
    context = StageContext(tmp_path / "label.imports", "label.imports", 1, lambda *_: None)
    imports.run(imports.Config(files=(tmp_path / "pairs.jsonl",)), context)
    rows = jsonl.read(context.path("comparisons.jsonl"), Comparison)
    assert sorted(row.prompt.messages[0].content for row in rows) == sorted(
        str(pair["prompt"]) for pair in pairs
    )


TEXTS_NOT_LINES_OF_JSON = {
    "label/views/accounts.py",  # what an admin types, a name a line
    "cli/new.py",  # settings' docstrings
    "collect/text/docstrings.py",
    "run/memory.py",  # the system's files
    "simulated/taste.py",  # answers
}


def test_no_code_cuts_lines_anywhere_else() -> None:
    """`splitlines` and `iter_lines` cut at U+2028; only an error's first line, and texts that are no lines of JSON,
    may be cut so."""
    wrong = []
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not (
                isinstance(node, ast.Attribute) and node.attr in ("splitlines", "iter_lines", "aiter_lines")
            ):
                continue
            of_an_error = ast.unparse(node.value) == "str(error)"
            if not of_an_error and path.relative_to(PACKAGE).as_posix() not in TEXTS_NOT_LINES_OF_JSON:
                wrong.append(f"{path.relative_to(PACKAGE)}:{node.lineno}: {ast.unparse(node)}")
    assert wrong == []
