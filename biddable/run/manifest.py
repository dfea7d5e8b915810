"""Manifests: what a finished stage folder says of itself, and hashes of what folders and files hold."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import biddable
from biddable.run.catalog import PACKAGE, renamed_settings
from biddable.run.config import UserError
from biddable.run.parse import parse_json
from biddable.run.redaction import redact_settings

FORMAT = 1
"""Version of the stage folder. A folder of another version is refused."""

TRANSIENT_FILES = (".lock", "begun.json", "progress.json")
"""Files of a stage folder that are not part of its result."""


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
    """A stage folder's manifest, its settings and inputs under today's names; None while the stage is not
    done.

    Raises UserError for a folder of another format.
    """
    path = folder / "manifest.json"
    if not path.exists():
        return None
    try:
        manifest = parse_json(path.read_text(encoding="utf-8"))
        version = manifest["format"]
    except (ValueError, KeyError, TypeError, UnicodeDecodeError):
        raise UserError(
            f"{path}: not a manifest of biddable; remove {folder} and run the stage again"
        ) from None
    if version != FORMAT:
        raise UserError(
            f"{path}: format {version}, but this is biddable {biddable.__version__} with format {FORMAT}; "
            f"use the version that wrote it ({manifest.get('code', {}).get('version', 'unknown')}), or "
            f"remove {folder}"
        )
    return current_names(manifest["stage"], manifest)


def current_names(stage: str, manifest: dict[str, Any]) -> dict[str, Any]:
    """Settings and inputs as an earlier version wrote them down, under the names that they have today and without
    the secrets of URLs, which it did not hide."""
    renamed = renamed_settings(".".join(stage.split(".")[:2]))
    return manifest | {
        part: {renamed.get(name, name): redact_settings(value) for name, value in manifest[part].items()}
        for part in ("settings", "inputs")
    }


def read_summary(folder: Path) -> dict[str, Any]:
    """A stage's final numbers. Raises UserError when the file is missing or broken."""
    path = folder / "summary.json"
    try:
        summary = parse_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; run the stage that makes {folder} first") from None
    except (ValueError, UnicodeDecodeError):
        raise UserError(f"{path}: not JSON; remove {folder} and run the stage again") from None
    if not isinstance(summary, dict):
        raise UserError(f"{path}: must be an object of names and numbers")
    return summary


def content_hash(folder: Path) -> str:
    """One hash of what a folder or file holds: a stage folder's from its manifest, any other folder's from
    its files."""
    if folder.is_file():
        return hash_file(folder)
    manifest = read_manifest(folder)
    if manifest is not None:
        return str(manifest["content"])
    files = {str(p.relative_to(folder)): hash_file(p) for p in sorted(folder.rglob("*")) if p.is_file()}
    return hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()


def code_version() -> dict[str, str]:
    """The package's version and, in a checkout, its commit."""
    version = {"version": biddable.__version__}
    try:
        args = ["git", "-C", str(PACKAGE), "describe", "--always", "--dirty", "--abbrev=12"]
        git = subprocess.run(args, capture_output=True, text=True, timeout=5, check=False)
        if git.returncode == 0:
            version["commit"] = git.stdout.strip()
    except (OSError, subprocess.TimeoutExpired):
        pass  # no git here: the version alone must do
    return version
