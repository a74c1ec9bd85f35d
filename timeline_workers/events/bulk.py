"""Many JSON texts to columns: those that are alike by templates, the others by the exact parser in bulk.

Speed only. What comes out is what parsing every text by itself would give, bit for bit, the order of string
tables included; what was seen before changes nothing but the time it takes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec
import numpy as np

from ..algebra.values import STRING, UNKNOWN, Int64, StringTable
from .lines import Lines, distinct
from .paths import Shape
from .raw import RawColumn
from .template import Fitting, Template

FEW: Final = 64  # so few texts are parsed sooner than compared
_MOST_TEMPLATES: Final = 24
_UNUSED: Final = 16  # batches after which a template that nothing fits is forgotten
_RARE: Final = 64  # a template is worth keeping that fits one in so many texts
_TRIES: Final = 3  # how many texts in a row may turn out to be rare
_PAUSE: Final = 32  # at most so many batches are not looked at after one in which little fitted
_ALONE: Final = 16  # so few texts, one of which is refused, are parsed one by one

Records = list[Any]


class Templates:
    """The templates of the texts that one decoder has met. ``fitted``: how many texts have fitted one."""

    def __init__(self, shape: Shape, paths: Iterable[str]) -> None:
        self._shape = shape
        self._paths = list(paths)
        self._parse = msgspec.json.Decoder(shape.struct).decode
        self._known: dict[Template, int] = {}  # with the batches since one was last of use, best first
        self._pause = self._paused = 0
        self.fitted = 0

    def fit(self, lines: Lines, rows: Int64) -> tuple[list[Fitting], Int64]:
        """Find templates that ``rows`` fit; return what they have, and those that fit none."""
        if self._paused:
            self._paused -= 1
            return [], rows
        fitted: list[Fitting] = []
        hits: dict[Template, int] = {}
        rest = rows
        for template in list(self._known):
            found = template.fit(lines, rest)
            hits[template] = len(found.rows)
            rest = _take(fitted, found, rest, lines)
        rest = self._learn(lines, rest, fitted, hits)
        unused = {t: 0 if n else self._known.get(t, 0) + 1 for t, n in hits.items()}
        best = sorted(hits, key=lambda t: -hits[t])[:_MOST_TEMPLATES]
        self._known = {t: unused[t] for t in best if unused[t] < _UNUSED}
        self.fitted += len(rows) - len(rest)
        little = len(rest) * 4 > len(rows) * 3
        self._pause = min(2 * self._pause + 1, _PAUSE) if little else 0
        self._paused = self._pause
        return fitted, rest

    def _learn(self, lines: Lines, rest: Int64, fitted: list[Fitting], hits: dict[Template, int]) -> Int64:
        tried = 0
        enough = max(FEW, len(lines) // _RARE)
        while len(rest) >= enough and tried < _TRIES:
            # A text from the middle: the first may be the odd one again and again.
            row = int(rest[(tried + 1) * len(rest) // (_TRIES + 1)])
            template = Template.of(lines.raw[lines.bounds[row] : lines.bounds[row + 1]], self._read)
            tried += 1
            if template is None:
                continue
            found = template.fit(lines, rest)
            rest = _take(fitted, found, rest, lines)
            if len(found.rows) >= enough:
                hits[template] = len(found.rows)
                tried = 0
        return rest

    def _read(self, text: bytes) -> Mapping[str, Any] | None:
        try:
            text.decode()
            record = self._parse(text)
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            return None
        return {path: self._shape.read(path, [record])[0] for path in self._paths}


def _take(fitted: list[Fitting], found: Fitting, rest: Int64, lines: Lines) -> Int64:
    if not len(found.rows):
        return rest
    fitted.append(found)
    if len(found.rows) == len(rest):
        return rest[:0]
    left = np.zeros(len(lines), np.bool_)
    left[rest] = True
    left[found.rows] = False
    return np.flatnonzero(left)


def parse_all(payloads: Sequence[bytes], parse_lines: msgspec.json.Decoder[Any], limit: int) -> Records:
    """Parse texts by the exact parser, many in one call; None for each that must be looked at by itself.

    ``parse_lines``: a decoder of one text. ``limit``: the most bytes of a text.
    """
    if len(payloads) > _ALONE:
        records = _parse_lines(payloads, parse_lines, limit)
        if records is not None:
            return records
        half = len(payloads) // 2
        first = parse_all(payloads[:half], parse_lines, limit)
        return first + parse_all(payloads[half:], parse_lines, limit)
    return [None] * len(payloads)


def _parse_lines(
    payloads: Sequence[bytes], parse_lines: msgspec.json.Decoder[Any], limit: int
) -> Records | None:
    sizes = list(map(len, payloads))
    if max(sizes) > limit:
        return None
    between = b"" if payloads[0].endswith(b"\n") else b"\n"
    text = between.join(payloads) + between
    ends = np.cumsum(np.array(sizes) + len(between)) - 1
    data = np.frombuffer(text, np.uint8)
    if not np.array_equal(np.flatnonzero(data == ord("\n")), ends):
        return None
    # The parser sees values, not lines. But each text begins with a brace, and the one before it ends with
    # one: no value goes on from one to the other, as no grammar has these two next to each other within an
    # object. So in each text there is a value at least, and in all of them there are as many as texts.
    first, last = np.append(0, ends[:-1] + 1), data[ends - 1]
    last = np.where(last == ord("\r"), data[ends - 2], last)
    if (data[first] != ord("{")).any() or (last != ord("}")).any():
        return None
    try:
        if not text.isascii():
            text.decode()  # fields that are skipped must be text, too
        records = parse_lines.decode_lines(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None
    return records if len(records) == len(payloads) else None


def columns(
    lines: Lines, fitted: Sequence[Fitting], shape: Shape, paths: Iterable[str], rest: Int64, records: Records
) -> dict[str, RawColumn]:
    """Put together, by path, what templates have found and what ``records`` say of the rows ``rest``.

    ``value`` of the columns knows those rows only.
    """
    found = {}
    for path in paths:
        parsed = RawColumn.of(shape.read(path, records)) if len(rest) else None
        found[path] = _column(lines, fitted, path, rest, parsed)
    return found


def _column(
    lines: Lines, fitted: Sequence[Fitting], path: str, rest: Int64, parsed: RawColumn | None
) -> RawColumn:
    count = len(lines)
    tags, bits = np.zeros(count, np.uint8), np.zeros(count, np.int64)
    start, size = np.empty((2, count), np.int64)
    for one in fitted:
        if one.tags[path] is not UNKNOWN:
            tags[one.rows], bits[one.rows] = one.tags[path], one.bits[path]
        if path in one.strings:
            start[one.rows], size[one.rows] = one.strings[path]
    rows = np.flatnonzero(tags == STRING)
    start, size = start[rows], size[rows]
    heads, codes = distinct(lines, start, size)
    names = list(map(lines.string, start[heads].tolist(), size[heads].tolist()))
    first = rows[heads]
    if parsed is not None:
        tags[rest], bits[rest] = parsed.tags, parsed.bits
        if parsed.strings.names:
            later = parsed.tags == STRING
            met = np.empty(len(parsed.strings.names), np.int64)
            met[parsed.bits[later][::-1]] = rest[later][::-1]
            both = [*zip(first.tolist(), names, strict=True)]
            both += zip(met.tolist(), parsed.strings.names, strict=True)
            strings = StringTable()
            for _, name in sorted(both):
                strings.intern(name)
            bits[rest[later]] = strings.intern_all(parsed.strings.names)[parsed.bits[later]]
            bits[rows] = strings.intern_all(names)[codes]
            return RawColumn(tags, bits, strings, _unknown)
    bits[rows] = codes
    return RawColumn(
        tags, bits, StringTable(names, dict(zip(names, range(len(names)), strict=True))), _unknown
    )


def _unknown(row: int) -> Any:
    raise LookupError(f"the value of event {row} was not kept")
