"""Questions about timelines to the SQLite store. Calls block, on a connection of the calling thread; each
reads one state.

Numbers of nodes and keys are written into the statements: a list of them makes SQLite look each one up in an
index, where a range would make it scan.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from .kept import not_kept
from .model import (
    Changes,
    Group,
    Piece,
    PieceCursor,
)
from .row_answers import changes_of, narrowed, piece_of, wants_carried, with_carried
from .text import key_text

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
    of_keys = None if keys is None else key_numbers(connection, keys)
    inside = _begun(connection, numbers, start, end, of_keys, as_of, backwards, after, limit)
    if not wants_carried(inside, start, carried=carried, backwards=backwards, after=after, limit=limit):
        return inside
    holding = _holding(connection, numbers, of_keys, start, as_of, limit=None)
    return with_carried(inside, holding, start, backwards=backwards, after=after, limit=limit)


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
    start, end = narrowed(start, end, after and after.start, backwards)
    given: dict[str, Any] = {"start": start, "end": end, "as_of": as_of, "limit": limit}
    if keys is not None:
        where.append(f"p.key in ({_listed(keys)})")
    if after is not None:
        beyond = "<" if backwards else ">"
        where.append(f"(p.began, n.name, k.name) {beyond} (:began, :node, :key)")
        given |= {"began": after.start, "node": after.node, "key": key_text(after.key)}
    way = "desc" if backwards else "asc"
    rows = connection.execute(
        f"{_PIECE.format(known_u=_known('u', as_of))} where {' and '.join(where)} "
        f"order by p.began {way}, n.name {way}, k.name {way} limit coalesce(:limit, -1)",
        given,
    )
    return [piece_of(row) for row in rows]


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
    of_keys = None if keys is None else key_numbers(connection, keys)
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
    return [piece_of(row) for row in rows]


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
        of_nodes += f" and key in ({_listed(key_numbers(connection, keys))})"
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
    return changes_of(found, upto, seen, last)


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


def _listed(numbers: Iterable[int]) -> str:
    return ", ".join(map(str, numbers))


def definition_number(connection: sqlite3.Connection, name: str) -> int:
    """The number of a definition; that of none for one of which nothing is stored."""
    found = connection.execute("select id from definitions where name = ?", (name,)).fetchone()
    return 0 if found is None else int(found[0])


def _nodes(connection: sqlite3.Connection, names: Iterable[str]) -> list[int]:
    return _numbers(connection, "nodes", set(names))


def key_numbers(connection: sqlite3.Connection, keys: Iterable[Group]) -> list[int]:
    """The numbers of those of ``keys`` that are known."""
    return _numbers(connection, "keys", {key_text(key) for key in keys})


def _numbers(connection: sqlite3.Connection, table: str, names: Iterable[str]) -> list[int]:
    find = f"select id from {table} where name = ?"
    found = (connection.execute(find, (name,)).fetchone() for name in names)
    return sorted(row[0] for row in found if row is not None)
