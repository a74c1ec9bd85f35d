"""Status of the SQLite store. Calls block; see ``sqlite_read``."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from .model import Contents, DefinitionStatus, Gap, NodeStatus, Reach, Status
from .sqlite_read import kept_of
from .sqlite_verdicts import outcome_counts
from .verdicts import least_mark, node_mark

_EVENTS = "select coalesce(sum(many), 0) from event_blocks where topic = ?"


def reach(connection: sqlite3.Connection, definition: str) -> Reach | None:
    """See ``HistoryStore``."""
    run = connection.execute
    (seen,) = run("select seen from store").fetchone()
    found = run(
        "select d.id, t.name from definitions d join topics t on t.id = d.topic where d.name = ?",
        (definition,),
    ).fetchone()
    if found is None:
        return None
    number, topic = found
    first, last = (
        run(f"select {end} from verdict_blocks where definition = ?", (number,)).fetchone()[0]
        for end in ("min(first_accepted)", "max(last_accepted)")
    )
    return Reach(
        topic,
        seen,
        first,
        last,
        _source_mark(connection, number),
        kept_of(connection, "definitions", [number]),
    )


def _source_mark(connection: sqlite3.Connection, definition: int) -> int | None:
    marks = connection.execute("select watermark from source_marks where definition = ?", (definition,))
    told = [row[0] for row in marks]
    return least_mark(told, len(told))


def contents(connection: sqlite3.Connection) -> Contents:
    """See ``HistoryStore``."""
    run = connection.execute
    seen, kept_from = run("select seen, kept_from from store").fetchone()
    topics = "select d.name, t.name from definitions d join topics t on t.id = d.topic order by d.name"
    return Contents(
        seen,
        dict(run(topics).fetchall()),
        frozenset(name for (name,) in run("select name from nodes")),
        kept_from,
        _gaps(connection),
    )


def status(connection: sqlite3.Connection, path: Path) -> Status:
    """See ``HistoryStore``."""
    run = connection.execute
    seen, kept_from = run("select seen, kept_from from store").fetchone()
    topics = dict(run("select id, name from topics").fetchall())
    (rows,) = run("select count(*) from pieces").fetchone()
    (pages,) = run("pragma page_count").fetchone()
    (page,) = run("pragma page_size").fetchone()
    return Status(
        f"SQLite, {path}",
        seen,
        {
            name: run(_EVENTS, (number,)).fetchone()[0]
            for number, name in sorted(topics.items(), key=lambda topic: str(topic[1]))
        },
        [
            _definition(connection, number, name, topics[topic])
            for number, name, topic in run("select id, name, topic from definitions order by name").fetchall()
        ],
        [
            _node(connection, number, name)
            for number, name in run("select id, name from nodes order by name").fetchall()
        ],
        rows,
        pages * page,
        kept_from,
        _gaps(connection),
    )


def _gaps(connection: sqlite3.Connection) -> list[Gap]:
    return [
        Gap(*row) for row in connection.execute("select of, since, until, why, seen from gaps order by id")
    ]


def _definition(connection: sqlite3.Connection, number: int, name: str, topic: str) -> DefinitionStatus:
    run = connection.execute
    first, last = run(
        "select min(first), max(last) from verdict_blocks where definition = ?", (number,)
    ).fetchone()
    outcomes = outcome_counts(connection, number)
    mark, kept_from = _source_mark(connection, number), kept_of(connection, "definitions", [number])
    return DefinitionStatus(name, topic, outcomes, first, last, mark, kept_from)


def _node(connection: sqlite3.Connection, number: int, name: str) -> NodeStatus:
    run = connection.execute
    (keys,) = run("select count(*) from lanes where node = ?", (number,)).fetchone()
    writers = run("select watermark, partitions from writers where node = ?", (number,)).fetchall()
    return NodeStatus(name, keys, node_mark(writers), kept_of(connection, "nodes", [number]))
