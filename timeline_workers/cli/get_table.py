"""The table of `timeline get`: what a person wants to see at 80 columns, or all of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from .text_table import drawn, terminal_width

_DEFAULT = ("metric", "state", "workers", "lag", "keys", "late", "refused", "watermark")
_HEADERS = {"metric": "NAME"}
_NO_COLUMNS = ("cause", "causes")


def table(rows: Sequence[Mapping[str, Any]], *, wide: bool) -> str:
    """One line a row under a line of headers, no cell broken or cut; below them every cause, one a line.
    ``-`` stands for what is not known. ``wide``: all columns, as records where the terminal is narrower.
    """
    found = dict.fromkeys(name for row in rows for name in row if name not in _NO_COLUMNS)
    names = [*_DEFAULT, *(name for name in found if name not in _DEFAULT)] if wide else list(_DEFAULT)
    lines = [[_HEADERS.get(name, name.upper()) for name in names]]
    lines += [[_cell(name, row.get(name)) for name in names] for row in rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    numbers = {n for n, name in enumerate(names) if _counts(row.get(name) for row in rows)}
    if wide and sum(widths) + 2 * (len(names) - 1) > terminal_width():
        headers = [_HEADERS.get(name, name.upper()) for name in names]
        records = [dict(zip(headers, line, strict=True)) for line in lines[1:]]
        return _with_causes(drawn(records, width=terminal_width()).splitlines(), rows)
    table_lines = [
        "  ".join(
            cell.rjust(width) if n in numbers else cell.ljust(width)
            for n, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]
    return _with_causes(table_lines, rows)


def _with_causes(lines: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> str:
    causes = [f"{row['metric']}: {cause}" for row in rows for cause in row.get("causes") or ()]
    return "\n".join([*lines, *([""] if causes else []), *causes]) + "\n"


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
