"""Tables as CSV: read back by the csv module, and harmless in a spreadsheet."""

from __future__ import annotations

import csv
import io

import pytest

from biddable.web.csv_file import csv_response, utc


def test_a_table_comes_back_as_it_was() -> None:
    rows = [("ada, the first", 'says "no"\nand goes', 3, 0.123456, None), ("бob", "", -1, -0.5, 0)]
    response = csv_response("people", ("name", "note", "a", "b", "c"), rows)
    assert response.headers["content-disposition"] == 'attachment; filename="people.csv"'
    assert response.headers["content-type"] == "text/csv; charset=utf-8"
    read = list(csv.DictReader(io.StringIO(bytes(response.body).decode(), newline="")))
    assert read == [
        {"name": "ada, the first", "note": 'says "no"\nand goes', "a": "3", "b": "0.1235", "c": ""},
        {"name": "бob", "note": "", "a": "-1", "b": "-0.5", "c": "0"},
    ]


@pytest.mark.parametrize(
    "text", ["=1+1", "+1", "-2+3", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "＝1+1", '=HYPERLINK("http://e.vil")']
)
def test_no_cell_begins_like_a_formula(text: str) -> None:
    response = csv_response("t", ("a",), [(text,), (f"x{text}",)])
    cells = [row[0] for row in csv.reader(io.StringIO(bytes(response.body).decode(), newline=""))]
    assert cells == ["a", f"'{text}", f"x{text}"]


def test_times_are_utc() -> None:
    assert utc(86400.5) == "1970-01-02T00:00:00Z" and utc(None) is None
