"""The table of `timeline get`: what a person wants to see at 80 columns, or all of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

_DEFAULT = ("metric", "state", "workers", "lag", "keys", "late", "refused", "watermark")
_HEADERS = {"metric": "NAME"}
_NO_COLUMNS = ("cause", "causes")


def table(rows: Sequence[Mapping[str, Any]], *, wide: bool) -> str:
    """One line a row under a line of headers, no cell broken or cut, whatever the width; below them every
    cause, one a line. ``-`` stands for what is not known.
    """
    found = dict.fromkeys(name for row in rows for name in row if name not in _NO_COLUMNS)
    names = [*_DEFAULT, *(name for name in found if name not in _DEFAULT)] if wide else list(_DEFAULT)
    lines = [[_HEADERS.get(name, name.upper()) for name in names]]
    lines += [[_cell(name, row.get(name)) for name in names] for row in rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    numbers = {n for n, name in enumerate(names) if _counts(row.get(name) for row in rows)}
    drawn = [
        "  ".join(
            cell.rjust(width) if n in numbers else cell.ljust(width)
            for n, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]
    causes = [f"{row['metric']}: {cause}" for row in rows for cause in row.get("causes") or ()]
    return "\n".join([*drawn, *([""] if causes else []), *causes]) + "\n"


def _counts(values: Iterable[object]) -> bool:
    return all(value is None or isinstance(value, int | float) for value in values)


def _cell(name: str, value: object) -> str:
    if value is None:
        return "-"
    if name in ("watermark", "answerable_from"):
        # Seconds are enough for people; programs read JSON.
        whole, point, _ = str(value).partition(".")
        return f"{whole}Z" if point else whole
    return str(value)
