"""``VerdictBlock``: verdicts of one definition on successive events of one partition, as columns. No I/O.

A store that keeps verdicts in blocks writes one row for some thousand of them, and reads a window of them by
filtering columns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from timeline_workers.columns.event_batch import Positions
from timeline_workers.columns.values import Bools, Int64
from timeline_workers.wire.encoding import (
    decoding,
    pack,
    pack_bools,
    pack_ints,
    unpack,
    unpack_bools,
    unpack_ints,
)

from .block_columns import Rows, VerdictColumns, first_of_each
from .text import words as as_words
from .verdicts import OUTCOMES

_KEPT = 128  # blocks, some 200 KiB each


@dataclass(frozen=True, eq=False, slots=True)
class VerdictBlock:
    """N verdicts, ascending by (``major``, ``minor``). ``code``: as ``verdicts.code_of``; ``key``: the number
    of a key, -1 for none; ``time``: where ``timed``; ``seen``: system time; ``words``: of some rows.
    """

    major: Int64
    minor: Int64
    code: Int64
    key: Int64
    time: Int64
    timed: Bools
    seen: Int64
    words: Mapping[int, tuple[str | None, str | None]]

    def __len__(self) -> int:
        return len(self.major)

    @staticmethod
    def of(verdicts: VerdictColumns, numbers: Int64, rows: Rows, seen: int) -> VerdictBlock:
        """Those of ``rows``, ascending, seen now; ``numbers``: of the keys, and -1."""
        words = {}
        if verdicts.words:
            for row, at in enumerate(rows.tolist()):
                if (said := verdicts.words.get(at)) is not None:
                    words[row] = (as_words(said[0]), as_words(said[1]))
        return VerdictBlock(
            verdicts.position.major[rows],
            verdicts.position.minor[rows],
            verdicts.code[rows].astype(np.int64),
            numbers[verdicts.key[rows]],
            verdicts.time[rows],
            verdicts.timed[rows],
            np.full(len(rows), seen, np.int64),
            words,
        )

    def take(self, rows: Rows) -> VerdictBlock:
        """The verdicts of ``rows``."""
        said = self.words
        words = {to: said[at] for to, at in enumerate(rows.tolist()) if at in said} if said else {}
        return VerdictBlock(
            self.major[rows],
            self.minor[rows],
            self.code[rows],
            self.key[rows],
            self.time[rows],
            self.timed[rows],
            self.seen[rows],
            words,
        )

    @staticmethod
    def merged(blocks: Sequence[VerdictBlock]) -> VerdictBlock:
        """All verdicts of ``blocks``; of those on one position that of the first block."""
        if len(blocks) == 1:
            return blocks[0]
        words: dict[int, tuple[str | None, str | None]] = {}
        first = 0
        for block in blocks:
            words |= {first + row: said for row, said in block.words.items()}
            first += len(block)
        joined = VerdictBlock(
            np.concatenate([block.major for block in blocks]),
            np.concatenate([block.minor for block in blocks]),
            np.concatenate([block.code for block in blocks]),
            np.concatenate([block.key for block in blocks]),
            np.concatenate([block.time for block in blocks]),
            np.concatenate([block.timed for block in blocks]),
            np.concatenate([block.seen for block in blocks]),
            words,
        )
        rows = first_of_each(Positions(np.zeros(first, np.int32), joined.major, joined.minor))
        return joined if rows is None else joined.take(rows)

    def outcomes(self) -> list[int]:
        """How many have each outcome, in the order of ``OUTCOMES``."""
        return list(map(int, np.bincount(self.code // 2, minlength=len(OUTCOMES))))

    def times(self, which: Bools | None = None) -> tuple[int, int] | tuple[None, None]:
        """The least and greatest time (of those of ``which``)."""
        wanted = self.time[self.timed if which is None else self.timed & which]
        return (int(wanted.min()), int(wanted.max())) if len(wanted) else (None, None)


def pack_block(block: VerdictBlock) -> bytes:
    """``block`` as bytes."""
    columns = (block.major, block.minor, block.code, block.key, block.time, block.seen)
    return pack(
        {
            "columns": [pack_ints(column) for column in columns],
            "timed": None if block.timed.all() else pack_bools(block.timed),
            "words": [[row, *said] for row, said in block.words.items()],
        }
    )


@lru_cache(_KEPT)
def unpack_block(body: bytes) -> VerdictBlock:
    """Reverse ``pack_block``; whoever is given it leaves it as it is. Raises StateError for other bytes."""
    said = unpack(body)
    with decoding("a block of verdicts"):
        major, minor, code, key, time, seen = map(unpack_ints, said["columns"])
        timed = np.ones(len(major), np.bool_) if said["timed"] is None else unpack_bools(said["timed"])
        words = {row: (reason, message) for row, reason, message in said["words"]}
        return VerdictBlock(major, minor, code, key, time, timed, seen, words)
