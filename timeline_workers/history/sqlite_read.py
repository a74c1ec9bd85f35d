"""Questions to the SQLite store. Calls block, on a connection of the calling thread; each reads one state.

Numbers of nodes and keys are written into the statements: a list of them makes SQLite look each one up in an
index, where a range would make it scan.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, cast

from timeline_workers.columns.key_table import Key
from timeline_workers.errors import QuestionError

from .blocks import unpack
from .kept import not_kept
from .model import (
    Changed,
    Changes,
    EventCursor,
    Group,
    KeysActive,
    Outcome,
    Piece,
    PieceCursor,
    Position,
    StoredEvent,
)
from .text import key_of, key_text, slope_of, value_of
from .verdicts import OUTCOMES

_EVENT = """
select v.partition, v.major, v.minor, e.published, k.name, v.time, v.outcome, v.reason, v.message, v.seen,
    e.block, e.place
from verdicts v
join definitions d on d.id = v.definition
join events e on e.topic = d.topic
    and e.partition = v.partition and e.major = v.major and e.minor = v.minor
left join keys k on k.id = v.key
"""

_PIECE = """
select n.name, k.name, p.began,
    (select u.began from pieces u where u.key = p.key and u.node = p.node and u.began > p.began
     and {known_u} order by u.began limit 1),
    p.value, p.slope, p.seen_from, p.seen_until
