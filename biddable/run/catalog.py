"""The stages that there are and their settings, read from their source.

`--help` and `biddable new` import no stage this way, and so no torch: they answer in a fraction of a second,
and in an installation without a stage's packages too.
"""

from __future__ import annotations

import ast
import functools
import importlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any

from biddable.run.errors import MissingPackage

PACKAGE = Path(__file__).resolve().parents[1]
ROOMS = ("collect", "curate", "label", "learn", "measure", "serve")
"""The rooms whose files are stages."""


@dataclass(frozen=True)
class Setting:
    """One field of a stage's Config, as its source shows it."""

    name: str
    default: Any  # as a TOML file would hold it; None: none
    description: str
    optional: bool  # "none" switches it off
    is_input: bool  # an arrow to another stage's folder, or tables that hold some
    table: tuple[Setting, ...] = ()  # of a setting that may be an array of tables: what such a table may say


def stage_names() -> dict[str, str]:
    """Every stage's name -> the first line of its docstring."""
    stages = {}
    for room in ROOMS:
        names = {path.stem for path in (PACKAGE / room).glob("*.py")}
        names |= {path.parent.name for path in (PACKAGE / room).glob("*/__init__.py")}
        for name in sorted(names - {"__init__"}):
            text = source_file(f"{room}.{name}").read_text(encoding="utf-8")
            if re.search(r"^class Config\(", text, re.M):
                stages[f"{room}.{name}"] = (ast.get_docstring(ast.parse(text)) or "").split("\n")[0]
    return stages


