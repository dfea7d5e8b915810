"""A checked run: one TOML file is one run, every table is a stage, settings typed `Input` are the arrows
between stages.

All mistakes of a file are found before anything loads, and reported at once in one line each: file, key,
value, what would be right.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from biddable.run import catalog
from biddable.run.config import (
    TABLES,
    Settings,
    input_fields,
    inputs_of,
    is_optional,
    table_class,
    with_inputs,
)
from biddable.run.errors import MissingPackage, UserError, suggestion
from biddable.run.redaction import redact_settings
from biddable.run.run_file import RunFile, check_name, read_run_file

NONE = "none"
"""What a TOML file says to switch an optional setting off."""

Arrows = dict[str, list[tuple[str, Path]]]
"""A stage's inputs: setting -> (name, folder) of everything that it reads through this setting."""


@dataclass(frozen=True)
class Stage:
    """One table of the run's file."""

    key: str  # "learn.ppo" or, used twice, "learn.ppo.plain"
    settings: dict[str, Any]  # as written, defaults filled in, inputs by name
    config: Any  # the stage's frozen Config, inputs resolved to paths; None while a package is missing
    inputs: Arrows = field(default_factory=dict)
    missing: MissingPackage | None = None  # the package without which the stage cannot be imported

    @property
    def name(self) -> str:
        """The code's name, `room.file`, without the third word."""
        return ".".join(self.key.split(".")[:2])

    @property
    def written_settings(self) -> dict[str, Any]:
        """The settings as they go into files and onto screens: without the secrets of URLs."""
        return {name: redact_settings(value) for name, value in self.settings.items()}

    @property
    def input_names(self) -> list[str]:
        """Everything that the stage reads, each once."""
        return list(dict.fromkeys(name for arrows in self.inputs.values() for name, _ in arrows))


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
        raise _no_table(self.file, key, [stage.key for stage in self.stages])


def load_plan(
    path: Path,
    overrides: dict[str, dict[str, Any]] | None = None,
    name: str | None = None,
    only: str | None = None,
) -> Plan:
    """Read and check a run's file.

    `overrides` maps a stage's key to settings that replace the file's. With `only` the plan holds that one
    stage, and only its table is checked and its code imported: a labeling site needs no torch. A site needs
    no table. With `name` the stages lie in the folder of the run `name`, while inputs stay those of the
    file's own run. Raises UserError with every mistake of the file.
    """
    file = read_run_file(path)
    _override(file, overrides or {}, only)
    reader = _StageReader(file)
    stages = [reader.read(key, values) for key, values in file.tables.items() if only in (None, key)]
    if file.errors:
        raise UserError(file.errors)
    run_name = file.name if name is None else check_name(path, name)
    order = _sort_by_arrows(path, [stage for stage in stages if stage])
    return Plan(path, run_name, file.seed, file.runs / run_name, order)


def _override(file: RunFile, overrides: dict[str, dict[str, Any]], only: str | None) -> None:
    """Replace settings of the file's tables. Raises UserError for a table that the file does not have."""
    if only in catalog.stage_names() and catalog.is_site(str(only)):
        file.tables.setdefault(str(only), {})
    for key in [*([only] if only else []), *overrides]:
        if key not in file.tables:
            raise _no_table(file.path, key, list(file.tables))
        file.tables[key] = {**file.tables[key], **overrides.get(key, {})}


def _no_table(file: Path, key: str, keys: list[str]) -> UserError:
    return UserError(f"{file}: there is no table [{key}]{suggestion(key, keys)}")