from pieces p join nodes n on n.id = p.node join keys k on k.id = p.key
"""

_LANES = """
select l.node, l.key from lanes l join nodes n on n.id = l.node join keys k on k.id = l.key
where l.node in ({nodes}) {of_keys}
"""


@contextmanager
def reading(connection: sqlite3.Connection) -> Iterator[None]:
    """One state of the store for all statements inside."""
    connection.execute("begin")
    try:
        yield
    finally:
        connection.execute("rollback")


def events(
    connection: sqlite3.Connection,
    definition: str,
    start: int,
    end: int,
    *,
    keys: Sequence[Key] | None,
    outcomes: Iterable[Outcome],
    as_of: int | None,
    seen_after: int | None,
    backwards: bool,
    after: EventCursor | None,
    limit: int | None,
) -> list[StoredEvent]:
    """See ``HistoryStore``."""
    number = _definition(connection, definition)
    check_kept(connection, start, "definitions", [number])
    where = ["v.definition = :definition", "v.time >= :start", "v.time < :end"]
    given: dict[str, Any] = {"definition": number, "start": start, "end": end, "limit": limit}
    codes = [2 * OUTCOMES.index(outcome) + below for outcome in outcomes for below in (0, 1)]
    where.append(f"v.outcome in ({_listed(codes)})")
    if keys is not None:
        where.append(f"v.key in ({_listed(_keys(connection, keys))})")
    if as_of is not None:
        where.append("v.seen <= :as_of")
        given["as_of"] = as_of
    if seen_after is not None:
        where[1:3] = ["+v.time >= :start", "+v.time < :end"]  # so that it looks at what is new only
        where.append("v.seen > :seen_after")
        given["seen_after"] = seen_after
    if after is not None:
        beyond = "<" if backwards else ">"
        where.append(f"(v.time, v.partition, v.major, v.minor) {beyond} (:t, :p, :major, :minor)")
        given |= {"t": after.time, "p": after.position[0], "major": after.position[1]}
        given["minor"] = after.position[2]
        if backwards:
            given["end"] = min(end, after.time + 1)
        else:
            given["start"] = max(start, after.time)
    way = "desc" if backwards else "asc"
    found = connection.execute(
        f"{_EVENT} where {' and '.join(where)} "
        f"order by v.time {way}, v.partition {way}, v.major {way}, v.minor {way} limit coalesce(:limit, -1)",
        given,
    ).fetchall()
    blocks = unpacked(connection, {row[10] for row in found})
    return [
        StoredEvent(
            Position(*row[:3]),
            blocks[row[10]][row[11]],
            row[3],
            cast("Key | None", None if row[4] is None else key_of(row[4])),
            row[5],
            OUTCOMES[row[6] // 2],
            row[7] or "",
            row[8] or "",
            bool(row[6] % 2),
            row[9],
        )
        for row in found
    ]


def unpacked(connection: sqlite3.Connection, numbers: Iterable[int]) -> dict[int, list[bytes]]:
    """The payloads in these blocks."""
    query = f"select id, body from blocks where id in ({_listed(numbers)})"
    return {number: unpack(body) for number, body in connection.execute(query)}


def keys_active(
    connection: sqlite3.Connection, definition: str, start: int, end: int, *, as_of: int | None, limit: int
) -> KeysActive:
    """See ``HistoryStore``."""
    number = _definition(connection, definition)
    check_kept(connection, start, "definitions", [number])
    # The index of times has all that is counted; when it was seen is read from the table where that is asked.
    of_seen = "" if as_of is None else "and seen <= :as_of"
    window = f"definition = :definition and time >= :start and time < :end and outcome = 0 {of_seen}"
    given = {"definition": number, "start": start, "end": end, "as_of": as_of}
    (count,) = connection.execute(
        f"select count(distinct key) from verdicts where {window}", given
    ).fetchone()
    busiest = connection.execute(
        f"with active as (select key, count(*) as many from verdicts where {window} group by key) "
        "select k.name, v.many from active v join keys k on k.id = v.key "
        "order by v.many desc, k.name limit :limit",
        given | {"limit": limit},
    )
    return KeysActive(count, [(cast(Key, key_of(name)), many) for name, many in busiest])


def density(
    connection: sqlite3.Connection,
    definition: str,
    start: int,
    end: int,
    buckets: int,
    *,
    keys: Sequence[Key] | None,
    as_of: int | None,
) -> Mapping[Outcome, list[int]]:
    """See ``HistoryStore``."""
    if buckets < 1 or end <= start:
        raise QuestionError(
            f"{buckets} parts of [{start}, {end}): a window that ends after it starts has at least 1"
        )
    number = _definition(connection, definition)
    check_kept(connection, start, "definitions", [number])
    width = -((start - end) // buckets)
    of_keys = "" if keys is None else f"and key in ({_listed(_keys(connection, keys))})"
    of_seen = "" if as_of is None else "and seen <= :as_of"
    found: dict[Outcome, list[int]] = {}
    for code, bucket, many in connection.execute(
        "select outcome, (time - :start) / :width, count(*) from verdicts where definition = :definition "
        f"and time >= :start and time < :end {of_seen} {of_keys} group by 1, 2",
        {
            "definition": number,
            "start": start,
            "end": end,
            "as_of": as_of,
            "width": width,
        },
    ):
        found.setdefault(OUTCOMES[code // 2], [0] * buckets)[bucket] += many
    return found


def origins(connection: sqlite3.Connection, definition: str, keys: Sequence[Key] | None) -> Mapping[Key, int]:
    """See ``HistoryStore``."""
    of_keys = "" if keys is None else f"and o.key in ({_listed(_keys(connection, keys))})"
    found = connection.execute(
        f"select k.name, o.first from origins o join keys k on k.id = o.key where o.definition = ? {of_keys}",
        (_definition(connection, definition),),
    )
    return {cast(Key, key_of(name)): first for name, first in found}


def pieces(
    connection: sqlite3.Connection,
    nodes: Sequence[str],
    start: int,
    end: int,
    *,
    keys: Sequence[Group] | None,
    as_of: int | None,
    carried: bool,
    backwards: bool,
    after: PieceCursor | None,
    limit: int | None,
) -> list[Piece]:
    """See ``HistoryStore``."""
    numbers = _nodes(connection, nodes)
    check_kept(connection, start, "nodes", numbers)
    if start >= end:
        return []
    of_keys = None if keys is None else _keys(connection, keys)
    inside = _begun(connection, numbers, start, end, of_keys, as_of, backwards, after, limit)
    if not carried or (after is not None and not backwards and after.start >= start):
        return inside
    if backwards and limit is not None and len(inside) >= limit:
        return inside
    holding = _holding(connection, numbers, of_keys, start, as_of, limit=None)
    before = sorted((piece for piece in holding if piece.start < start), key=_order, reverse=backwards)
    if after is not None:
        last = (after.start, after.node, key_text(after.key))
        before = [piece for piece in before if (_order(piece) < last if backwards else _order(piece) > last)]
    return (inside + before if backwards else before + inside)[:limit]


def _begun(
    connection: sqlite3.Connection,
    nodes: Sequence[int],
    start: int,
    end: int,
    keys: Sequence[int] | None,
    as_of: int | None,
    backwards: bool,
    after: PieceCursor | None,
    limit: int | None,
) -> list[Piece]:
    where = [f"p.node in ({_listed(nodes)})", "p.began >= :start", "p.began < :end", _known("p", as_of)]
    given: dict[str, Any] = {"start": start, "end": end, "as_of": as_of, "limit": limit}
    if keys is not None:
        where.append(f"p.key in ({_listed(keys)})")
    if after is not None:
        beyond = "<" if backwards else ">"
        where.append(f"(p.began, n.name, k.name) {beyond} (:began, :node, :key)")
        given |= {"began": after.start, "node": after.node, "key": key_text(after.key)}
        given |= {"end": min(end, after.start + 1)} if backwards else {"start": max(start, after.start)}
    way = "desc" if backwards else "asc"
    rows = connection.execute(
        f"{_PIECE.format(known_u=_known('u', as_of))} where {' and '.join(where)} "
        f"order by p.began {way}, n.name {way}, k.name {way} limit coalesce(:limit, -1)",
        given,
    )
    return [_piece(row) for row in rows]


def snapshot(
    connection: sqlite3.Connection,
    nodes: Sequence[str],
    at: int,
    *,
    keys: Sequence[Group] | None,
    as_of: int | None,
    limit: int | None,
) -> list[Piece]:
    """See ``HistoryStore``."""
    numbers = _nodes(connection, nodes)
    check_kept(connection, at, "nodes", numbers)
    of_keys = None if keys is None else _keys(connection, keys)
    return _holding(connection, numbers, of_keys, at, as_of, limit=limit)


def _holding(
    connection: sqlite3.Connection,
    nodes: Sequence[int],
    keys: Sequence[int] | None,
    at: int,
    as_of: int | None,
    *,
    limit: int | None,
) -> list[Piece]:
    of_keys = "" if keys is None else f"and l.key in ({_listed(keys)})"
    lanes = _LANES.format(nodes=_listed(nodes), of_keys=of_keys)
    holding = (
        "p.id = (select h.id from pieces h where h.key = l.key and h.node = l.node and h.began <= :at and "
        f"{_known('h', as_of)} order by h.began desc limit 1)"
    )
    query = _PIECE.format(known_u=_known("u", as_of)).replace(
        "from pieces p join", f"from ({lanes}) l join pieces p on {holding} join"
    )
    rows = connection.execute(
        f"{query} order by n.name, k.name limit coalesce(:limit, -1)",
        {"at": at, "as_of": as_of, "limit": limit},
    )
    return [_piece(row) for row in rows]


def changed_since(
    connection: sqlite3.Connection,
    nodes: Sequence[str],
    seen: int,
    *,
    keys: Sequence[Group] | None,
    until: int | None,
    limit: int | None,
) -> Changes:
    """See ``HistoryStore``."""
    run = connection.execute
    (last,) = run("select seen from store").fetchone()
    upto = last if until is None else min(until, last)
    of_nodes = f"node in ({_listed(_nodes(connection, nodes))})"
    if keys is not None:
        of_nodes += f" and key in ({_listed(_keys(connection, keys))})"
    if limit is not None:
        cut = run(
            f"select seen_from from pieces where {of_nodes} and seen_from > :seen and seen_from <= :upto "
            f"union all select seen_until from pieces where {of_nodes} and seen_until > :seen "
            "and seen_until <= :upto order by 1 limit 1 offset :many",
            {"seen": seen, "upto": upto, "many": max(limit, 1) - 1},
        ).fetchone()
        upto = upto if cut is None else cut[0]
    found = run(
        f"""
        with touched as (
            select node, key, began, seen_from as seen from pieces
            where {of_nodes} and seen_from > :seen and seen_from <= :upto
                and (seen_until is null or seen_until > :upto)
            union all
            select node, key, began, seen_until from pieces
            where {of_nodes} and seen_until > :seen and seen_until <= :upto and seen_from <= :seen
        ), lanes_touched as (
            select node, key, min(began) as since, max(began) as last, max(seen) as seen
            from touched group by node, key
        )
        select n.name, k.name, t.since,
            (select u.began from pieces u where u.key = t.key and u.node = t.node and u.began > t.last
             and u.seen_from <= :upto and (u.seen_until is null or u.seen_until > :upto)
             order by u.began limit 1),
            t.seen
        from lanes_touched t join nodes n on n.id = t.node join keys k on k.id = t.key
        order by t.seen, n.name, k.name
        """,
        {"seen": seen, "upto": upto},
    )
    changed = [Changed(node, key_of(key), since, end, when) for node, key, since, end, when in found]
    return Changes(max(upto, min(seen, last)), changed)


def kept_of(connection: sqlite3.Connection, table: str, numbers: Iterable[int]) -> int | None:
    """From where on all of these rows of ``table``, definitions or nodes, are kept."""
    (kept_from,) = connection.execute(
        "select max(kept) from (select kept_from as kept from store union all "
        f"select kept_from from {table} where id in ({_listed(numbers)}))"
    ).fetchone()
    return None if kept_from is None else int(kept_from)


def check_kept(connection: sqlite3.Connection, start: int, table: str, numbers: Iterable[int]) -> None:
    """Raise QuestionError for an instant below what is kept of these rows of ``table``."""
    kept_from = kept_of(connection, table, numbers)
    if kept_from is not None and start < kept_from:
        raise not_kept(start, kept_from)


def _known(row: str, as_of: int | None) -> str:
    if as_of is None:
        return f"{row}.seen_until is null"
    return f"{row}.seen_from <= :as_of and ({row}.seen_until is null or {row}.seen_until > :as_of)"


def _piece(row: Sequence[Any]) -> Piece:
    node, key, start, until, value, slope, seen_from, seen_until = row
    return Piece(node, key_of(key), start, until, value_of(value), slope_of(slope), seen_from, seen_until)


def _order(piece: Piece) -> tuple[int, str, str]:
    return piece.start, piece.node, key_text(piece.key)


def _listed(numbers: Iterable[int]) -> str:
    return ", ".join(map(str, numbers))


def _definition(connection: sqlite3.Connection, name: str) -> int:
    """The number of a definition; that of none for one of which nothing is stored."""
    found = connection.execute("select id from definitions where name = ?", (name,)).fetchone()
    return 0 if found is None else int(found[0])


def _nodes(connection: sqlite3.Connection, names: Iterable[str]) -> list[int]:
    return _numbers(connection, "nodes", set(names))


def _keys(connection: sqlite3.Connection, keys: Iterable[Group]) -> list[int]:
    return _numbers(connection, "keys", {key_text(key) for key in keys})


def _numbers(connection: sqlite3.Connection, table: str, names: Iterable[str]) -> list[int]:
    find = f"select id from {table} where name = ?"
    found = (connection.execute(find, (name,)).fetchone() for name in names)
    return sorted(row[0] for row in found if row is not None)
