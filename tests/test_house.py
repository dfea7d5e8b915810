"""The rules of the house: who may import whom, how long things may get, that every setting and every number
is explained."""

from __future__ import annotations

import ast
import inspect
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from biddable.run import catalog, records
from biddable.run.plan import load_plan
from biddable.store import tables

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "biddable"
FILES = sorted(path for path in PACKAGE.rglob("*.py"))
FLOW = (ROOT / "docs" / "flow.md").read_text(encoding="utf-8")
KINDS = (
    "Prompt",
    "Text",
    "Replies",
    "Demonstration",
    "Comparison",
    "Rating",
    "Turn",
    "Feedback",
    "RuleCheck",
    "Probe",
)


def imported(path: Path) -> Iterator[str]:
    """Every module that a file names in an import, also within functions: biddable.run.config, torch, ..."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


GROUND = ("run", "store", "model", "web")
IMPORTS = {
    "run": (),
    "store": ("run",),
    "formats": ("run",),
    "simulated": ("run",),
    "model": ("run",),
    "web": ("run", "store"),
    "collect": ("run",),
    "curate": ("run",),
    "label": ("run", "store", "formats", "simulated", "web"),
    "learn": ("run", "simulated", "model"),
    "measure": ("run", "formats", "model"),
    "serve": GROUND,
    "cli": GROUND,
}
"""Which rooms a room imports beside itself. Rooms that are not named here meet in the store and in run
folders only."""

OWNERS = {
    "torch": ("model", "learn", "measure", "serve"),
    "transformers": ("model",),
    "sqlalchemy": ("store",),
    "alembic": ("store",),
    "fastapi": ("web", "label", "serve"),
}
"""Where a library may be imported: SQL is spoken in the store only, tensors are known in `model` and above
it."""


def test_rooms_import_downwards() -> None:
    wrong = []
    for path in FILES:
        room = path.relative_to(PACKAGE).parts[0]
        for name in imported(path) if room != path.name else ():
            parts = name.split(".")
            if (
                parts[0] == "biddable"
                and len(parts) > 1
                and parts[1] not in (room, *IMPORTS[room], "__version__")
            ):
                wrong.append(f"{path.relative_to(ROOT)} imports {name}")
            if room not in OWNERS.get(parts[0], (room,)):
                wrong.append(
                    f"{path.relative_to(ROOT)} imports {name}: that belongs to {', '.join(OWNERS[parts[0]])}"
                )
            if path.stem == "losses" and parts[0] not in ("__future__", "torch", "collections", "typing"):
                wrong.append(f"{path.relative_to(ROOT)} imports {name}: losses are pure")
    assert not wrong


def test_the_import_table_names_every_room_and_has_no_circle() -> None:
    assert set(IMPORTS) == {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").is_file()}
    below: set[str] = set()
    for room, imports in IMPORTS.items():
        assert set(imports) <= below, f"{room} imports a room that stands behind it in the table"
        below.add(room)


def test_labeling_needs_no_torch_and_importing_is_free(tmp_path: Path) -> None:
    names = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for path in FILES
        if path.relative_to(PACKAGE).parts[0] in ("collect", "curate", "label") and path.stem != "__init__"
    ]
    code = (
        f"import importlib, sys\nfor name in {[*names, 'biddable.cli']!r}: importlib.import_module(name)\n"
        "print([name for name in ('torch', 'transformers', 'matplotlib') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
    assert done.stderr == ""
    assert list(tmp_path.iterdir()) == []


def test_the_site_starts_without_what_only_few_pages_need(tmp_path: Path) -> None:
    """Built on a store that is there: no torch, no numbers, no migrations."""
    code = (
        "import sys; from biddable.label import site; site.application(site.Config(), 'store.db'); "
        "print([name for name in ('torch', 'numpy', 'scipy', 'pandas', 'matplotlib', 'alembic', 'psycopg') "
        "if name in sys.modules])"
    )
    for expected in ("['alembic']", "[]"):  # only the first time are there migrations
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
        )
        assert done.stdout.strip() == expected, done.stderr


LONGEST_FILE = 400


def test_files_and_functions_stay_short() -> None:
    wrong = []
    for path in FILES:
        text = path.read_text(encoding="utf-8")
        if (lines := text.count("\n")) > LONGEST_FILE:
            wrong.append(f"{path.relative_to(ROOT)}: {lines} lines, at most {LONGEST_FILE}")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = (node.end_lineno or 0) - node.lineno + 1
                if length > 80:
                    wrong.append(f"{path.relative_to(ROOT)}: {node.name} has {length} lines, at most 80")
    assert not wrong


@pytest.mark.parametrize("name", sorted(catalog.stage_names()))
def test_a_stage_says_what_it_makes_and_every_setting_is_explained_and_read(name: str) -> None:
    stage = catalog.import_stage(name)
    assert (stage.__doc__ or "").split("\n")[0].rstrip().endswith((".", ":")), (
        "the docstring's first line is a sentence"
    )
    assert callable(stage.serve if catalog.is_site(name) else stage.run)
    assert stage.Config.model_config["frozen"]
    # the stage's file, and those of the classes that its Config inherits settings from: what reads these
    # stands beside them
    files = {
        Path(inspect.getfile(base))
        for base in stage.Config.__mro__
        if base.__module__.startswith("biddable.") and base.__module__ != "biddable.run.config"
    }
    source = Path(str(stage.__file__))
    files |= set(source.parent.glob("*.py")) if source.name == "__init__.py" else {source}
    read = {
        node.attr
        for file in files
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id in ("cfg", "self")
    }
    for word, field in stage.Config.model_fields.items():
        assert field.description, f"{name} {word} has no docstring"
        assert word in read, f"{name} {word} is never read"


def test_new_files_are_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "biddable.cli", "new", "fresh.toml"],
        cwd=tmp_path,
        capture_output=True,
        check=True,
    )
    assert done.stderr == b""
    monkeypatch.chdir(tmp_path)
    plan = load_plan(tmp_path / "fresh.toml")
    commented = set(
        re.findall(r"^# \[([\w.]+)\]$", (tmp_path / "fresh.toml").read_text(encoding="utf-8"), re.M)
    )
    assert {stage.name for stage in plan.stages} | commented == set(catalog.stage_names())


@pytest.mark.parametrize(
    "path",
    sorted(set((ROOT / "configs").glob("*.toml")) - {ROOT / "configs" / "rules.toml"}),
    ids=lambda path: path.name,
)
def test_our_own_files_are_in_order(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("configs", "examples"):
        (tmp_path / name).symlink_to(ROOT / name)
    for name in re.findall(
        r'"(runs/[^"]+)"', path.read_text(encoding="utf-8")
    ):  # what an earlier round leaves
        (tmp_path / name).mkdir(parents=True, exist_ok=True)
    for name in re.findall(r'"\$BIDDABLE_DATA/([^"]+)"', path.read_text(encoding="utf-8")):
        (tmp_path / name).touch()
    monkeypatch.setenv("BIDDABLE_DATA", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert load_plan(path).stages


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_record_has_an_example_that_parses(kind: str) -> None:
    found = re.search(rf"^### {kind}\n.*?^```json\n(.*?)^```", FLOW, re.M | re.S)
    assert found
    for line in found[1].splitlines():
        record = getattr(records, kind).model_validate_json(line)
        assert json.loads(record.model_dump_json(exclude_none=True)).keys() >= json.loads(line).keys()


def test_every_table_of_the_store_is_explained() -> None:
    assert not [name for name in tables.metadata.tables if f"| `{name}` |" not in FLOW]


def explained(part: str, stage: str) -> list[str]:
    """Names in the tables below the headings of `part` that name the stage; capitals stand for any name."""
    section = FLOW.split(f"\n## {part}")[1].split("\n## ")[0]
    names: list[str] = []
    for block in section.split("\n### ")[1:]:
        if stage in re.split(r",\s*", block.split("\n")[0]):
            for row in re.findall(r"^\| (`.*?`) \|", block, re.M):
                names += re.findall(r"`([^`]+)`", row)
    return [re.sub(r"[A-Z][A-Z]*", "[a-z0-9_.@:-]+", name) for name in names]


def unexplained(part: str, stage: str, names: set[str]) -> list[str]:
    known = explained(part, stage)
    return [f"{stage}: {n}" for n in sorted(names) if not any(re.fullmatch(pattern, n) for pattern in known)]


def test_every_metric_named_in_the_code_is_explained() -> None:
    wrong = []
    for name in catalog.stage_names():
        path = catalog.source_file(name)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "context.log":
                wrong += unexplained("Metrics", name, {word.arg for word in node.keywords if word.arg})
    assert not wrong


def test_every_number_that_the_loop_writes_is_explained(tiny_run: Path) -> None:
    wrong = []
    for manifest in sorted(tiny_run.glob("runs/tiny/*/manifest.json")):
        stage = ".".join(manifest.parent.name.split(".")[:2])
        summary = json.loads(manifest.with_name("summary.json").read_text(encoding="utf-8"))
        wrong += unexplained("Summaries", stage, set(summary))
        metrics = manifest.with_name("metrics.jsonl")
        if metrics.exists():
            rows = [json.loads(line) for line in metrics.read_text(encoding="utf-8").splitlines()]
            wrong += unexplained("Metrics", stage, {word for row in rows for word in row} - {"step"})
    assert not wrong


def test_a_second_run_of_the_loop_skips_everything(tiny_run: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "biddable.cli", "run", "configs/tiny.toml"],
        cwd=tiny_run,
        capture_output=True,
        text=True,
        check=True,
    )
    stages = len(list(tiny_run.glob("runs/tiny/*/manifest.json")))
    assert done.stdout.count("done already, skipped") == stages


def test_tracked_text_names_no_machine_of_ours() -> None:
    """Paths of one machine have no place in files that everybody gets."""
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.split()
    wrong = []
    for name in listed:
        path = ROOT / name
        if path.suffix in (".py", ".md", ".toml", ".css", ".html", ".txt", ".jsonl", "") and path.is_file():
            text = path.read_text(encoding="utf-8", errors="replace")
            for word in ("/wo" + "rk/", "/ro" + "ot/", "/ho" + "me/"):
                if word in text:
                    wrong.append(f"{name}: {word}")
    assert not wrong


GRAMMAR_NAMES = frozenset(
    [
        "found",
        "one",
        "own",
        "told",
        "said",
        "kept",
        "known",
        "held",
        "given",
        "asked",
        "wanted",
        "there",
        "whole",
        "got",
        "meant",
        "seen",
        "made",
        "taken",
        "back",
        "them",
        "both",
        "each",
        "mine",
        "other",
        "again",
        "wrong",
        "left",
        "ones",
        "still",
        "put",
        "had",
        "done",
        "did",
    ]
)
"""Names that say nothing of what they hold."""

ALLOWED_GRAMMAR_NAMES = {
    "cli": 1,
    "collect": 0,
    "curate": 1,
    "formats": 0,
    "label": 6,
    "learn": 0,
    "measure": 0,
    "model": 4,
    "run": 5,
    "serve": 6,
    "simulated": 1,
    "store": 1,
    "web": 0,
}
"""How many of them each room still binds. Lower a number when you can; none may grow."""


def bound_names(path: Path) -> Iterator[str]:
    """Variables, parameters, functions, classes and fields that a file binds."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name


def test_variables_say_what_they_hold() -> None:
    counts = dict.fromkeys(ALLOWED_GRAMMAR_NAMES, 0)
    for path in FILES:
        room = path.relative_to(PACKAGE).parts[0]
        if room in counts:
            counts[room] += sum(name in GRAMMAR_NAMES for name in bound_names(path))
    grown = {room: count for room, count in counts.items() if count > ALLOWED_GRAMMAR_NAMES[room]}
    assert not grown, f"more names that say nothing of what they hold than {ALLOWED_GRAMMAR_NAMES}: {grown}"
