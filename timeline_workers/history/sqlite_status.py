"""Status of the SQLite store. Calls block; see ``sqlite_read``."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from .model import Contents, DefinitionStatus, Gap, NodeStatus, Outcome, Reach, Status
from .sqlite_read import kept_of
from .verdicts import OUTCOMES, least_mark, node_mark


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
        run(
            "select time from verdicts where definition = ? and outcome = 0 and time is not null "
            f"order by time {way} limit 1",
            (number,),
        ).fetchone()
        for way in ("asc", "desc")
    )
    return Reach(
        topic,
        seen,
        None if first is None else first[0],
        None if last is None else last[0],
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
            name: run("select count(*) from events where topic = ?", (number,)).fetchone()[0]
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
    outcomes: dict[Outcome, int] = {}
    for code, many in run(
        "select outcome, count(*) from verdicts where definition = ? group by outcome", (number,)
    ):
        outcome = OUTCOMES[code // 2]
        outcomes[outcome] = outcomes.get(outcome, 0) + many
    first, last = (
        run(
            f"select {end}(time) from verdicts where definition = ? and time is not null", (number,)
        ).fetchone()[0]
        for end in ("min", "max")
    )
    mark, kept_from = _source_mark(connection, number), kept_of(connection, "definitions", [number])
    return DefinitionStatus(name, topic, outcomes, first, last, mark, kept_from)


def _node(connection: sqlite3.Connection, number: int, name: str) -> NodeStatus:
    run = connection.execute
    (keys,) = run("select count(*) from lanes where node = ?", (number,)).fetchone()
    writers = run("select watermark, partitions from writers where node = ?", (number,)).fetchall()
    return NodeStatus(name, keys, node_mark(writers), kept_of(connection, "nodes", [number]))
