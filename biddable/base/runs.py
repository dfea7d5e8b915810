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
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import biddable
from biddable.base.config import PACKAGE, Plan, Refusal, Stage, Waiting, module

FORMAT = 1
"""Version of the stage folder. A folder of another version is refused."""

Report = Callable[[int, int, dict[str, float]], None]
"""Called with step, number of steps, and the numbers that matter."""

NOTED_SECONDS = 1.0
"""Time between two notes in progress.json, which `status` of another process reads."""

PASSING = (".lock", "begun.json", "progress.json")
"""Files of a stage folder that are no part of its result."""


def hash_file(path: Path) -> str:
    """sha256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_json(path: Path, value: Any) -> None:
    """Write JSON to a side name, flush it to the disk, then rename."""
    side = path.with_name(path.name + ".part")
    try:
        with side.open("w", encoding="utf-8") as file:
            file.write(json.dumps(value, indent=2, ensure_ascii=False, default=str) + "\n")
            file.flush()
            os.fsync(file.fileno())
        side.replace(path)
    except OSError:
        side.unlink(missing_ok=True)
        raise


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """A stage folder's manifest; None while the stage is not done. Raises Refusal for a folder of another version."""
    path = folder / "manifest.json"
    if not path.exists():
        return None
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        version = manifest["format"]
    except (ValueError, KeyError, TypeError, UnicodeDecodeError):
        raise Refusal(f"{path}: not a manifest of biddable; remove {folder} and run the stage again") from None
    if version != FORMAT:
        raise Refusal(
            f"{path}: format {version}, but this is biddable {biddable.__version__} with format {FORMAT}; "
            f"use the version that wrote it ({manifest.get('code', {}).get('version', 'unknown')}), or remove {folder}"
        )
    return dict(manifest)


def content_hash(folder: Path) -> str:
    """What a folder or file holds, as one hash: a stage folder's from its manifest, any other folder's from its files."""
    if folder.is_file():
        return hash_file(folder)
    manifest = read_manifest(folder)
    if manifest is not None:
        return str(manifest["content"])
    files = {str(p.relative_to(folder)): hash_file(p) for p in sorted(folder.rglob("*")) if p.is_file()}
    return hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()


def code_version() -> dict[str, str]:
    """The package's version and, in a checkout, its commit."""
    found = {"version": biddable.__version__}
    try:
        args = ["git", "-C", str(PACKAGE), "describe", "--always", "--dirty", "--abbrev=12"]
        done = subprocess.run(args, capture_output=True, text=True, timeout=5, check=False)
        if done.returncode == 0:
            found["commit"] = done.stdout.strip()
    except (OSError, subprocess.TimeoutExpired):
        pass
    return found


