"""The status of a history store as rows, and as text of at most 80 columns where names are no longer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from timeline_workers.events.times import EARLIEST, LATEST, from_microseconds
from timeline_workers.history.model import DefinitionStatus, Gap, NodeStatus, Outcome, Status
from timeline_workers.process.counted import counted

from .text_table import drawn, terminal_width

_NUMBERS = frozenset({"ACCEPTED", "LATE", "REFUSED", "KEYS"})
_UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB")


def rows_of(status: Status, followed: Mapping[str, int]) -> Iterator[dict[str, Any]]:
    """One object for the store, and one for each definition, node and gap; times are ISO 8601. ``followed``:
    of definitions, up to when published messages are stored.
    """
    yield {
        "kind": "store",
        "store": status.store,
        "bytes": status.bytes,
        "events": sum(status.events.values()),
        "change_points": status.rows,
        "seen": _iso(status.seen) if status.seen else None,
        "kept_from": _iso(status.kept_from),
    }
    for one in status.definitions:
        yield {
            "kind": "definition",
            "definition": one.definition,
            "topic": one.topic,
            **{outcome.value: one.outcomes.get(outcome, 0) for outcome in Outcome},
            "first": _iso(one.first),
            "last": _iso(one.last),
            "watermark": _iso(one.watermark),
            "kept_from": _iso(one.kept_from),
            "followed_to": _iso(followed.get(one.definition)),
        }
    for node in status.nodes:
        yield {
            "kind": "node",
            "node": node.node,
            "keys": node.keys,
            "watermark": _iso(node.watermark),
            "kept_from": _iso(node.kept_from),
        }
    for gap in status.gaps:
        yield {
            "kind": "gap",
            "of": gap.of,
            "since": _iso(gap.since),
            "until": _iso(gap.until),
            "why": gap.why,
            "seen": _iso(gap.seen),
        }


def table(status: Status, followed: Mapping[str, int]) -> str:
    """All of it for people: one table for events, one for timelines, and in words how far events are
    ``followed``, and the gaps.
    """
    head = (
        f"store      {status.store}\n"
        f"size       {_size(status.bytes)}, {counted(sum(status.events.values()), 'event')}, "
        f"{counted(status.rows, 'change point')}\n"
        f"last seen  {_seconds(status.seen) if status.seen else 'nothing yet'}\n"
    )
    parts = [head]
    if status.definitions:
        parts.append(_definitions(status.definitions))
    if status.nodes:
        parts.append(_nodes(status.nodes))
    if kept := _times("kept from", _kept(status)):
        parts.append(kept)
    if told := _times("stored what was published until", [(at, name) for name, at in followed.items()]):
        parts.append(told)
    if status.gaps:
        parts.append("".join(_gap(gap) for gap in status.gaps))
    return "\n".join(parts)


def _definitions(found: list[DefinitionStatus]) -> str:
    names = ["EVENTS", "ACCEPTED", "LATE", "REFUSED", "WATERMARK"]
    rows = []
    for one in found:
        refused = one.outcomes.get(Outcome.REFUSED, 0) + one.outcomes.get(Outcome.DUPLICATE, 0)
        counts = (one.outcomes.get(Outcome.ACCEPTED, 0), one.outcomes.get(Outcome.LATE, 0), refused)
        rows.append([one.definition, *map(str, counts), _seconds(one.watermark)])
    return _table(names, rows)


def _nodes(found: list[NodeStatus]) -> str:
    rows = [[one.node, str(one.keys), _seconds(one.watermark)] for one in found]
    return _table(["TIMELINES", "KEYS", "WATERMARK"], rows)


def _table(names: list[str], rows: list[list[str]]) -> str:
    records = [dict(zip(names, row, strict=True)) for row in rows]
    return drawn(records, right=_NUMBERS, width=terminal_width())


def _kept(status: Status) -> list[tuple[int | None, str]]:
    """From when on is kept what was forgotten in part."""
    found = [(one.kept_from, one.definition) for one in status.definitions]
    return found + [(node.kept_from, node.node) for node in status.nodes]


def _times(words: str, found: Sequence[tuple[int | None, str]]) -> str:
    """``words`` with each time, and the names of which that is said below it."""
    names: dict[str, list[str]] = {}
    for at, name in found:
        names.setdefault(_seconds(at), []).append(name)
    return "".join(
        f"{words} {time}:\n" + "".join(f"  {name}\n" for name in some)
        for time, some in names.items()
        if time != "-"
    )


def _gap(gap: Gap) -> str:
    since = "the beginning" if gap.since is None else _seconds(gap.since)
    until = "now" if gap.until is None else _seconds(gap.until)
    return f"gap in {gap.of}, from {since} to {until}: {gap.why}\n"


def _iso(micros: int | None) -> str | None:
    if micros is None:
        return None
    return str(from_microseconds(min(max(micros, EARLIEST), LATEST), "iso"))


def _seconds(micros: int | None) -> str:
    """Seconds are enough for people; programs read JSON."""
    whole, point, _ = (_iso(micros) or "-").partition(".")
    return f"{whole}Z" if point else whole


def _size(size: int) -> str:
    shown, unit = float(size), 0
    while shown >= 1024 and unit + 1 < len(_UNITS):
        shown, unit = shown / 1024, unit + 1
    return f"{shown:.0f} {_UNITS[unit]}" if unit == 0 else f"{shown:.1f} {_UNITS[unit]}"
