"""Settings: one TOML file is one run. Every table is a stage; fields typed `Input` are the arrows between stages.

All mistakes of a file are found before anything loads and told at once, each in one line: file, key, value, what would be right.
"""

from __future__ import annotations

import ast
import difflib
import importlib
import json
import os
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, ClassVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationError

NONE = "none"
"""What a TOML file says to switch an optional setting off."""
PACKAGE = Path(__file__).resolve().parents[1]
ROOMS = ("collect", "curate", "label", "learn", "measure", "serve")


class UserError(Exception):
    """The user's mistake, one line each in `lines`. The command line prints them and exits with 2."""

    def __init__(self, lines: list[str] | str) -> None:
        self.lines = [lines] if isinstance(lines, str) else list(lines)
        super().__init__("\n".join(self.lines))


class Waiting(Exception):
    """People are not done yet: a plain sentence. The command line prints it and exits with 3."""


class _InputMark:
    """Marks a field as an arrow to another stage's folder."""


Input = Annotated[Path, _InputMark()]
"""What to read: another stage's name ("learn.sft"), or a path to a folder or a file, which may name environment variables
("$BIDDABLE_DATA/eval_drop.jsonl.gz"). Stages receive the resolved path."""


class Settings(BaseModel):
    """Base of every stage's `Config`: frozen, unknown keys refused, the docstring under a field is its description."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)
    runtime_settings: ClassVar[frozenset[str]] = frozenset()
    """Settings that say how the work is done and not what comes out: they may change while a stage is under way."""
    renamed: ClassVar[dict[str, str]] = {}
    """Former names of settings and today's. A file with a former name is refused and told today's; old folders are read by it."""


@dataclass(frozen=True)
class Stage:
    """One table of the run's file."""

    key: str  # "learn.ppo" or, used twice, "learn.ppo.plain"
    settings: dict[str, Any]  # as written, defaults filled in, inputs by name
    config: Any  # the stage's frozen Config, inputs resolved to paths
    inputs: dict[str, list[tuple[str, Path]]] = field(default_factory=dict)  # field -> [(name, folder)]

    @property
    def name(self) -> str:
        """The code's name, `room.file`, without the third word."""
        return ".".join(self.key.split(".")[:2])


@dataclass(frozen=True)
class Plan:
    """A checked run: its folder, its seed and its stages in the order of the arrows."""

    file: Path
    name: str
    seed: int
    folder: Path
    stages: tuple[Stage, ...]

    def stage(self, key: str) -> Stage:
        """The stage with this key. Raises UserError when the file has no such table."""
        for stage in self.stages:
            if stage.key == key:
                return stage
        raise UserError(
            f"{self.file}: there is no table [{key}]{suggestion(key, [s.key for s in self.stages])}"
        )


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
    """A stage's settings with those that its Config inherits, the base's first, read from the files without importing them: help and
    `biddable new` need no torch."""
    fields = {setting.name: setting for setting in _class_settings(source_file(name), "Config")}
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
    for base in reversed(bases):  # pydantic's order: a later base's fields come first
        yield from _class_settings(*base)
    for node, after in zip(body, [*body[1:], ast.Pass()], strict=True):
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            if ast.unparse(node.annotation).startswith("ClassVar"):
                continue
            docstring = after.value if isinstance(after, ast.Expr) else None
            about = str(docstring.value) if isinstance(docstring, ast.Constant) else ""
            yield Setting(node.target.id, _default(node.value), about, _is_optional(node.annotation))


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


def module(name: str) -> ModuleType:
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


def input_fields(config: type[Settings]) -> dict[str, bool]:
    """Names of the fields that are arrows; the value says whether the field holds several."""
    found = {}
    for name, info in config.model_fields.items():
        if any(isinstance(mark, _InputMark) for mark in info.metadata):
            found[name] = False
        elif _marked(info.annotation):
            found[name] = "tuple" in str(info.annotation)
    return found


def _marked(annotation: Any) -> bool:
    return any(isinstance(part, _InputMark) or _marked(part) for part in get_args(annotation))


def suggestion(word: str, known: list[str]) -> str:
    close = difflib.get_close_matches(word, known, n=1)
    return f"; did you mean '{close[0]}'?" if close else ""


