"""Tables: rows of models as CSV, one line for each, for spreadsheets and scripts.

Nested values are JSON. A cell that a spreadsheet would take for a formula has an apostrophe before it.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable
from typing import Any

from fastapi.responses import Response
from pydantic import BaseModel

_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def to_csv(rows: Iterable[BaseModel]) -> str:
    """The rows, with a first line of the names of their fields."""
    data = [row.model_dump(mode="json") for row in rows]
    names = list(dict.fromkeys(name for row in data for name in row))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(names)
    for row in data:
        writer.writerow([_cell(row.get(name)) for name in names])
    return text.getvalue()


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