class _StageReader:
    """Turns the tables of a file into stages; mistakes go into the file's `errors`."""

    def __init__(self, file: RunFile) -> None:
        self.file = file
        self.keys = [*file.tables, *file.misspelt]

    def read(self, key: str, values: dict[str, Any]) -> Stage | None:
        """The stage of one table; None when there are mistakes in it."""
        name = ".".join(key.split(".")[:2])
        errors_before = len(self.file.errors)
        try:
            config: type[Settings] = catalog.import_stage(name).Config
        except MissingPackage as error:
            return self._read_uninstalled(key, name, values, error)
        self._check_names(key, values, list(config.model_fields), config.renamed)
        parsed = self._validate(key, values, config)
        if parsed is None:
            return None
        absent = [word for word in config.left_out if self._is_absent(values, word, getattr(parsed, word))]
        parsed = parsed.model_copy(update=dict.fromkeys(absent))
        inputs = {
            word: self._resolve(key, word, inputs_of(getattr(parsed, word)))
            for word in config.model_fields
            if word in input_fields(config) and getattr(parsed, word) is not None
        }
        if len(self.file.errors) > errors_before:
            return None
        folders = {Path(name): path for arrows in inputs.values() for name, path in arrows}
        update = {word: with_inputs(getattr(parsed, word), folders.__getitem__) for word in inputs}
        settings = json.loads(parsed.model_dump_json())
        return Stage(key, settings, parsed.model_copy(update=update), inputs)

    def _read_uninstalled(self, key: str, name: str, values: dict[str, Any], error: MissingPackage) -> Stage:
        """A stage without its Config: names and arrows are checked as the source shows them, values are
        not."""
        settings = {setting.name: setting for setting in catalog.settings(name)}
        self._check_names(key, values, list(settings), catalog.renamed_settings(name))
        filled: dict[str, Any] = {word: setting.default for word, setting in settings.items()} | values
        filled = {word: None if value == NONE else value for word, value in filled.items()}
        absent = [w for w in catalog.left_out_settings(name) if self._is_absent(values, w, filled[w])]
        filled |= dict.fromkeys(absent)
        inputs = {
            word: self._resolve(key, word, _written_inputs(setting, filled[word]))
            for word, setting in settings.items()
            if setting.is_input and filled[word] is not None
        }
        return Stage(key, filled, None, inputs, MissingPackage(key, error.package, error.extra))

    def _is_absent(self, values: dict[str, Any], word: str, default: Any) -> bool:
        """Whether a default names a table that the run does not have."""
        return word not in values and str(default) not in self.keys and not os.path.exists(str(default))

    def _check_names(
        self, key: str, values: dict[str, Any], names: list[str], renamed: dict[str, str]
    ) -> None:
        for word in [word for word in values if word not in names]:
            hint = f"; it is called {renamed[word]} now" if word in renamed else suggestion(word, names)
            self.file.error(f"[{key}] {word}", values[word], f"unknown key{hint}")

    def _validate(self, key: str, values: dict[str, Any], config: type[Settings]) -> Settings | None:
        """The Config of a table; None when a value is wrong. Unknown names have been reported already."""
        values = {word: value for word, value in values.items() if word in config.model_fields}
        text = json.dumps(_switch_off(values, config), default=str)
        try:
            return config.model_validate_json(text, strict=True)
        except ValidationError as error:
            for mistake in error.errors(include_url=False):
                word = ".".join(str(part) for part in mistake["loc"] if part != TABLES) or "settings"
                self.file.error(f"[{key}] {word}", mistake.get("input"), mistake["msg"])
            return None

    def _resolve(self, key: str, word: str, names: Iterable[Path | str]) -> list[tuple[str, Path]]:
        """The folders that a setting names: stages of this file, or folders and files that exist."""
        return [(str(name), self._resolve_name(key, word, str(name))) for name in names]

    def _resolve_name(self, key: str, word: str, name: str) -> Path:
        if name in self.keys:
            return self.file.folder / name
        path = os.path.expandvars(name)
        # an empty text reads as "."; os.path.exists is also false for a text that cannot be a path
        if name != "." and os.path.exists(path):
            return Path(path)
        hint = suggestion(name, [other for other in self.keys if other != key]) or _hint(name)
        self.file.errors.append(
            f'{self.file.path}: [{key}] {word} = "{name}": neither a table of this file nor a folder or '
            f"file{hint}"
        )
        return self.file.folder / name


def _switch_off(values: dict[str, Any], config: type[Settings]) -> dict[str, Any]:
    """The settings of a table, or of tables within it, with null for "none". TOML has no null: the text
    "none" switches off a setting that may be none, and is a plain text elsewhere."""
    out: dict[str, Any] = {}
    for word, value in values.items():
        table = table_class(config, word) if word in config.model_fields else None
        if value == NONE and word in config.model_fields and is_optional(config, word):
            value = None
        elif table and isinstance(value, list):
            value = [_switch_off(row, table) if isinstance(row, dict) else row for row in value]
        out[word] = value
    return out


def _written_inputs(setting: catalog.Setting, value: Any) -> Iterator[str]:
    """The arrows in a setting as a TOML file holds it."""
    if isinstance(value, tuple | list):
        for part in value:
            yield from _written_inputs(setting, part)
    elif isinstance(value, dict):
        for field in setting.table:
            if field.is_input and value.get(field.name) not in (None, NONE):
                yield from _written_inputs(field, value[field.name])
    else:
        yield str(value)


def _hint(name: str) -> str:
    """Why an input's name leads nowhere."""
    if name == ".":
        return f'; "{NONE}" switches an optional setting off'
    if re.fullmatch(rf"({'|'.join(catalog.ROOMS)})\.\w+(\.\w+)?", name):
        return f"; add [{name}] or name a folder"
    if unset := [variable for variable in re.findall(r"\$\{?(\w+)", name) if variable not in os.environ]:
        return f"; the environment variable {unset[0]} is not set"
    if os.path.isabs(os.path.expandvars(name)):
        return ""
    return "; it was looked for below the folder in which the command runs"


def _sort_by_arrows(path: Path, stages: list[Stage]) -> tuple[Stage, ...]:
    """The stages so that every arrow points backwards; file order otherwise. Raises UserError on a circle."""
    waiting = list(stages)
    order: list[Stage] = []
    while waiting:
        blocked = {stage.key for stage in waiting}
        ready = next((stage for stage in waiting if not blocked & set(stage.input_names)), None)
        if ready is None:
            circle = ", ".join(f"[{stage.key}]" for stage in waiting)
            raise UserError(f"{path}: the inputs run in a circle through {circle}")
        order.append(ready)
        waiting.remove(ready)
    return tuple(order)
