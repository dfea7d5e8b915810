"""Running a stage: alone in its folder, from its last checkpoint, with a manifest at the end."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import platform
import time
from pathlib import Path
from typing import Any

from biddable.run import memory, stage_folder
from biddable.run.catalog import import_stage, missing_package
from biddable.run.context import Report, StageContext
from biddable.run.errors import UserError, Waiting
from biddable.run.manifest import (
    FORMAT,
    TRANSIENT_FILES,
    code_version,
    content_hash,
    current_names,
    hash_file,
    read_manifest,
    write_json,
)
from biddable.run.parse import read_object
from biddable.run.plan import Plan, Stage
from biddable.run.states import changed_message, differences

LOGS = ("metrics.jsonl", "samples.jsonl", "summary.json")
"""Files that tell of a stage's work. What later stages read are the others: only those make up `content`."""


def run_stage(plan: Plan, stage: Stage, report: Report) -> bool:
    """Run one stage of a plan in its folder. False when it was done already with the same settings and
    inputs.

    Raises UserError when the folder was made with other settings, when an input is not done, or when the disk
    is full, and Waiting when people must answer first.
    """
    if stage.missing:
        raise UserError([f"{plan.file}: {line}" for line in stage.missing.lines])
    if errors := _unfinished_inputs(plan, stage):
        raise UserError(errors)
    folder = plan.folder / stage.key
    with stage_folder.locked(folder):
        manifest = read_manifest(folder)
        if manifest is None:
            _work(StageContext(folder, stage.key, plan.seed, report), plan, stage)
            return True
        if differs := differences(plan, stage, manifest):
            raise UserError(changed_message(plan, stage, differs))
        stage_folder.remove_transient(folder)  # it was killed between its manifest and this
        return False


def _unfinished_inputs(plan: Plan, stage: Stage) -> list[str]:
    return [
        f"{plan.file}: [{stage.key}] {word}: {path} is not done; run [{name}] first"
        for word, arrows in stage.inputs.items()
        for name, path in arrows
        if stage_folder.is_unfinished(path)
    ]


def _work(context: StageContext, plan: Plan, stage: Stage) -> None:
    """The stage's own `run`, between what is written before and after it; what goes wrong becomes the user's
    line."""
    try:
        inputs = _input_hashes(stage)
        _begin(context.folder, plan, stage, inputs)
        memory.reset_peak()
        import_stage(stage.name).run(stage.config, context)
        finish(context, plan, stage, inputs)
    except Waiting as waiting:
        write_json(context.path(stage_folder.PROGRESS), {"waiting": str(waiting)})
        raise
    except UserError:
        _remove_failed(context.folder)
        raise
    except ModuleNotFoundError as error:
        raise missing_package(stage.name, error) from error
    except Exception as error:
        if _is_disk_full(error):
            raise UserError(
                f"{context.folder}: the disk is full; make room and run again: what is done stays done"
            ) from error
        raise


def _input_hashes(stage: Stage) -> dict[str, list[dict[str, str]]]:
    return {
        word: [{"name": name, "path": str(path), "content": content_hash(path)} for name, path in arrows]
        for word, arrows in stage.inputs.items()
    }


def _begin(folder: Path, plan: Plan, stage: Stage, inputs: dict[str, Any]) -> None:
    """Note what this attempt runs with, and clear away what a broken-off one left.

    Without a checkpoint everything goes: the stage begins in an empty folder, as if for the first time. With
    one only half-written files go: they would count as results if nobody wrote them again. Raises UserError
    when the checkpoint was made with other settings or inputs.
    """
    now = {"settings": stage.written_settings, "seed": plan.seed, "inputs": inputs, "format": FORMAT}
    begun = folder / stage_folder.BEGUN
    if begun.exists() and stage_folder.list_checkpoints(folder):
        if not _same_work(stage, read_object(begun), now):
            raise UserError(
                f"{plan.file}: [{stage.key}] was begun with other settings or inputs; to begin anew: rm -r "
                f"{folder}"
            )
        stage_folder.remove(list(folder.glob("*.part")))
    elif begun.exists():
        keep = (stage_folder.LOCK, stage_folder.BEGUN)
        stage_folder.remove([path for path in folder.iterdir() if path.name not in keep])
    write_json(begun, now)


def _same_work(stage: Stage, before: dict[str, Any], now: dict[str, Any]) -> bool:
    """Whether a checkpoint may be gone on from: settings that only say how the work is done may differ."""
    runtime = {
        name: value
        for name, value in stage.written_settings.items()
        if name in getattr(stage.config, "runtime_settings", ())
    }
    before = current_names(stage.name, before)
    before["settings"] |= runtime
    return before == dict(json.loads(json.dumps(now, default=str)))


def _remove_failed(folder: Path) -> None:
    """A stage that refused its input has done nothing: without a checkpoint only its lock stays."""
    if not stage_folder.list_checkpoints(folder):
        stage_folder.remove([path for path in folder.iterdir() if path.name != stage_folder.LOCK])


def _is_disk_full(error: BaseException | None) -> bool:
    """Whether a full disk is behind an error: libraries wrap it in errors of their own, some keep only its
    text."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        if any(words in str(error) for words in ("No space left on device", "disk is full")):
            return True
        error = error.__cause__ or error.__context__
    return False


def finish(context: StageContext, plan: Plan, stage: Stage, inputs: dict[str, Any]) -> None:
    """Summary, then the manifest: from here on the stage is done."""
    context.path(stage_folder.PROGRESS).unlink(missing_ok=True)
    write_json(context.path("summary.json"), context.summary)
    files = _hash_files(context.folder)
    content = {name: file["sha256"] for name, file in files.items() if name not in LOGS}
    manifest = {
        "format": FORMAT,
        "run": plan.name,
        "stage": stage.key,
        "settings": stage.written_settings,
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
    }
    write_json(context.path("manifest.json"), manifest)
    stage_folder.remove_transient(context.folder)


def _hash_files(folder: Path) -> dict[str, dict[str, Any]]:
    """Every file of a finished stage -> sha256 and size."""
    return {
        str(path.relative_to(folder)): {"sha256": hash_file(path), "bytes": path.stat().st_size}
        for path in sorted(folder.rglob("*"))
        if path.is_file()
        and path.name not in TRANSIENT_FILES
        and "checkpoint" not in path.relative_to(folder).parts
    }