def load(
    path: Path,
    overrides: dict[str, dict[str, Any]] | None = None,
    name: str | None = None,
    only: str | None = None,
) -> Plan:
    """Read and check a run's file.

    `overrides` maps a stage's key to settings that replace the file's. With `only` the plan holds that one stage, and only its table is
    checked and its code imported: a labeling site needs no torch. A site needs no table. With `name` too it lies in the folder of the
    run `name`, while its inputs stay those of the file's own run. Raises UserError with every mistake of the file.
    """
    try:
        text = path.read_text(encoding="utf-8")
        table = tomllib.loads(text)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; `biddable new {path}` writes one") from None
    except IsADirectoryError:
        raise UserError(f"{path}: is a folder; name a TOML file") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not a TOML file: {error}") from None
    wrong: list[str] = []
    run_name, seed, root = _top(path, table, wrong)
    tables = _tables(path, table, set(re.findall(r"^\s*\[\s*([\w.-]+)\s*\]", text, re.M)), wrong)
    meant = _meant(table) if wrong else []
    if only is not None and only in stage_names() and is_site(only):
        tables.setdefault(only, {})
    for key, values in {**({only: {}} if only else {}), **(overrides or {})}.items():
        if key not in tables:
            raise UserError(f"{path}: there is no table [{key}]{suggestion(key, list(tables))}")
        tables[key] = {**tables[key], **values}
    folder = root / run_name
    stages = [
        stage
        for key, values in tables.items()
        if only in (None, key) and (stage := _stage(path, folder, key, values, [*tables, *meant], wrong))
    ]
    if wrong:
        raise UserError(wrong)
    if name is not None:
        run_name, _, _ = _top(path, {"name": name}, wrong)
        if wrong:
            raise UserError(wrong)
    return Plan(path, run_name, seed, root / run_name, _ordered(path, stages))


def _top(path: Path, table: dict[str, Any], wrong: list[str]) -> tuple[str, int, Path]:
    run_name = table.get("name", path.stem)
    if not isinstance(run_name, str) or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", run_name):
        wrong.append(
            f"{path}: name = {run_name!r}: a folder name of letters, digits, '.', '_' and '-' was expected"
        )
        run_name = "invalid"
    seed = table.get("seed", 1)
    if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed < 2**31:
        wrong.append(f"{path}: seed = {seed!r}: a whole number from 0 to 2147483647 was expected")
        seed = 1
    root = table.get("runs", "runs")
    if not isinstance(root, str):
        wrong.append(f"{path}: runs = {root!r}: the folder that holds the runs, as text, was expected")
        root = "runs"
    for key, value in table.items():
        if key not in ("name", "seed", "runs", *ROOMS):
            wrong.append(
                f"{path}: {key} = {_short(value)}: unknown key{suggestion(key, ['name', 'seed', 'runs', *ROOMS])}"
            )
    return run_name, seed, Path(root)


def _tables(
    path: Path, table: dict[str, Any], headers: set[str], wrong: list[str]
) -> dict[str, dict[str, Any]]:
    """Flatten [room.stage] and [room.stage.word] into keys.

    `headers` are the table headers as written: an empty [learn.ppo] beside [learn.ppo.plain] is a stage too, and a mistyped key that holds
    an inline table is no third word.
    """
    known = stage_names()
    found: dict[str, dict[str, Any]] = {}
    for room in ROOMS:
        stages = table.get(room, {})
        if not isinstance(stages, dict):
            wrong.append(f"{path}: {room} = {_short(stages)}: tables such as [{room}.NAME] were expected")
            continue
        for word, values in stages.items():
            name = f"{room}.{word}"
            if name not in known:
                wrong.append(f"{path}: [{name}]: there is no such stage{suggestion(name, list(known))}")
                continue
            if not isinstance(values, dict):
                wrong.append(f"{path}: {name} = {_short(values)}: a table [{name}] was expected")
                continue
            twins = {k: v for k, v in values.items() if isinstance(v, dict) and f"{name}.{k}" in headers}
            own = {k: v for k, v in values.items() if k not in twins}
            if own or not twins or name in headers:
                found[name] = own
            for third, settings in twins.items():
                found[f"{name}.{third}"] = settings
    return found


