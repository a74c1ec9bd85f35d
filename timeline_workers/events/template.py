"""Templates: JSON texts that are alike but for their strings and numbers, read all at once.

A template is made from one text, which the exact parser has accepted: its bytes in turn are constants
(punctuation, names of fields, ``true``, ``false``, ``null``, white space) and values (what is inside a
string, a number). A text *fits* when it is these same constants with other values between them, where a
string's value has no quote, no backslash and no control character, and a number's is a JSON number. Then it
is the same object with other values, so what an exact parser would read of it is known without parsing; which
value is at which path is what the exact parser says of the template with a marker in the place of each value.

To see that a text fits, no grammar is needed. The quotes and control characters of a text are as many as
those of the constants, each constant is where its first one of them says, and the constants with the values
between them cover the text: then none of them is inside a value.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any, Final

import numpy as np
from msgspec import UNSET

from timeline_workers.columns.values import BOOL, STRING, UNKNOWN, Bools, Int64, UInt8

from .lines import LINE_BYTES, STRING_BYTES, Lines, UInt64, numbers

# In a valid text without backslashes, from left to right: a name, a string, a number.
_TOKENS: Final = re.compile(rb'"[^"]*"(?=\s*:)|"([^"]*)"|(-?[0-9][-+.0-9eE]*)')
_SPECIAL: Final = re.compile(rb'["\x00-\x1f]')
_CONSTANTS: Final[dict[Any, tuple[int, int]]] = {False: (BOOL, 0), True: (BOOL, 1)}

# What stands for the values of a template while it is parsed is this and the number of the value.
_MARKER: Final = 10**12

ReadPaths = Callable[[bytes], Mapping[str, Any] | None]
"""The exact parser: a text's value at each path, None when it refuses the text."""


@dataclass(frozen=True, slots=True)
class _Constant:
    """``data``: its bytes; ``special``: the number, within the text, of its first special character, which is
    ``offset`` bytes into it; None: it has none, and ends the text.
    """

    data: bytes
    special: int | None
    offset: int

    def words(self) -> list[tuple[int, np.uint64, np.uint64 | None]]:
        """What to compare: (bytes into it, the eight bytes there, which of them count; None: all)."""
        size = len(self.data)
        if size < 8:
            return [(0, np.uint64(int.from_bytes(self.data, "little")), np.uint64((1 << 8 * size) - 1))]
        found: list[tuple[int, np.uint64, np.uint64 | None]] = []
        for at in sorted({*range(0, size - 7, 8), size - 8}):
            found.append((at, np.uint64(int.from_bytes(self.data[at : at + 8], "little")), None))
        return found


@dataclass(frozen=True, slots=True)
class _Place:
    """The value of that number in a text."""

    number: int


Places = Mapping[str, bool | _Place | None]
"""What a template has at each path: a value, true, false, or nothing."""


@dataclass(frozen=True, slots=True)
class Fitting:
    """Rows that fit a template, and by path what they have there: tags, and bits or, where these are strings,
    their bytes (see ``Lines.packed``). ``left``: those of the rows looked at that do not fit.
    """

    rows: Int64
    left: Int64
    tags: dict[str, UInt8 | int]
    bits: dict[str, Int64 | int]
    strings: dict[str, list[UInt64]]


