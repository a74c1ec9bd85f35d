"""Trials of a network: the tests in its file, over its stateless streams, with the event times given.

Events have no publish time here: none is late, and none too far ahead.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from timeline_workers.columns.event_batch import Positions
from timeline_workers.errors import EventError
from timeline_workers.events.times import from_microseconds, to_microseconds
from timeline_workers.process.counted import counted

from .network_model import NetworkTest
from .stream_program import StreamProgram
from .stream_stages import rows_of
from .wiring import Wiring


@dataclass(frozen=True, slots=True)
class TrialOutcome:
    """What a test gave: all events, and how they differ from what is expected, none where they do not."""

    test: NetworkTest
    events: list[dict[str, Any]]
    differences: list[str]


def run_test(wiring: Wiring, test: NetworkTest) -> TrialOutcome:
    """Run one test of a network that has no problems."""
    sources = wiring.sources_of(test.at)
    given = test.input if isinstance(test.input, dict) else {sources[0]: test.input}
    program = StreamProgram(wiring)
    events: list[dict[str, Any]] = []
    refused: list[str] = []
    for name, payloads in given.items():
        outcome = program.read(name, payloads, Positions.in_input(0, len(payloads)))
        for batch in outcome.streams.get(test.at, []):
            source = wiring.network.sources[batch.source]
            for row in rows_of(batch):
                shown = {**row, "at": from_microseconds(int(str(row["at"])), source.time_unit)}
                events.append(shown if source.key in row else {source.key: row["key"], **shown})
        for at, found in outcome.refused.items():
            refused += [f"{at}: event {one.row + 1}{_element(one.sub)}: {one.message}" for one in found]
    differences = [*_compared(test, events, _units(wiring, sources))]
    if len(refused) != test.refused:
        said = "".join(f"\n  {one}" for one in refused)
        differences.append(f"{counted(len(refused), 'event')} refused, and {test.refused} expected{said}")
    return TrialOutcome(test, events, differences)


def _element(sub: int | None) -> str:
    return "" if sub is None else f", element {sub + 1}"


def _units(wiring: Wiring, sources: list[str]) -> str:
    return wiring.network.sources[sources[0]].time_unit if sources else "s"


def _compared(test: NetworkTest, events: list[dict[str, Any]], unit: str) -> list[str]:
    found = []
    for number, (expected, event) in enumerate(zip(test.expect, events, strict=False), 1):
        wrong = {
            name: (wanted, event.get(name))
            for name, wanted in expected.items()
            if not _same(name, wanted, event.get(name), unit)
        }
        for name, (wanted, is_) in wrong.items():
            found.append(f"event {number}: {name} is {_shown(is_)}, and {_shown(wanted)} expected")
    for number, event in enumerate(events[len(test.expect) :], len(test.expect) + 1):
        found.append(f"event {number}: not expected: {_flat(event)}")
    for number, expected in enumerate(test.expect[len(events) :], len(events) + 1):
        found.append(f"event {number}: expected and not there: {_flat(expected)}")
    return found


def _same(name: str, wanted: Any, is_: Any, unit: str) -> bool:
    if name == "at":
        try:
            return to_microseconds(wanted, unit) == to_microseconds(is_, unit)
        except EventError:
            return False
    # 1 and 1.0 are one number; true is none.
    return isinstance(wanted, bool) == isinstance(is_, bool) and bool(wanted == is_)


def _shown(value: Any) -> str:
    return "missing" if value is None else repr(value)


def _flat(event: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {_shown(value)}" for name, value in event.items())
