"""HTML pages that stages write: one self-contained file each, on the shared head and style of `base.html`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jinja2


def environment(templates: Path, finalize: Callable[[Any], Any] | None = None) -> jinja2.Environment:
    """Jinja for the templates of one folder, which begin with `{% extends "base.html" %}`.

    Everything is escaped, and a variable that is missing is an error. `finalize` sees every value before it
    is printed.
    """
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader([templates, Path(__file__).parent]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=finalize,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def write_page(path: Path, text: str) -> None:
    """Write a page to a side name, then rename; characters that UTF-8 does not know (lone surrogates) become
    `?`."""
    side = path.with_name(path.name + ".part")
    side.write_text(text, encoding="utf-8", errors="replace")
    side.replace(path)
