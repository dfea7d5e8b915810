"""A run's TOML file as it is written: its name, its seed and its tables, before anything is known of their
settings."""

from __future__ import annotations

import difflib
import json
import re
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from biddable.run.catalog import ROOMS, stage_names
from biddable.run.errors import UserError, suggestion
from biddable.run.parse import parse_toml
from biddable.run.redaction import redact_settings

TOP_LEVEL = ("name", "seed", "runs", *ROOMS)
NAME = r"[A-Za-z0-9][A-Za-z0-9._-]*"
"""A run's name is a folder's name."""


@dataclass
class RunFile:
    """What a run's file says, with the mistakes found so far. A value that is wrong is replaced by a harmless
    one."""

    path: Path
    name: str = "invalid"
    seed: int = 1
    runs: Path = Path("runs")
    tables: dict[str, dict[str, Any]] = field(default_factory=dict)  # a stage's key -> settings as written
    misspelt: list[str] = field(default_factory=list)  # stages that unknown tables were probably meant to be
    errors: list[str] = field(default_factory=list)

    @property
    def folder(self) -> Path:
        """The folder of the file's run."""
        return self.runs / self.name

    def error(self, key: str, value: Any, expected: str) -> None:
        """Add the line `FILE: KEY = VALUE: what would be right`."""
        self.errors.append(f"{self.path}: {key} = {shorten(value)}: {expected}")


def read_run_file(path: Path) -> RunFile:
    """Read a run's file. Raises UserError when it is no TOML; all other mistakes are in the result's
    `errors`."""
    text = _read_text(path)
    try:
        content = parse_toml(text)
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"{path}: not a TOML file: {error}") from None
    file = RunFile(path)
    _read_top_level(file, content)
    # headers as written tell [learn.ppo.plain], a second PPO, from a setting of [learn.ppo] that holds an
    # inline table
    headers = set(re.findall(r"^\s*\[\s*([\w.-]+)\s*\]", text, re.M))
    # [[learn.ppo.plain.reward]]: a table in a setting of [learn.ppo.plain], whose own header may be left out
    headers |= {name.rpartition(".")[0] for name in re.findall(r"^\s*\[\[\s*([\w.-]+)\s*\]\]", text, re.M)}
    for room in ROOMS:
        _read_room(file, room, content.get(room, {}), headers)
    file.misspelt = _misspelt_stages(content)
    return file


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; `biddable new {path}` writes one") from None
    except IsADirectoryError:
        raise UserError(f"{path}: is a folder; name a TOML file") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not a TOML file: {error}") from None


def check_name(path: Path, name: object) -> str:
    """A run's name. Raises UserError when it cannot be a folder's name."""
    if not isinstance(name, str) or not re.fullmatch(NAME, name):
        raise UserError(
            f"{path}: name = {name!r}: must be a folder name of letters, digits, '.', '_' and '-'"
        )
    return name


def _read_top_level(file: RunFile, content: dict[str, Any]) -> None:
    try:
        file.name = check_name(file.path, content.get("name", file.path.stem))
    except UserError as error:
        file.errors += error.lines
    seed = content.get("seed", 1)
    if isinstance(seed, int) and not isinstance(seed, bool) and 0 <= seed < 2**31:
        file.seed = seed
    else:
        file.error("seed", seed, "must be a whole number from 0 to 2147483647")
    runs = content.get("runs", "runs")
    if isinstance(runs, str):
        file.runs = Path(runs)
    else:
        file.error("runs", runs, "must be the folder that holds the runs, as text")
    for key, value in content.items():
        if key not in TOP_LEVEL:
            file.error(key, value, f"unknown key{suggestion(key, TOP_LEVEL)}")


def _read_room(file: RunFile, room: str, stages: Any, headers: set[str]) -> None:
    """Flatten a room's tables into keys: [learn.ppo] is `learn.ppo`, [learn.ppo.plain] is
    `learn.ppo.plain`."""
    names = stage_names()
    if not isinstance(stages, dict):
        file.error(room, stages, f"must be tables such as [{room}.NAME]")
        return
    for word, values in stages.items():
        name = f"{room}.{word}"
        if name not in names:
            file.errors.append(
                f"{file.path}: [{name}]: there is no such stage{suggestion(name, list(names))}"
            )
        elif not isinstance(values, dict):
            file.error(name, values, f"must be a table [{name}]")
        else:
            variants = {k: v for k, v in values.items() if isinstance(v, dict) and f"{name}.{k}" in headers}
            settings = {k: v for k, v in values.items() if k not in variants}
            if (
                settings or not variants or name in headers
            ):  # an empty [learn.ppo] beside a variant is a stage too
                file.tables[name] = settings
            file.tables |= {f"{name}.{variant}": values for variant, values in variants.items()}


def _misspelt_stages(content: dict[str, Any]) -> list[str]:
    """Stages that mistyped tables were probably meant to be: whoever reads them needs no second error."""
    names = stage_names()
    stages: list[str] = []
    for room, tables in content.items():
        for word in tables if isinstance(tables, dict) else ():
            if f"{room}.{word}" not in names:
                stages += difflib.get_close_matches(f"{room}.{word}", list(names), n=1)
    return stages


def shorten(value: Any) -> str:
    """A value for an error line: as JSON without secrets, at most 60 characters."""
    text = json.dumps(redact_settings(value), default=str)
    return text if len(text) < 60 else text[:57] + "..."
