"""Arguments that several verbs share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

File = Annotated[Path, typer.Argument(help="The run's TOML file.", metavar="FILE")]
Folder = Annotated[Path, typer.Argument(help="A stage's folder, e.g. runs/demo/learn.ppo.", metavar="FOLDER")]

HELP = {"--help", "-h"}
"""Verbs with a dot, such as `learn.ppo` and `serve.keys`, read their arguments themselves."""
