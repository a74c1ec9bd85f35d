"""Exporting a history to files, and importing it into another store.

What is exported is what is known now, or was at a system time: events with the verdicts of each definition,
and the pieces of each node, by day. Events whose time cannot be read, and pieces that were superseded, are
not. An import stores events once, however often it is done, and gaps; pieces only of nodes of which the store
has none. It has system times of its own: *as known then* is of when it was imported.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from timeline_workers.errors import HistoryError, QuestionError
from timeline_workers.events.times import EARLIEST, LATEST

from .day_files import DayFiles, Format, check_format, files_of, read_rows
from .model import (
    EventCursor,
    Gap,
    Judged,
    Outcome,
    PieceCursor,
    Revision,
    Status,
    Writer,
)
from .row_files import JudgedEvent, Row, event_of, event_row, piece_of, piece_row
from .store import HistoryStore

PAGE = 5_000
MANIFEST = "history.json"
_VERSION = 1
_FIX = "name a folder that `timeline history export` wrote"


@dataclass(frozen=True, slots=True)
class Moved:
    """How many rows have been written so far, of what: ``events`` or ``pieces``, and of which definition or
    node.
    """

    kind: str
    name: str
    rows: int


async def export_history(
    store: HistoryStore,
    folder: Path,
    *,
    format: Format = "parquet",
    start: int = EARLIEST,
    end: int = LATEST + 1,
    as_of: int | None = None,
    complete: Callable[[Path], object] = lambda _: None,
) -> AsyncIterator[Moved]:
    """Write what ``store`` has in ``[start, end)`` to ``folder``, which must be empty; tells how far it is.
    ``complete`` is told of each file that nothing more is written to.

    Pieces that began before ``start`` and hold there are written, too. Raises QuestionError for a folder that
    is not empty, HistoryError; what ``format`` needs is looked for before anything is written.
    """
    check_format(format)
    _check_empty(folder)
    status = await store.status()
    _write_manifest(folder, status, as_of)
    complete(folder / MANIFEST)
    for one in status.definitions:
        low, moved = max(start, one.kept_from or start), 0
        with DayFiles(folder / "events", one.definition, format, complete) as files:
            after: EventCursor | None = None
            while page := await store.events(
                one.definition,
                low,
                end,
                outcomes=frozenset(Outcome),
                as_of=as_of,
                after=after,
                limit=PAGE,
            ):
                rows = [(e.time or 0, event_row(one.topic, one.definition, e)) for e in page]
                files.write(rows)
                after, moved = EventCursor(page[-1].time or 0, page[-1].position), moved + len(page)
                yield Moved("events", one.definition, moved)
    for node in status.nodes:
        low, moved = max(start, node.kept_from or start), 0
        with DayFiles(folder / "pieces", node.node, format, complete) as files:
            last: PieceCursor | None = None
            while pieces := await store.pieces([node.node], low, end, as_of=as_of, after=last, limit=PAGE):
                files.write([(piece.start, piece_row(piece)) for piece in pieces])
                last = PieceCursor(pieces[-1].start, pieces[-1].node, pieces[-1].key)
                moved += len(pieces)
                yield Moved("pieces", node.node, moved)


def _check_empty(folder: Path) -> None:
    try:
        if folder.exists() and any(folder.iterdir()):
            raise QuestionError(f"{folder} is not empty; name a folder that is, or a new one")
    except OSError as error:
        raise QuestionError(f"{folder}: {_reason(error)}; name a new or empty folder") from None


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()


def _write_manifest(folder: Path, status: Status, as_of: int | None) -> None:
    said = {
        "version": _VERSION,
        "seen": status.seen if as_of is None else as_of,
        "definitions": {one.definition: one.watermark for one in status.definitions},
        "nodes": {one.node: one.watermark for one in status.nodes},
        "gaps": [[gap.of, gap.since, gap.until, gap.why] for gap in status.gaps],
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / MANIFEST).write_text(f"{json.dumps(said, indent=1)}\n", encoding="utf-8")
    except OSError as error:
        raise HistoryError(f"{folder} cannot be written: {error}") from error


def read_manifest(folder: Path) -> dict[str, Any]:
    """What an export says of itself. Raises QuestionError for a folder that is none."""
    try:
        said = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        version = said["version"]
    except OSError as error:
        raise QuestionError(
            f"{folder} is no exported history: {MANIFEST} in it: {_reason(error)}; {_FIX}"
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise QuestionError(
            f"{folder} is no exported history: {MANIFEST} in it is not what an export writes: "
            f"{error!r:.200}; {_FIX}"
        ) from error
    if version != _VERSION:
        raise QuestionError(
            f"{folder} has version {version!r:.40}, and this release reads {_VERSION}; "
            "export it with this release"
        )
    return dict(said)


async def import_history(store: HistoryStore, folder: Path, *, pieces: bool = True) -> AsyncIterator[Moved]:
    """Store what was exported to ``folder``; tells how far it is.

    ``pieces``: timelines, too. Raises QuestionError where the store has some of the same nodes: theirs would
    be taken back.
    """
    said = read_manifest(folder)
    there = {node.node for node in (await store.status()).nodes} & said["nodes"].keys() if pieces else set()
    if there:
        raise QuestionError(
            f"the store has timelines of node {min(there)!r} already; import into a new store, or events only"
        )
    marks: dict[str, int | None] = said["definitions"]
    for name, rows, count in _rows_of(folder / "events"):
        for (topic, definition), some in _by_definition([event_of(row) for row in rows]).items():
            mark = marks.get(definition)
            verdicts = [one.verdict for one in some]
            judged = Judged(definition, verdicts, {v.position.partition: mark for v in verdicts})
            await store.append_events(topic, [one.event for one in some], [judged])
        yield Moved("events", name, count)
    if pieces:
        for number, (name, rows, count) in enumerate(_rows_of(folder / "pieces")):
            await _append_pieces(store, rows, said["nodes"], number)
            yield Moved("pieces", name, count)
    if gaps := [Gap(*gap) for gap in said["gaps"]]:
        for topic in dict.fromkeys(gap.of for gap in gaps):
            await store.append_events(topic, [], gaps=[gap for gap in gaps if gap.of == topic])


def _rows_of(folder: Path) -> Any:
    """The rows of all files, with their name, in order, and how many there were of the name."""
    counts: dict[str, int] = {}
    for path in files_of(folder):
        for rows in read_rows(path):
            counts[path.stem] = counts.get(path.stem, 0) + len(rows)
            yield path.stem, rows, counts[path.stem]


def _by_definition(events: Sequence[JudgedEvent]) -> dict[tuple[str, str], list[JudgedEvent]]:
    found: dict[tuple[str, str], list[JudgedEvent]] = {}
    for one in events:
        found.setdefault((one.topic, one.definition), []).append(one)
    return found


async def _append_pieces(
    store: HistoryStore, rows: Sequence[Row], marks: dict[str, int | None], number: int
) -> None:
    """Pieces come by time, so that each begins where those of its key before have begun, or later."""
    by_node: dict[str, list[Revision]] = {}
    for piece in map(piece_of, rows):
        told = Revision(piece.key, piece.start, [(piece.start, piece.value, piece.slope)])
        by_node.setdefault(piece.node, []).append(told)
    for node, revisions in by_node.items():
        writer = Writer(f"import of {node}", node, partitions=0)
        await store.append_revisions(writer, (number, 0), revisions, watermark=marks.get(node))
