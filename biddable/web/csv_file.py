"""Tables as CSV files to be downloaded, safe to be opened in a spreadsheet."""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Iterable, Sequence

from starlette.responses import Response

FORMULA_STARTS = tuple("=+-@\t\r\n＝＋－＠")
"""A spreadsheet takes a cell that begins so for a formula, and may run it (CSV injection)."""

Cell = str | int | float | None


def csv_response(name: str, header: Sequence[str], rows: Iterable[Sequence[Cell]]) -> Response:
    """The table as the file NAME.csv. Texts that a spreadsheet would run get an apostrophe in front; numbers
    stay numbers."""
    lines = io.StringIO(newline="")
    writer = csv.writer(lines)
    writer.writerow(header)
    writer.writerows([[_harmless(cell) for cell in row] for row in rows])
    disposition = {"content-disposition": f'attachment; filename="{name}.csv"'}
    return Response(lines.getvalue(), media_type="text/csv; charset=utf-8", headers=disposition)


def _harmless(cell: Cell) -> Cell:
    if isinstance(cell, str):
        return f"'{cell}" if cell.startswith(FORMULA_STARTS) else cell
    return round(cell, 4) if isinstance(cell, float) else cell


def utc(seconds: float | None) -> str | None:
    """A time as 2026-11-26T09:30:00Z; None stays None."""
    return None if seconds is None else time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
