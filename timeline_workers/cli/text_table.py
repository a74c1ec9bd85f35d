"""Text tables: rows as lines of aligned columns, never wider than what they are shown on, no word broken.

Rows that do not fit, though their texts are wrapped between words, are shown as records: a line for each
field. Where there is no terminal the width is 80, or COLUMNS.
"""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Iterator, Mapping, Sequence

_GAP, _MARGIN = 3, 1
_RECORD_GAP = 2
# Wrapped narrower than this, a text is easier to read in a record.
_LEAST_TEXT = 16

Row = Mapping[str, str]


def terminal_width() -> int:
    """How many characters a line may have."""
    return shutil.get_terminal_size((80, 24)).columns


def drawn(
    rows: Sequence[Row],
    *,
    right: frozenset[str] = frozenset(),
    width: int | None = None,
    headers: bool = True,
) -> str:
    """``rows`` as a table with a line of headers, or as records where that would be wider than ``width``
    (default: the terminal's). ``right``: the columns that are aligned to the right.
    """
    if not rows:
        return ""
    width = terminal_width() if width is None else width
    names = list(dict.fromkeys(name for row in rows for name in row))
    widths = _widths(rows, names, width, headers)
    if widths is None:
        return "\n".join(_records(rows, width)) + "\n"
    lines = []
    if headers:
        lines += [_line([[name] for name in names], names, widths, right)]
        lines += [" " * _MARGIN + "─" * (sum(widths.values()) + _GAP * (len(names) - 1))]
    for row in rows:
        cells = [_wrapped(row.get(name, ""), widths[name]) for name in names]
        lines.append(_line(cells, names, widths, right))
    return "\n".join(lines) + "\n"


def _widths(rows: Sequence[Row], names: list[str], width: int, headers: bool) -> dict[str, int] | None:
    """The width of each column; None where they do not fit together."""
    texts = {name: [*([name] if headers else []), *(row.get(name, "") for row in rows)] for name in names}
    widths = {name: max(map(len, texts[name])) for name in names}
    words = {name: max((len(w) for text in texts[name] for w in text.split()), default=0) for name in names}
    least = {name: max(words[name], min(widths[name], _LEAST_TEXT)) for name in names}
    over = _MARGIN + sum(widths.values()) + _GAP * (len(names) - 1) - width
    while over > 0:
        widest = max(names, key=lambda name: widths[name] - least[name])
        if widths[widest] == least[widest]:
            return None
        taken = min(over, widths[widest] - least[widest])
        widths[widest] -= taken
        over -= taken
    return widths


def _line(cells: list[list[str]], names: list[str], widths: Mapping[str, int], right: frozenset[str]) -> str:
    lines = []
    for n in range(max(map(len, cells))):
        parts = [cell[n] if n < len(cell) else "" for cell in cells]
        aligned = [
            part.rjust(widths[name]) if name in right else part.ljust(widths[name])
            for part, name in zip(parts, names, strict=True)
        ]
        lines.append((" " * _MARGIN + (" " * _GAP).join(aligned)).rstrip())
    return "\n".join(lines)


def _wrapped(text: str, width: int) -> list[str]:
    if len(text) <= width:
        return [text]
    return textwrap.wrap(text, max(width, 1), break_long_words=False, break_on_hyphens=False) or [""]


def _records(rows: Sequence[Row], width: int) -> Iterator[str]:
    """The fields of each row, a line each; an empty line between two rows."""
    label = max(len(name) for row in rows for name in row)
    for place, row in enumerate(rows):
        if place:
            yield ""
        for name, text in row.items():
            first, *rest = _wrapped(text, width - label - _RECORD_GAP)
            yield f"{name.ljust(label)}{' ' * _RECORD_GAP}{first}".rstrip()
            yield from (" " * (label + _RECORD_GAP) + line for line in rest)
