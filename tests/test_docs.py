"""The documentation is true: its pictures are today's, its links lead somewhere, its notebook runs."""

from __future__ import annotations

import ast
import functools
import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted(
    [*ROOT.glob("*.md"), ROOT / "llms.txt", *(ROOT / "docs").rglob("*.md"), *(ROOT / "bench").glob("*.md")]
)


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_picture_of_the_rooms_is_todays() -> None:
    drawn = load(ROOT / "docs" / "draw_rooms.py")
    assert (ROOT / "docs" / "rooms.svg").read_text(encoding="utf-8") == drawn.picture(), (
        "python docs/draw_rooms.py"
    )


def test_the_picture_leaves_out_only_arrows_that_follow() -> None:
    """By hand: web -> store -> run makes web -> run superfluous, and nothing else."""
    drawn = load(ROOT / "docs" / "draw_rooms.py")
    imports = {"run": (), "store": ("run",), "web": ("run", "store"), "model": ("run",)}
    assert set(drawn.reduced(imports)) == {("store", "run"), ("web", "store"), ("model", "run")}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" in target or target.startswith(("#", "mailto:")):
            continue
        path, _, anchor = target.partition("#")
        place = (page.parent / path).resolve() if path else page
        assert place.exists(), f"{page.name}: {target}"
        if anchor and place.suffix == ".md":
            headings = re.findall(r"^#+ (.+)$", place.read_text(encoding="utf-8"), re.M)
            slugs = {
                re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings
            }
            assert anchor in slugs, f"{page.name}: {target} ({sorted(slugs)})"


def test_the_index_names_every_page() -> None:
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    names = [
        str(page.relative_to(ROOT / "docs"))
        for page in (ROOT / "docs").rglob("*.md")
        if page.name != "index.md"
    ]
    assert not [name for name in names if f"({name})" not in index]


@functools.cache
def definitions(path: Path) -> set[str]:
    """Functions, classes and methods (`Class.method`) of a file, read from its source; also module
    constants."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    names: set[str] = set()
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        if isinstance(node, ast.Assign):
            names |= {target.id for target in node.targets if isinstance(target, ast.Name)}
        if isinstance(node, ast.ClassDef):
            methods = (part for part in node.body if isinstance(part, ast.FunctionDef | ast.AsyncFunctionDef))
            names |= {f"{node.name}.{method.name}" for method in methods}
    return names


def missing_code(text: str) -> list[str]:
    """What a page names in backticks and the checkout lacks: `room/file.py`, `room/`, `room/file.py: name`,
    `room.stage`."""
    missing = []
    rooms = [path.parent.name for path in (ROOT / "biddable").glob("*/__init__.py")]
    stage_name = re.compile(rf"(?:{'|'.join(rooms)})\.(\w+)")
    for term in re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)):
        if "NAME" in term:  # stands for a name that the reader chooses
            continue
        path, _, name = term.partition(": ")
        if re.fullmatch(r"[\w./-]+\.(py|html|toml|md)|[\w./-]+/", path) and "/" in path:
            place = next((base / path for base in (ROOT / "biddable", ROOT) if (base / path).exists()), None)
            if place is None or (name and name not in definitions(place)):
                missing.append(term)
        elif match := stage_name.fullmatch(term):
            folder = ROOT / "biddable" / term.split(".")[0] / match[1]
            if not folder.is_dir() and not folder.with_suffix(".py").is_file():
                missing.append(term)
    return missing


EXPLAINING = [ROOT / "docs" / "architecture.md", *sorted((ROOT / "docs" / "how-to").glob("*.md"))]


@pytest.mark.parametrize("page", EXPLAINING, ids=lambda page: page.name)
def test_the_code_that_a_page_names_exists(page: Path) -> None:
    assert not missing_code(page.read_text(encoding="utf-8"))


def test_what_does_not_exist_is_missing_code() -> None:
    text = (
        "`run/plan.py`, `run/plan.py: load_plan`, `store/store.py: Store.lease`, `learn.ppo`, "
        "`tests/test_house.py`, "
        "`run/gone.py`, `run/plan.py: gone`, `store/store.py: Store.gone`, `learn.gone`, `gone/`"
    )
    assert missing_code(text) == [
        "run/gone.py",
        "run/plan.py: gone",
        "store/store.py: Store.gone",
        "learn.gone",
        "gone/",
    ]


def test_the_notebook_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Executed by a real kernel, in a folder of its own: every cell, no error, and the last one prints an
    answer."""
    nbformat = pytest.importorskip("nbformat")
    client = pytest.importorskip("nbclient")
    for name in ("configs", "examples"):
        (tmp_path / name).symlink_to(ROOT / name)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("JUPYTER_PLATFORM_DIRS", "1")
    notebook = nbformat.read(ROOT / "examples" / "tiny_loop.ipynb", as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells), "keep the notebook without outputs"
    kernel = client.NotebookClient(
        notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    )
    kernel.execute()
    assert (tmp_path / "runs" / "tiny" / "measure.report" / "report.html").is_file()
    printed = [output.get("text", "") for output in notebook.cells[-2]["outputs"]]
    assert "".join(printed).strip()