def _meant(table: dict[str, Any]) -> list[str]:
    """What mistyped tables were probably meant to be called: they are told once, not again by every stage that reads them."""
    known = stage_names()
    found = []
    for word, inner in table.items():
        for stage in inner if isinstance(inner, dict) else ():
            if f"{word}.{stage}" not in known:
                found += difflib.get_close_matches(f"{word}.{stage}", list(known), n=1)
    return found


def _short(value: Any) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) < 60 else text[:57] + "..."


def _stage(
    path: Path, folder: Path, key: str, values: dict[str, Any], keys: list[str], wrong: list[str]
) -> Stage | None:
    config = module(".".join(key.split(".")[:2])).Config
    arrows = input_fields(config)
    before = len(wrong)
    for word, value in values.items():
        if word not in config.model_fields:
            hint = suggestion(word, list(config.model_fields))
            if word in config.renamed:
                hint = f"; it is called {config.renamed[word]} now"
            wrong.append(f"{path}: [{key}] {word} = {_short(value)}: unknown key{hint}")
    known = {k: _switched_off(config, k, v) for k, v in values.items() if k in config.model_fields}
    try:
        parsed = config.model_validate_json(json.dumps(known, default=str), strict=True)
    except ValidationError as error:
        for mistake in error.errors(include_url=False):
            where = ".".join(str(part) for part in mistake["loc"]) or "settings"
            wrong.append(f"{path}: [{key}] {where} = {_short(mistake.get('input'))}: {mistake['msg']}")
        return None
    inputs: dict[str, list[tuple[str, Path]]] = {}
    update: dict[str, Any] = {}
    for word in arrows:
        value = getattr(parsed, word)
        if value is None:
            continue
        several = isinstance(value, tuple)
        names = [str(one) for one in (value if several else (value,))]
        found = [(name, _resolve(path, folder, key, word, name, keys, wrong)) for name in names]
        inputs[word] = found
        update[word] = tuple(p for _, p in found) if several else found[0][1]
    if len(wrong) > before:
        return None
    settings = json.loads(parsed.model_dump_json())
    return Stage(key, settings, parsed.model_copy(update=update), inputs)


def _switched_off(config: type[Settings], word: str, value: Any) -> Any:
    """TOML has no null: the text "none" switches off a setting that may be none. Where "none" is a value of its own it stays one."""
    annotation = config.model_fields[word].annotation
    return None if value == NONE and type(None) in get_args(annotation) else value


def _resolve(
    path: Path, folder: Path, key: str, word: str, name: str, keys: list[str], wrong: list[str]
) -> Path:
    """An arrow's folder: a stage of this file, or a folder or file that exists."""
    if name in keys:
        return folder / name
    real = os.path.expandvars(name)
    if name != "." and os.path.exists(
        real
    ):  # an empty text reads as "."; a text that cannot be a path does not exist
        return Path(real)
    hint = suggestion(name, [k for k in keys if k != key]) or _missing(name)
    wrong.append(
        f'{path}: [{key}] {word} = "{name}": neither a table of this file nor a folder or file{hint}'
    )
    return folder / name


def _missing(name: str) -> str:
    if re.fullmatch(rf"({'|'.join(ROOMS)})\.\w+(\.\w+)?", name):
        return f"; add [{name}] or name a folder"
    if unset := [word for word in re.findall(r"\$\{?(\w+)", name) if word not in os.environ]:
        return f"; the environment variable {unset[0]} is not set"
    return (
        ""
        if os.path.isabs(os.path.expandvars(name))
        else "; it was looked for below the folder in which the command runs"
    )


def _ordered(path: Path, stages: list[Stage]) -> tuple[Stage, ...]:
    """The stages so that every arrow points backwards; file order otherwise. Raises UserError on a circle."""
    waiting = list(stages)
    done: list[Stage] = []
    keys = {stage.key for stage in stages}
    while waiting:
        ready = {s.key for s in done}
        for stage in waiting:
            if all(n not in keys or n in ready for names in stage.inputs.values() for n, _ in names):
                done.append(stage)
                waiting.remove(stage)
                break
        else:
            raise UserError(
                f"{path}: the inputs run in a circle through {', '.join(f'[{s.key}]' for s in waiting)}"
            )
    return tuple(done)