class Template:
    """The template of one text. ``specials``: how many special characters a text has that fits."""

    def __init__(
        self,
        constants: list[_Constant],
        are_strings: list[bool],
        specials: int,
        found: Mapping[str, bool | _Place | None],
    ) -> None:
        self.specials = specials
        self._constants = constants
        self._are_strings = are_strings
        self._found = found
        # The longest first: it is likely to tell templates apart.
        order = sorted(range(len(constants)), key=lambda i: -len(constants[i].data))
        self._compared = [(i, constants[i].words()) for i in order]
        self._wanted = {value.number for value in found.values() if isinstance(value, _Place)}

    @staticmethod
    def of(text: bytes, read: ReadPaths) -> Template | None:
        """Make the template of ``text``; None where none can be made. ``read``: see ``ReadPaths``."""
        if len(text) > LINE_BYTES or b"\\" in text:
            return None
        if read(text) is None:
            return None
        parts, are_strings = _taken_apart(text)
        markers = (b"%d" % (_MARKER + number) for number in range(len(are_strings)))
        marked = read(parts[0] + b"".join(chain.from_iterable(zip(markers, parts[1:], strict=True))))
        if marked is None:
            return None
        found: dict[str, bool | _Place | None] = {}
        for path, value in marked.items():
            if type(value) is bool:
                found[path] = value
            elif isinstance(value, int | str):
                found[path] = _Place(int(value) - _MARKER)
            elif value is None or value is UNSET:
                found[path] = None
            else:  # an object: such texts are refused
                return None
        constants, before = [], 0
        for part in parts:
            first = _SPECIAL.search(part)
            if first is None and part is not parts[-1]:
                return None
            constants.append(
                _Constant(part, None, 0) if first is None else _Constant(part, before, first.start())
            )
            before += len(_SPECIAL.findall(part))
        if constants[0].special is None:
            return None
        return Template(constants, are_strings, before, found)

    def fit(self, lines: Lines, rows: Int64) -> Fitting:
        """Find those of ``rows`` that fit, and their values."""
        alike = lines.specials[rows] == self.specials
        left = [rows[~alike]]
        rows = rows[alike]
        begin = lines.begin[rows]
        places: dict[int, Int64] = {}
        for index, words in self._compared:
            at = places[index] = self._place(index, lines, rows, begin)
            wrong: UInt64 | None = None
            for offset, word, mask in words:
                differ = lines.words[at + offset] ^ word
                if mask is not None:
                    differ &= mask
                wrong = differ if wrong is None else wrong | differ
            assert wrong is not None
            if wrong.any():
                keep = np.flatnonzero(wrong == 0)
                left.append(rows[wrong != 0])
                rows, begin = rows[keep], begin[keep]
                places = {known: place[keep] for known, place in places.items()}
        ends = places[len(places) - 1] + len(self._constants[-1].data)
        good: Bools = (places[0] == lines.bounds[rows]) & (ends == lines.bounds[rows + 1])
        starts = [places[index] + len(constant.data) for index, constant in enumerate(self._constants)]
        read: dict[int, tuple[UInt8, Int64]] = {}
        for number, is_string in enumerate(self._are_strings):
            start, end = starts[number], places[number + 1]
            if is_string:
                if number in self._wanted:
                    good &= end - start <= STRING_BYTES
                continue
            fine, tags, bits = numbers(lines, start, np.maximum(end, start), number in self._wanted)
            good &= fine
            read[number] = tags, bits
        chosen: slice | Int64 = slice(None)
        if not good.all():
            chosen = np.flatnonzero(good)
            left.append(rows[~good])
        fitting = Fitting(rows[chosen], np.concatenate(left), {}, {}, {})
        for path, place in self._found.items():
            if not isinstance(place, _Place):
                fitting.tags[path], fitting.bits[path] = (UNKNOWN, 0) if place is None else _CONSTANTS[place]
            elif self._are_strings[place.number]:
                start, end = starts[place.number][chosen], places[place.number + 1][chosen]
                fitting.tags[path], fitting.bits[path] = STRING, 0
                fitting.strings[path] = lines.packed(start, end - start)
            else:
                tags, bits = read[place.number]
                fitting.tags[path], fitting.bits[path] = tags[chosen], bits[chosen]
        return fitting

    def _place(self, index: int, lines: Lines, rows: Int64, begin: Int64) -> Int64:
        """Where the constant ``index`` must be, if the rows fit; it may overlap with others if not."""
        constant = self._constants[index]
        if constant.special is None:
            return lines.bounds[rows + 1] - len(constant.data)
        return lines.special[begin + constant.special] - constant.offset


def _taken_apart(text: bytes) -> tuple[list[bytes], list[bool]]:
    """The constants of a text, and of the values between them which are strings."""
    parts, are_strings, done = [], [], 0
    for token in _TOKENS.finditer(text):
        group = token.lastindex
        if group is None:
            continue  # a name
        parts.append(text[done : token.start(group)])
        are_strings.append(group == 1)
        done = token.end(group)
    parts.append(text[done:])
    return parts, are_strings
