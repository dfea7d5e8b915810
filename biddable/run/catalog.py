"""The stages that there are and their settings, read from their source: `--help` and `biddable new` need neither torch nor any stage."""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from biddable.run.config import UserError

PACKAGE = Path(__file__).resolve().parents[1]
ROOMS = ("collect", "curate", "label", "learn", "measure", "serve")


def is_site(name: str) -> bool:
    """Whether a stage is a site: it serves until it is stopped instead of running to its end."""
    return re.search(r"^def serve\(", source_file(name).read_text("utf-8"), re.M) is not None


def source_file(name: str) -> Path:
    """The Python file of a stage: `learn.ppo` is `learn/ppo.py`, or `learn/ppo/__init__.py` when it has parts of its own."""
    path = PACKAGE / Path(*name.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def stage_names() -> dict[str, str]:
    """Every stage's name and the first line of its docstring, read from the file system without importing anything."""
    stages = {}
    for room in ROOMS:
        names = {path.stem for path in (PACKAGE / room).glob("*.py")}
        names |= {path.parent.name for path in (PACKAGE / room).glob("*/__init__.py")}
        for name in sorted(names - {"__init__"}):
            text = source_file(f"{room}.{name}").read_text(encoding="utf-8")
            if re.search(r"^class Config\(", text, re.M):
                stages[f"{room}.{name}"] = (ast.get_docstring(ast.parse(text)) or "").split("\n")[0]
    return stages


@dataclass(frozen=True)
class Setting:
    """One field of a stage's Config."""

    name: str
    default: Any  # as a TOML file would hold it; None: none
    about: str
    optional: bool = False  # "none" switches it off


def settings(name: str) -> list[Setting]:
    """A stage's own settings and then those that its Config inherits, read from the files without importing them: help and
    `biddable new` need no torch."""
    fields: dict[str, Setting] = {}
    for setting in _class_settings(source_file(name), "Config"):
        fields.setdefault(setting.name, setting)  # a class's own comes before what it inherits
    return list(fields.values())


def renamed_settings(name: str) -> dict[str, str]:
    """Former names of a stage's settings and today's, as `settings` reads them: without importing."""
    return dict(_class_renamed(source_file(name), "Config"))


def _class_body(file: Path, name: str) -> tuple[list[tuple[Path, str]], list[ast.stmt]]:
    """A class's bases, each with the file that holds it, and its body. Bases of pydantic's and `Settings` itself are left out."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    node = next(n for n in tree.body if isinstance(n, ast.ClassDef) and n.name == name)
    local = {n.name for n in tree.body if isinstance(n, ast.ClassDef)}
    origin = {
        alias.asname or alias.name: (str(n.module), alias.name)
        for n in tree.body
        if isinstance(n, ast.ImportFrom)
        for alias in n.names
    }
    bases: list[tuple[Path, str]] = []
    for base in (ast.unparse(base) for base in node.bases):
        if base in local:
            bases.append((file, base))
        elif base in origin and base != "Settings" and origin[base][0].startswith("biddable."):
            module_name, class_name = origin[base]
            bases.append((source_file(module_name.removeprefix("biddable.")), class_name))
    return bases, node.body


def _class_settings(file: Path, name: str) -> Iterator[Setting]:
    bases, body = _class_body(file, name)
    for node, after in zip(body, [*body[1:], ast.Pass()], strict=True):
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            if ast.unparse(node.annotation).startswith("ClassVar"):
                continue
            docstring = after.value if isinstance(after, ast.Expr) else None
            about = str(docstring.value) if isinstance(docstring, ast.Constant) else ""
            yield Setting(node.target.id, _default(node.value), about, _is_optional(node.annotation))
    for base in bases:
        yield from _class_settings(*base)


def _class_renamed(file: Path, name: str) -> Iterator[tuple[str, str]]:
    bases, body = _class_body(file, name)
    for base in reversed(bases):
        yield from _class_renamed(*base)
    for node in body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "renamed":
            names = (
                node.value.right if isinstance(node.value, ast.BinOp) else node.value
            )  # {**Base.renamed} | {...}
            yield from ast.literal_eval(names).items()


def _is_optional(annotation: ast.expr) -> bool:
    """Whether `| None` stands in an annotation."""
    return any(isinstance(node, ast.Constant) and node.value is None for node in ast.walk(annotation))


def _default(node: ast.expr | None) -> Any:
    """The value of `0.02`, `Path("learn.sft")`, `Field(default=512, ge=1)` or a tuple of such."""
    if isinstance(node, ast.Call):
        given = [word.value for word in node.keywords if word.arg == "default"] or node.args
        return _default(given[0]) if given else None
    if isinstance(node, ast.Tuple):
        return [_default(one) for one in node.elts]
    return None if node is None else ast.literal_eval(node)


def import_stage(name: str) -> ModuleType:
    """The Python module of a stage name such as `learn.ppo`. Raises UserError when a package that it needs is not installed."""
    try:
        return importlib.import_module(f"biddable.{name}")
    except ModuleNotFoundError as error:
        raise missing_package(name, error) from error


def missing_package(name: str, error: ModuleNotFoundError) -> Exception:
    """A package that is not installed, as a line that names the extra which brings it; the error itself when it is a part of ours."""
    if error.name is None or error.name.split(".")[0] == "biddable":
        return error
    room = name.split(".")[0]
    extra = room if room in ("learn", "measure", "serve") else "all"
    return UserError(f"[{name}] needs the package {error.name}: pip install 'biddable[{extra}]'")
