"""Run folders: what a stage writes, how it goes on after being killed, and how anybody can tell that it is done.

A stage folder `runs/NAME/<room.stage>/` holds `metrics.jsonl`, `samples.jsonl`, outputs, `summary.json` and, written last and by rename,
`manifest.json`: a folder with a manifest is complete. While a stage runs, `checkpoint/<step>/` holds what it needs to go on; a checkpoint
gets its name by rename too, and remembers how long the append-only files were, so that lines written after it are taken back.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import platform
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from biddable.run import memory
from biddable.run.catalog import import_stage, missing_package
from biddable.run.config import UserError, Waiting
from biddable.run.context import Report, StageContext, list_checkpoints
from biddable.run.manifest import (
    FORMAT,
    TRANSIENT_FILES,
    code_version,
    content_hash,
    hash_file,
    read_manifest,
    write_json,
)
from biddable.run.plan import Plan, Stage


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """One process a stage folder; the lock goes with its process, also when that is killed."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("a") as file:
        for wait in (0.05, 0.2, 0.0):  # somebody's `status` holds it for an instant
            if _take(file):
                break
            time.sleep(wait)
        else:
            raise UserError(f"{folder}: another process is running this stage; wait for it or stop it")
        yield


def _take(file: IO[Any]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def stage_states(plan: Plan) -> list[tuple[Stage, str, str]]:
    """Every stage with its state and why. A done stage is `changed` too when a changed one is among its inputs: all that has to go is
    told at once."""
    found = []
    again: set[str] = set()
    for stage in plan.stages:
        known, why = stage_state(plan, stage)
        stale = [name for names in stage.inputs.values() for name, _ in names if name in again]
        if known == "done" and stale:
            known, why = "changed", f"{', '.join(dict.fromkeys(stale))} has to be made again"
        if known == "changed":
            again.add(stage.key)
        found.append((stage, known, why))
    return found


def read_progress(folder: Path) -> dict[str, Any]:
    """What a stage under way last said of its progress: step, steps, left (seconds) and numbers, or why it waits; {} when nothing."""
    try:
        return dict(json.loads((folder / "progress.json").read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return {}


def stage_state(plan: Plan, stage: Stage) -> tuple[str, str]:
    """(state, why): done, changed, running, begun or waiting. `changed` says what differs from the manifest."""
    folder = plan.folder / stage.key
    manifest = read_manifest(folder)
    if manifest is not None:
        differs = _differences(plan, stage, manifest)
        return ("changed", differs) if differs else ("done", f"{manifest['seconds']:.0f} s")
    if (folder / ".lock").exists():
        with (folder / ".lock").open("rb") as file:
            if not _take(file):
                return "running", ""
        if "waiting" in (told := read_progress(folder)):
            return "waiting", str(told["waiting"])
        if (folder / "begun.json").exists():
            return "begun", "it goes on from its last checkpoint" if list_checkpoints(
                folder
            ) else "it begins anew"
    missing_package = [n for names in stage.inputs.values() for n, path in names if _unfinished(path)]
    return ("waiting", f"for {', '.join(missing_package)}") if missing_package else ("ready", "")


def _unfinished(folder: Path) -> bool:
    return not folder.exists() or ((folder / ".lock").exists() and read_manifest(folder) is None)


def _input_hashes(stage: Stage) -> dict[str, list[dict[str, str]]]:
    return {
        word: [{"name": name, "path": str(path), "content": content_hash(path)} for name, path in found]
        for word, found in stage.inputs.items()
    }


def _todays_names(stage: Stage, settings: dict[str, Any]) -> dict[str, Any]:
    """Settings as an earlier version wrote them down, under the names they have today."""
    renamed = getattr(stage.config, "renamed", {})
    return {renamed.get(name, name): value for name, value in settings.items()}


def _differences(plan: Plan, stage: Stage, manifest: dict[str, Any]) -> str:
    then, now = _todays_names(stage, manifest["settings"]), stage.settings
    kinds = getattr(type(stage.config), "model_fields", {})
    differs = [
        f"{k} was {then.get(k)!r}, is {now.get(k)!r}"
        for k in sorted({*then, *now})
        if then.get(k) != now.get(k)
        and k not in getattr(stage.config, "runtime_settings", ())
        # a setting younger than the manifest: its default is what the stage did before there was a choice
        and not (
            k not in then
            and k in kinds
            and getattr(stage.config, k) == kinds[k].get_default(call_default_factory=True)
        )
    ]
    if manifest["seed"] != plan.seed:
        differs.append(f"seed was {manifest['seed']}, is {plan.seed}")
    for word, found in stage.inputs.items():
        before = [one["content"] for one in manifest["inputs"].get(word, [])]
        if unfinished := [name for name, path in found if _unfinished(path)]:
            differs.append(f"its input {word} ({', '.join(unfinished)}) is not done")
        elif before != [content_hash(path) for _, path in found]:
            differs.append(
                f"its input {word} ({', '.join(name for name, _ in found)}) has other content than then"
            )
    return "; ".join(differs)


def run(plan: Plan, stage: Stage, report: Report) -> bool:
    """Run one stage of a plan in its folder. False when it was done already with the same settings and inputs.

    Raises UserError when the folder was made with other settings, when an input is not done, or when the disk is full.
    """
    folder = plan.folder / stage.key
    unready = [
        f"[{stage.key}] {word}: {path} is not done; run [{name}] first"
        for word, found in stage.inputs.items()
        for name, path in found
        if _unfinished(path)
    ]
    if unready:
        raise UserError([f"{plan.file}: {line}" for line in unready])
    with _locked(folder):
        known, why = state_locked(plan, stage)
        if known == "done":
            _tidy(folder)
            return False
        if known == "changed":
            raise UserError(changed_message(plan, stage, why))
        context = StageContext(folder, stage.key, plan.seed, report)
        try:
            inputs = _input_hashes(stage)
            _begin(folder, plan, stage, inputs)
            memory.reset_peak()
            import_stage(stage.name).run(stage.config, context)
            _finish(context, plan, stage, inputs)
        except Waiting as waiting:
            write_json(context.path("progress.json"), {"waiting": str(waiting)})
            raise
        except UserError:
            _leave_nothing(folder)
            raise
        except ModuleNotFoundError as error:
            raise missing_package(stage.name, error) from error
        except Exception as error:
            if _disk_full(error):
                raise UserError(
                    f"{folder}: the disk is full; make room and run again: what is done is kept"
                ) from error
            raise
    return True


def changed_message(plan: Plan, stage: Stage, why: str) -> str:
    """The line that refuses a stage whose folder was made with other settings or inputs, with both ways out."""
    again = f"to make it again: rm -r {plan.folder / stage.key}"
    return f'{plan.file}: [{stage.key}] {why}; {again}; to keep it and run into another folder: name = "NAME" at the top of the file'


def _leave_nothing(folder: Path) -> None:
    """A refused stage has done nothing: without a checkpoint only its lock stays."""
    if not list_checkpoints(folder):
        for path in folder.iterdir():
            if path.name != ".lock":
                shutil.rmtree(path) if path.is_dir() else path.unlink()


def _disk_full(error: BaseException | None) -> bool:
    """Whether a full disk is behind an error: libraries wrap it in errors of their own, some keep only its text."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        if any(words in str(error) for words in ("No space left on device", "disk is full")):
            return True
        error = error.__cause__ or error.__context__
    return False


def state_locked(plan: Plan, stage: Stage) -> tuple[str, str]:
    """As `state`, for the process that holds the lock."""
    manifest = read_manifest(plan.folder / stage.key)
    if manifest is None:
        return "begun", ""
    differs = _differences(plan, stage, manifest)
    return ("changed", differs) if differs else ("done", "")


def _begin(folder: Path, plan: Plan, stage: Stage, inputs: dict[str, Any]) -> None:
    """Refuse to go on from a checkpoint that other settings or inputs made; note what this attempt runs with.

    What a broken-off attempt left without a checkpoint is removed: the stage begins in an empty folder, as if for the first time.
    With a checkpoint only half-written files go: they would count as results if nobody wrote them again.
    """
    now = {"settings": stage.settings, "seed": plan.seed, "inputs": inputs, "format": FORMAT}
    begun = folder / "begun.json"
    if begun.exists() and list_checkpoints(folder):
        then = json.loads(begun.read_text(encoding="utf-8"))
        same = {
            word: stage.settings[word]
            for word in getattr(stage.config, "runtime_settings", ())
            if word in stage.settings
        }
        settings = _todays_names(stage, then["settings"])
        if then | {"settings": settings | same} != json.loads(json.dumps(now, default=str)):
            raise UserError(
                f"{plan.file}: [{stage.key}] was begun with other settings or inputs; to begin anew: rm -r {folder}"
            )
        leftover = list(folder.glob("*.part"))
    else:
        leftover = (
            [p for p in folder.iterdir() if p.name not in (".lock", "begun.json")] if begun.exists() else []
        )
    for path in leftover:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    write_json(begun, now)


def _finish(context: StageContext, plan: Plan, stage: Stage, inputs: dict[str, Any]) -> None:
    """Summary, then the manifest: from here on the stage is done."""
    context.path("progress.json").unlink(missing_ok=True)
    write_json(context.path("summary.json"), context.summary)
    files = {
        str(p.relative_to(context.folder)): {"sha256": hash_file(p), "bytes": p.stat().st_size}
        for p in sorted(context.folder.rglob("*"))
        if p.is_file()
        and p.name not in TRANSIENT_FILES
        and "checkpoint" not in p.relative_to(context.folder).parts
    }
    content = {
        k: v["sha256"]
        for k, v in files.items()
        if k not in ("metrics.jsonl", "samples.jsonl", "summary.json")
    }
    write_json(
        context.path("manifest.json"),
        {
            "format": FORMAT,
            "run": plan.name,
            "stage": stage.key,
            "settings": stage.settings,
            "seed": plan.seed,
            "inputs": inputs,
            "content": hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest(),
            "files": files,
            "code": code_version(),
            "host": {
                "name": platform.node(),
                "machine": platform.machine(),
                "system": platform.system(),
                "cores": os.cpu_count(),
                "python": platform.python_version(),
            },
            "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "seconds": round(time.time() - context.started, 3),
            "peak_memory_gb": round(memory.peak_gb(), 3),
        },
    )
    _tidy(context.folder)


def _tidy(folder: Path) -> None:
    """Remove what only a stage under way needs; again when that was broken off between the manifest and here."""
    shutil.rmtree(folder / "checkpoint", ignore_errors=True)
    (folder / "begun.json").unlink(missing_ok=True)