def source_file(name: str) -> Path:
    """The Python file of a module: `learn.ppo` is `learn/ppo.py`, or `learn/ppo/__init__.py` if it is a
    folder."""
    path = PACKAGE / Path(*name.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def is_site(name: str) -> bool:
    """Whether a stage is a site: it serves until it is stopped instead of running to its end."""
    return re.search(r"^def serve\(", source_file(name).read_text("utf-8"), re.M) is not None


def settings(name: str) -> list[Setting]:
    """A stage's own settings, then those that its Config inherits: what is special to the stage is read first
    in help and new files."""
    return _settings(source_file(name), "Config")


def _settings(file: Path, class_name: str) -> list[Setting]:
    fields: dict[str, Setting] = {}
    for source, node in reversed(list(_class_chain(file, class_name))):
        for setting in _fields(source, node):
            fields.setdefault(setting.name, setting)
    return list(fields.values())


@functools.cache
def renamed_settings(name: str) -> dict[str, str]:
    """Former name of a stage's setting -> today's name; empty for a stage that no longer exists."""
    names: dict[str, str] = {}
    for _, node in _class_chain(source_file(name), "Config") if source_file(name).is_file() else ():
        for statement in node.body:
            if (
                isinstance(statement, ast.AnnAssign | ast.Assign)
                and _target(statement) == "renamed"
                and statement.value
            ):
                names |= _literal_dict(statement.value)
    return names


@functools.cache
def left_out_settings(name: str) -> tuple[str, ...]:
    """The optional inputs of a stage that are none where the run has no such table (`Settings.left_out`)."""
    return tuple(
        word
        for _, node in _class_chain(source_file(name), "Config")
        for statement in node.body
        if isinstance(statement, ast.AnnAssign | ast.Assign)
        and _target(statement) == "left_out"
        and statement.value
        for word in ast.literal_eval(statement.value)
    )


def import_stage(name: str) -> ModuleType:
    """The Python module of a stage such as `learn.ppo`. Raises MissingPackage when a package it needs is not
    installed."""
    try:
        return importlib.import_module(f"biddable.{name}")
    except ModuleNotFoundError as error:
        raise missing_package(name, error) from error


def missing_package(name: str, error: ModuleNotFoundError) -> Exception:
    """A failed import as the line that says how to install the package; the error itself for a module of
    ours."""
    if error.name is None or error.name.split(".")[0] == "biddable":
        return error
    return MissingPackage(name, error.name, extra_of(error.name.split(".")[0]))


def extra_of(package: str) -> str:
    """The extra that installs a package (torch: learn); "all" where its distribution has another name."""
    try:
        requirements = metadata.requires("biddable") or []
    except metadata.PackageNotFoundError:  # used from a folder, without being installed
        requirements = []
    for requirement in requirements:
        match = re.match(r"""([\w.-]+)[^;]*;.*\bextra == ["'](\w+)["']""", requirement)
        if match and match[1].replace("-", "_").lower() == package.lower() and match[2] != "dev":
            return match[2]
    return "all"


def _class_chain(file: Path, name: str) -> Iterator[tuple[Path, ast.ClassDef]]:
    """The source of a class's bases, then its own, each with its file. Bases that are not ours, and
    `Settings` itself, are left out."""
    classes, imports = _names(file)
    if name not in classes:
        return
    for base in reversed(classes[name].bases):  # pydantic's order: fields of a later base come first
        word = ast.unparse(base)
        module, original = imports.get(word, ("", word))
        if word in classes:
            yield from _class_chain(file, word)
        elif module.startswith("biddable.") and original != "Settings":
            yield from _class_chain(source_file(module.removeprefix("biddable.")), original)
    yield file, classes[name]


def _names(file: Path) -> tuple[dict[str, ast.ClassDef], dict[str, tuple[str, str]]]:
    """The classes that a file defines, and what its names stand for that it imports: (module, name)."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
    imports = {
        alias.asname or alias.name: (str(node.module), alias.name)
        for node in tree.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    return classes, imports


def _table(file: Path, annotation: str) -> tuple[Setting, ...]:
    """The settings of the tables that a setting `tuple[NAME, ...]` may hold; empty where it holds none."""
    classes, imports = _names(file)
    for word in re.findall(r"\btuple\[(\w+), \.\.\.\]", annotation):
        module, original = imports.get(word, ("", word))
        if word in classes:
            return tuple(_settings(file, word))
        if module.startswith("biddable.") and original != "Input":
            return tuple(_settings(source_file(module.removeprefix("biddable.")), original))
    return ()


def _fields(file: Path, node: ast.ClassDef) -> Iterator[Setting]:
    """The fields that a class declares itself: `name: type = default`, below it the docstring."""
    for statement, following in zip(node.body, [*node.body[1:], ast.Pass()], strict=True):
        if not isinstance(statement, ast.AnnAssign):
            continue
        annotation = ast.unparse(statement.annotation)
        if annotation.startswith("ClassVar"):
            continue
        docstring = following.value if isinstance(following, ast.Expr) else None
        yield Setting(
            _target(statement),
            _default(statement.value),
            str(docstring.value) if isinstance(docstring, ast.Constant) else "",
            optional=re.search(r"\bNone\b", annotation) is not None,
            is_input=re.search(r"\bInput\b", annotation) is not None,
            table=_table(file, annotation),
        )


def _target(statement: ast.Assign | ast.AnnAssign) -> str:
    return ast.unparse(statement.targets[0] if isinstance(statement, ast.Assign) else statement.target)


def _default(node: ast.expr | None) -> Any:
    """The value of `0.02`, `Path("learn.sft")`, `Field(default=512, ge=1)` or a tuple of such."""
    if isinstance(node, ast.Call):
        arguments = [word.value for word in node.keywords if word.arg == "default"] or node.args
        return _default(arguments[0]) if arguments else None
    if isinstance(node, ast.Tuple):
        return [_default(element) for element in node.elts]
    return None if node is None else ast.literal_eval(node)


def _literal_dict(node: ast.expr) -> dict[str, str]:
    """The entries written out in `{...}`, in `Base.renamed | {...}` or in `{**Base.renamed, ...}`."""
    names: dict[str, str] = {}
    for display in (part for part in ast.walk(node) if isinstance(part, ast.Dict)):
        for key, value in zip(display.keys, display.values, strict=True):
            if key is not None:  # None: an unpacked dictionary; its class is in the chain too
                names[ast.literal_eval(key)] = ast.literal_eval(value)
    return names
