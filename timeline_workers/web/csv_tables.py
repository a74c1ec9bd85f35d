"""Tables: rows of models as CSV, one line for each, for spreadsheets and scripts.

The spans of one answer, and the values of one State's change, are lines of their own, as in the tables of
the `timeline` command; other nested values are JSON. A cell that a spreadsheet would take for a formula has
an apostrophe before it.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator
from typing import Any

from fastapi.responses import Response
from pydantic import BaseModel

_OWN_LINES = ("spans", "seconds_by_value")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def to_csv(rows: Iterable[BaseModel]) -> str:
    """The rows, with a first line of the names of their fields."""
    data = [line for row in rows for line in _lines(row.model_dump(mode="json"))]
    names = list(dict.fromkeys(name for row in data for name in row))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(names)
    for row in data:
        writer.writerow([_cell(row.get(name)) for name in names])
    return text.getvalue()


def _lines(row: dict[str, Any]) -> Iterator[dict[str, Any]]:
    inner = next((name for name in _OWN_LINES if isinstance(row.get(name), list)), None)
    if inner is None:
        yield row
        return
    items = row.pop(inner)
    yield from ({**row, **item} for item in items)


def csv_answer(rows: Iterable[BaseModel], name: str) -> Response:
    """A response that a browser saves as ``name``.csv."""
    headers = {"Content-Disposition": f'attachment; filename="{name}.csv"'}
    return Response(to_csv(rows), media_type="text/csv; charset=utf-8", headers=headers)


def _cell(value: Any) -> Any:
    if value is None or (isinstance(value, int | float) and not isinstance(value, bool)):
        return value
    if isinstance(value, str):
        return f"'{value}" if value.startswith(_FORMULA) else value
    return json.dumps(value, ensure_ascii=False)
