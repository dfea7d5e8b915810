"""A run's file: one TOML file is one run. Every table is a stage; settings typed `Input` are the arrows between stages.

All mistakes of a file are found before anything loads and reported at once, each in one line: file, key, value, what would be right.
"""

from __future__ import annotations

import difflib
import json
import os
import re
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

from pydantic import ValidationError

from biddable.run.catalog import ROOMS, import_stage, is_site, stage_names
from biddable.run.config import Settings, UserError, input_fields, suggestion

NONE = "none"
"""What a TOML file says to switch an optional setting off."""


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


def load_plan(
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
    config = import_stage(".".join(key.split(".")[:2])).Config
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