@dataclass
class Here:
    """What a running stage holds: its folder, its seed, and the ways to log, keep, checkpoint and finish."""

    folder: Path
    key: str
    seed: int
    report: Report
    summary: dict[str, Any] = field(default_factory=dict)
    started: float = field(default_factory=time.time)
    total_steps: int = 0
    _noted: float = 0.0

    def path(self, name: str) -> Path:
        """A file or folder of this stage."""
        return self.folder / name

    def progress(self, step: int, steps: int, **numbers: float) -> None:
        """Tell the terminal how far the stage is, with the two or three numbers that matter; note it for `status`."""
        self.total_steps = steps
        self.report(step, steps, numbers)
        if time.monotonic() - self._noted >= NOTED_SECONDS:
            self._noted = time.monotonic()
            side = self.path("progress.json.part")
            side.write_text(json.dumps({"step": step, "steps": steps, **numbers}, default=float), encoding="utf-8")
            side.replace(self.path("progress.json"))

    def append(self, name: str, row: dict[str, Any]) -> None:
        """Append one JSON line to a file of this stage, e.g. metrics.jsonl; a checkpoint remembers the file's length."""
        with self.path(name).open("a", encoding="utf-8") as file:
            file.write(json.dumps(row, ensure_ascii=False, allow_nan=True) + "\n")

    def log(self, step: int, **metrics: float) -> None:
        """One line in metrics.jsonl. Every name has a line in docs/flow.md."""
        self.append("metrics.jsonl", {"step": step, **metrics})

    def checkpoint(self, step: int, write: Callable[[Path], None]) -> None:
        """Keep what is needed to go on from `step`; `write` puts it into the folder it is given. Older checkpoints go."""
        parent = self.path("checkpoint")
        parent.mkdir(exist_ok=True)
        side, final = parent / "part", parent / f"{step:09d}"
        shutil.rmtree(side, ignore_errors=True)
        side.mkdir()
        write(side)
        lines = list(self.folder.glob("*.jsonl"))
        for path in lines:
            _flush(path)
        sizes = {p.name: p.stat().st_size for p in lines}
        write_json(side / "sizes.json", {"sizes": sizes, "seconds": time.time() - self.started})
        for path in side.rglob("*"):
            _flush(path)
        side.rename(final)
        _flush(parent)
        for old in sorted(parent.iterdir()):
            if old != final:
                shutil.rmtree(old, ignore_errors=True)

    def restore(self) -> tuple[int, Path] | None:
        """The newest checkpoint as (step, folder), with lines written after it taken back; None to start from nothing."""
        whole = sorted(p for p in self.path("checkpoint").glob("[0-9]*") if (p / "sizes.json").exists())
        kept: dict[str, Any] = (
            json.loads((whole[-1] / "sizes.json").read_text()) if whole else {"sizes": {}, "seconds": 0.0}
        )
        for path in self.folder.glob("*.jsonl"):
            os.truncate(path, kept["sizes"].get(path.name, 0))
        self.started = time.time() - kept["seconds"]
        return (int(whole[-1].name), whole[-1]) if whole else None


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """One process a stage folder; the lock goes with its process, also when that is killed."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Refusal(f"{folder}: another process is running this stage; wait for it or stop it") from None
        yield


def state(plan: Plan, stage: Stage) -> tuple[str, str]:
    """(state, why): done, changed, running, begun or waiting. `changed` says what differs from the manifest."""
    folder = plan.folder / stage.key
    manifest = read_manifest(folder)
    if manifest is not None:
        differs = _differences(plan, stage, manifest)
        return ("changed", differs) if differs else ("done", f"{manifest['seconds']:.0f} s")
    if (folder / ".lock").exists():
        with (folder / ".lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return "running", ""
        note = folder / "progress.json"
        told = json.loads(note.read_text(encoding="utf-8")) if note.exists() else {}
        if "waiting" in told:
            return "waiting", str(told["waiting"])
        return "begun", "stopped before it was done; it goes on from its last checkpoint"
    missing = [n for names in stage.inputs.values() for n, path in names if _unfinished(path)]
    return "waiting", f"for {', '.join(missing)}" if missing else "to be run"


def _unfinished(folder: Path) -> bool:
    return not folder.exists() or ((folder / ".lock").exists() and read_manifest(folder) is None)


def _input_hashes(stage: Stage) -> dict[str, list[dict[str, str]]]:
    return {
        word: [{"name": name, "path": str(path), "content": content_hash(path)} for name, path in found]
        for word, found in stage.inputs.items()
    }


def _differences(plan: Plan, stage: Stage, manifest: dict[str, Any]) -> str:
    then, now = manifest["settings"], stage.settings
    differs = [
        f"{k} was {then.get(k)!r}, is {now.get(k)!r}" for k in sorted({*then, *now}) if then.get(k) != now.get(k)
    ]
    if manifest["seed"] != plan.seed:
        differs.append(f"seed was {manifest['seed']}, is {plan.seed}")
    for word, found in stage.inputs.items():
        before = [one["content"] for one in manifest["inputs"].get(word, [])]
        if any(_unfinished(path) for _, path in found) or before != [content_hash(path) for _, path in found]:
            differs.append(f"its input {word} ({', '.join(name for name, _ in found)}) has other content than then")
    return "; ".join(differs)


def run(plan: Plan, stage: Stage, report: Report) -> bool:
    """Run one stage of a plan in its folder. False when it was done already with the same settings and inputs.

    Raises Refusal when the folder was made with other settings, when an input is not done, or when the disk is full.
    """
    folder = plan.folder / stage.key
    unready = [
        f"[{stage.key}] {word}: {path} is not done; run [{name}] first"
        for word, found in stage.inputs.items()
        for name, path in found
        if _unfinished(path)
    ]
    if unready:
        raise Refusal([f"{plan.file}: {line}" for line in unready])
    with _locked(folder):
        known, why = state_locked(plan, stage)
        if known == "done":
            return False
        if known == "changed":
            raise Refusal(f"{plan.file}: [{stage.key}] {why}; to make it again: rm -r {folder}")
        here = Here(folder, stage.key, plan.seed, report)
        try:
            inputs = _input_hashes(stage)
            _begin(folder, plan, stage, inputs)
            module(stage.name).run(stage.config, here)
            _finish(here, plan, stage, inputs)
        except Waiting as waiting:
            write_json(here.path("progress.json"), {"waiting": str(waiting)})
            raise
        except Exception as error:
            if _disk_full(error):
                raise Refusal(f"{folder}: the disk is full; make room and run again: what is done is kept") from error
            raise
    return True


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
    """
    now = {"settings": stage.settings, "seed": plan.seed, "inputs": inputs, "format": FORMAT}
    begun = folder / "begun.json"
    if begun.exists() and (folder / "checkpoint").exists():
        then = json.loads(begun.read_text(encoding="utf-8"))
        if then != json.loads(json.dumps(now, default=str)):
            raise Refusal(
                f"{plan.file}: [{stage.key}] was begun with other settings or inputs; to begin anew: rm -r {folder}"
            )
    elif begun.exists():
        for path in folder.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            elif path.name not in (".lock", "begun.json"):
                path.unlink()
    write_json(begun, now)


def _finish(here: Here, plan: Plan, stage: Stage, inputs: dict[str, Any]) -> None:
    """Summary, then the manifest: from here on the stage is done."""
    here.path("progress.json").unlink(missing_ok=True)
    write_json(here.path("summary.json"), here.summary)
    files = {
        str(p.relative_to(here.folder)): {"sha256": hash_file(p), "bytes": p.stat().st_size}
        for p in sorted(here.folder.rglob("*"))
        if p.is_file() and p.name not in PASSING and "checkpoint" not in p.relative_to(here.folder).parts
    }
    content = {k: v["sha256"] for k, v in files.items() if k not in ("metrics.jsonl", "samples.jsonl", "summary.json")}
    write_json(
        here.path("manifest.json"),
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
            "seconds": round(time.time() - here.started, 3),
        },
    )
    shutil.rmtree(here.path("checkpoint"), ignore_errors=True)
    here.path("begun.json").unlink(missing_ok=True)
