"""Verdicts in the SQLite store: blocks of successive ones of a definition and partition. Calls block.

As of events, blocks do not overlap, and small ones are merged into what follows. ``verdict_spans`` says which
blocks have events in which span of event time; ``sqlite_key_runs`` which have those of a key.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np

from timeline_workers.columns.values import Int64

from .block_columns import VerdictColumns, by_partition, first_of_each
from .model import Outcome, Position
from .sqlite_key_runs import WHOLE, blocks_of
from .verdict_block import VerdictBlock, pack_block, unpack_block
from .verdicts import code_of

ROWS = 4_096
"""So many verdicts a block has at most."""
SPAN = 600_000_000
"""Of event time, in microseconds: what is found by time is found among the blocks of such a span."""
FEW = 64
"""So many blocks are read rather than asked for those of a key."""
MANY = 2_000
"""So many are not listed in a statement."""
_ACCEPTED = code_of(Outcome.ACCEPTED, False)

_BLOCK = "select id, partition, first_major, first_minor, many, body from verdict_blocks"
_FROM = f"""
{_BLOCK} where definition = ? and partition = ? and (last_major, last_minor) >= (?, ?)
order by last_major, last_minor
"""
_BEFORE = f"""
{_BLOCK} where definition = ? and partition = ? and (last_major, last_minor) < (?, ?)
order by last_major desc, last_minor desc limit 1
"""


def add_verdicts(
    connection: sqlite3.Connection, definition: int, verdicts: VerdictColumns, numbers: Int64, seen: int
) -> None:
    """Store those of ``verdicts`` that are not there, seen now. ``numbers``: of their keys, and -1."""
    rows = first_of_each(verdicts.position)
    position = verdicts.position if rows is None else verdicts.position.take(rows)
    rows = np.arange(len(verdicts)) if rows is None else rows
    for partition, part in by_partition(position):
        block = VerdictBlock.of(verdicts, numbers, rows[part], seen)
        _add(connection, definition, partition, block)


def _add(connection: sqlite3.Connection, definition: int, partition: int, block: VerdictBlock) -> None:
    low, high = _ends(block)
    held = _overlapping(connection, definition, partition, low, high)
    if held:
        known = [unpack_block(row[-1]) for row in held]
        block = VerdictBlock.merged([*known, block])
        if len(block) == sum(map(len, known)):
            return
    before = connection.execute(_BEFORE, (definition, partition, *low)).fetchone()
    if before is not None and before[4] < WHOLE:
        held.append(before)
        block = VerdictBlock.merged([unpack_block(before[-1]), block])
    for row in held:
        _delete_spans(connection, definition, row[0], unpack_block(row[-1]))
        connection.execute("delete from verdict_blocks where id = ?", row[:1])
    for first in range(0, len(block), ROWS):
        whole = len(block) <= ROWS
        insert_block(
            connection,
            definition,
            partition,
            block if whole else block.take(np.arange(first, min(first + ROWS, len(block)))),
        )


def insert_block(
    connection: sqlite3.Connection, definition: int, partition: int, block: VerdictBlock
) -> None:
    """Write ``block``, which overlaps with none."""
    number = connection.execute(
        f"insert into verdict_blocks (definition, partition, keyed, {', '.join(_DESCRIBED)}) "
        f"values (?, ?, 0, {', '.join('?' * len(_DESCRIBED))})",
        (definition, partition, *_described(block)),
    ).lastrowid
    assert number is not None
    _add_spans(connection, definition, number, block)


_DESCRIBED = (
    *("first_major", "first_minor", "last_major", "last_minor", "many"),
    *("accepted", "late", "duplicate", "refused", "first", "last", "first_accepted", "last_accepted"),
    *("first_seen", "last_seen", "untimed", "body"),
)


def _described(block: VerdictBlock) -> tuple[Any, ...]:
    return (
        *(*_ends(block)[0], *_ends(block)[1], len(block), *block.outcomes(), *block.times()),
        *(*block.times(block.code == _ACCEPTED), int(block.seen.min()), int(block.seen.max())),
        *(int((~block.timed).sum()), pack_block(block)),
    )


def _add_spans(connection: sqlite3.Connection, definition: int, number: int, block: VerdictBlock) -> None:
    rows = [(definition, span, number) for span in _spans(block)]
    connection.executemany("insert into verdict_spans values (?, ?, ?)", rows)


def _delete_spans(connection: sqlite3.Connection, definition: int, number: int, block: VerdictBlock) -> None:
    connection.executemany(
        "delete from verdict_spans where definition = ? and span = ? and block = ?",
        [(definition, span, number) for span in _spans(block)],
    )


def _spans(block: VerdictBlock) -> list[int]:
    return list(map(int, np.unique(block.time[block.timed] // SPAN)))


def _ends(block: VerdictBlock) -> tuple[tuple[int, int], tuple[int, int]]:
    return (int(block.major[0]), int(block.minor[0])), (int(block.major[-1]), int(block.minor[-1]))


def _overlapping(
    connection: sqlite3.Connection,
    definition: int,
    partition: int,
    low: tuple[int, int],
    high: tuple[int, int],
) -> list[Any]:
    found = []
    for row in connection.execute(_FROM, (definition, partition, *low)):
        if row[2:4] > high:
            break
        found.append(row)
    return found


def keep_verdicts(connection: sqlite3.Connection, number: int, keep: Any) -> None:
    """Leave only the verdicts ``keep``, bool[N], of a block."""
    run = connection.execute
    row = run("select definition, partition, body from verdict_blocks where id = ?", (number,)).fetchone()
    block = unpack_block(row[2])
    _delete_spans(connection, row[0], number, block)
    left = block.take(np.flatnonzero(keep))
    if not len(left):
        run("delete from verdict_blocks where id = ?", (number,))
        return
    # It keeps its number, by which runs of keys know it.
    run(
        f"update verdict_blocks set {', '.join(f'{column} = ?' for column in _DESCRIBED)} where id = ?",
        (*_described(left), number),
    )
    _add_spans(connection, row[0], number, left)


def judged(connection: sqlite3.Connection, definition: int, positions: Sequence[Position]) -> set[Position]:
    """Those of ``positions`` on which there is a verdict."""
    found: set[Position] = set()
    for partition in {position.partition for position in positions}:
        mine = [position[1:] for position in positions if position.partition == partition]
        for row in _overlapping(connection, definition, partition, min(mine), max(mine)):
            block = unpack_block(row[-1])
            places = zip(block.major.tolist(), block.minor.tolist(), strict=True)
            found.update(Position(partition, *at) for at in places)
    return found & set(positions)


class Found(NamedTuple):
    """A block, and the least and greatest time of its verdicts."""

    number: int
    partition: int
    first: int
    last: int


class Candidates(NamedTuple):
    """The blocks that may have verdicts with a time in ``[start, end)``, in no order."""

    start: int
    end: int
    blocks: list[Found]


_FOUND = "b.id, b.partition, b.first, b.last"


def candidates(
    connection: sqlite3.Connection,
    definition: int,
    start: int,
    end: int,
    *,
    keys: Sequence[int] | None,
    seen_after: int | None,
    backwards: bool = False,
) -> Iterator[Candidates]:
    """The blocks to look into for a window of event time, stretch by stretch in its order."""
    run = connection.execute
    if seen_after is not None:
        yield _at_once(connection, definition, start, end, "b.last_seen > ?", (seen_after,))
        return
    if start >= end:
        return
    spans = (definition, start // SPAN, (end - 1) // SPAN)
    among: frozenset[int] | None = None
    if keys is not None:
        few = run(
            "select count(*) from (select 1 from verdict_spans where definition = ? and span between ? and ? "
            f"limit {FEW + 1})",
            spans,
        ).fetchone()[0]
        if few > FEW:
            of_keys = blocks_of(connection, definition, keys)
            if len(of_keys) <= MANY:
                listed = ", ".join(map(str, of_keys))
                yield _at_once(connection, definition, start, end, f"b.id in ({listed})", ())
                return
            among = frozenset(of_keys)
    way = "desc" if backwards else "asc"
    rows = run(
        f"select s.span, {_FOUND} from verdict_spans s join verdict_blocks b on b.id = s.block "
        f"where s.definition = ? and s.span between ? and ? order by s.span {way}",
        spans,
    )
    for span, of_span in groupby(rows, key=lambda row: row[0]):
        low, high = max(start, span * SPAN), min(end, (span + 1) * SPAN)
        found = [Found(*row[1:]) for row in of_span if among is None or row[1] in among]
        yield Candidates(low, high, [one for one in found if one.last >= low and one.first < high])


def _at_once(
    connection: sqlite3.Connection, definition: int, start: int, end: int, where: str, given: tuple[int, ...]
) -> Candidates:
    rows = connection.execute(
        f"select {_FOUND} from verdict_blocks b where b.definition = ? and b.last >= ? "
        f"and b.first < ? and {where}",
        (definition, start, end, *given),
    )
    return Candidates(start, end, [Found(*row) for row in rows])


def blocks_before(connection: sqlite3.Connection, definition: int, before: int) -> list[int]:
    """The blocks that have verdicts before a time, or without one."""
    rows = connection.execute(
        "select s.block from verdict_spans s join verdict_blocks b on b.id = s.block "
        "where s.definition = ?1 and s.span <= ?2 and b.first < ?3 "
        "union select id from verdict_blocks where definition = ?1 and untimed > 0",
        (definition, before // SPAN, before),
    )
    return [row[0] for row in rows]


def block_at(connection: sqlite3.Connection, number: int) -> VerdictBlock:
    """The block of this number."""
    (body,) = connection.execute("select body from verdict_blocks where id = ?", (number,)).fetchone()
    return unpack_block(body)


def outcome_counts(connection: sqlite3.Connection, definition: int) -> Mapping[Outcome, int]:
    """How many verdicts have each outcome; those that none has are left out."""
    many = connection.execute(
        "select coalesce(sum(accepted), 0), coalesce(sum(late), 0), coalesce(sum(duplicate), 0), "
        "coalesce(sum(refused), 0) from verdict_blocks where definition = ?",
        (definition,),
    ).fetchone()
    return {outcome: count for outcome, count in zip(Outcome, many, strict=True) if count}
