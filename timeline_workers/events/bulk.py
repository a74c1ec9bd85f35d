"""Many JSON texts to columns: those that are alike by templates, the others as the exact parser reads them.

Speed only. What comes out is what parsing every text by itself would give, bit for bit, the order of string
tables included; what was seen before changes nothing but the time it takes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec
import numpy as np

from timeline_workers.columns.values import STRING, UNKNOWN, Int64, StringTable

from .lines import Lines, UInt64, distinct, strings
from .paths import Shape
from .raw import RawColumn
from .template import Fitting, Template

MANY: Final = 2_000  # fewer texts are parsed sooner than compared
PIECE: Final = 16_384  # texts looked at together: their bytes are to stay in a processor's cache
_MOST_TEMPLATES: Final = 24
_UNUSED: Final = 16  # pieces after which a template that nothing fits is forgotten
_FEW: Final = 64  # texts that are not worth a template
_RARE: Final = 64  # a template is worth keeping that fits one in so many texts
_TRIES: Final = 3  # how many texts in a row may turn out to be rare
_PAUSE: Final = 32  # at most so many pieces are not looked at after one in which little fitted

Records = list[Any]


class Templates:
    """The templates of the texts that one decoder has met. ``fitted``: how many texts have fitted one."""

    def __init__(self, shape: Shape, paths: Iterable[str]) -> None:
        self._shape = shape
        self._paths = list(paths)
        self._parse = msgspec.json.Decoder(shape.struct).decode
        self._known: dict[Template, int] = {}  # with the pieces since one was last of use, best first
        self._pause = self._paused = 0
        self.fitted = 0

    def promise(self) -> bool:
        """Whether it is worth looking at the next piece, going by those before it. Ask once for each."""
        if self._paused:
            self._paused -= 1
            return False
        return True

    def fit(self, lines: Lines, rows: Int64) -> tuple[list[Fitting], Int64]:
        """Find templates that ``rows`` fit; return what they have, and the rows, ascending, that fit none."""
        fitted: list[Fitting] = []
        hits: dict[Template, int] = {}
        rest = rows
        for template in self._known:
            found = template.fit(lines, rest)
            hits[template] = len(found.rows)
            fitted.append(found)
            rest = found.left
        rest = np.sort(self._learn(lines, rest, fitted, hits))
        unused = {t: 0 if n else self._known.get(t, 0) + 1 for t, n in hits.items()}
        best = sorted(hits, key=lambda t: -hits[t])[:_MOST_TEMPLATES]
        self._known = {t: unused[t] for t in best if unused[t] < _UNUSED}
        self.fitted += len(rows) - len(rest)
        little = len(rest) * 2 > len(rows)
        self._pause = min(2 * self._pause + 1, _PAUSE) if little else 0
        self._paused = self._pause
        return fitted, rest

    def _learn(self, lines: Lines, rest: Int64, fitted: list[Fitting], hits: dict[Template, int]) -> Int64:
        tried = 0
        enough = max(_FEW, len(lines) // _RARE)
        while len(rest) >= enough and tried < _TRIES:
            # Not the first: it may be the odd one again and again.
            row = int(rest[(tried + 1) * len(rest) // (_TRIES + 1)])
            template = Template.of(lines.raw[lines.bounds[row] : lines.bounds[row + 1]], self._read)
            tried += 1
            if template is None:
                continue
            found = template.fit(lines, rest)
            fitted.append(found)
            rest = found.left
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


class Gathered:
    """Columns of ``count`` events by path, as they are put together."""

    def __init__(self, count: int, paths: Iterable[str]) -> None:
        self._count = count
        self._tags = {path: np.zeros(count, np.uint8) for path in paths}
        self._bits = {path: np.zeros(count, np.int64) for path in paths}
        self._packed: dict[str, list[UInt64]] = {path: [] for path in paths}

    def take(self, fitting: Fitting, first: int) -> None:
        """Add what fits a template; its rows count from ``first``."""
        rows = fitting.rows + first
        for path, tags in fitting.tags.items():
            if tags is UNKNOWN:
                continue
            self._tags[path][rows] = tags
            packed = fitting.strings.get(path)
            if packed is None:
                self._bits[path][rows] = fitting.bits[path]
                continue
            while len(self._packed[path]) < len(packed):
                self._packed[path].append(np.zeros(self._count, np.uint64))
            for into, word in zip(self._packed[path], packed, strict=False):
                into[rows] = word

    def columns(self, shape: Shape, rest: Int64, records: Records) -> dict[str, RawColumn]:
        """The columns, with what ``records`` say of the rows ``rest``. ``value`` of them knows no row."""
        found = {}
        for path in self._tags:
            parsed = RawColumn.of(shape.read(path, records)) if len(rest) else None
            found[path] = self._column(path, rest, parsed)
        return found

    def _column(self, path: str, rest: Int64, parsed: RawColumn | None) -> RawColumn:
        tags, bits, packed = self._tags[path], self._bits[path], self._packed[path]
        names: list[str] = []
        rows = first = codes = np.zeros(0, np.int64)
        if packed:
            rows = np.flatnonzero(tags == STRING)
            if len(rows) < self._count:
                packed = [word[rows] for word in packed]
            heads, codes = distinct(packed)
            names = strings([word[heads] for word in packed])
            first = rows[heads]
            bits[rows] = codes
        if parsed is None:
            return RawColumn(tags, bits, StringTable(names), _unknown)
        tags[rest], bits[rest] = parsed.tags, parsed.bits
        if not parsed.strings.names:
            return RawColumn(tags, bits, StringTable(names), _unknown)
        # In the order in which the strings are met first.
        later = parsed.tags == STRING
        met = np.empty(len(parsed.strings.names), np.int64)
        met[parsed.bits[later][::-1]] = rest[later][::-1]
        both = [*zip(first.tolist(), names, strict=True)]
        both += zip(met.tolist(), parsed.strings.names, strict=True)
        table = StringTable(list(dict.fromkeys(name for _, name in sorted(both))))
        bits[rest[later]] = table.intern_all(parsed.strings.names)[parsed.bits[later]]
        bits[rows] = table.intern_all(names)[codes]
        return RawColumn(tags, bits, table, _unknown)


def _unknown(row: int) -> Any:
    raise LookupError(f"the value of event {row} was not kept")
