"""The comparison of a history notices what it is to notice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from tests.chaos.comparing import Differences
from tests.chaos.history_comparing import compare_history
from tests.chaos.judging import Judged as Fate, Message, Place, judge
from tests.chaos.recording import Recorded, twice
from timeline_workers.history.model import Gap, Judged, Outcome, Position, RawEvent, Verdict, definition_of
from timeline_workers.metric.model import History, Metric, Source
from timeline_workers.plan.physical import plan
from timeline_workers.plan.reading import reading_of
from timeline_workers.settings.history_settings import sqlite_address

SECOND = 1_000_000
SOURCE = Source.model_validate(
    {"topic": "t", "key": "k", "time": "t", "allowed_lateness": "5s", "columns": {"x": "int"}}
)
METRIC = Metric(name="m", source=SOURCE, expression="event_count(x == 1)", history=History(nodes="none"))
SENT = [
    (1, "a", b'{"k": "a", "t": 10, "x": 1}'),
    (2, "a", b'{"k": "a", "t": 2, "x": 1}'),
    (3, "", b"nothing"),
]


def messages() -> dict[Place, Message]:
    return {Place(0, (1, at, 0)): Message(Place(0, (1, at, 0)), key, said, 0) for at, key, said in SENT}


Said = tuple[Outcome, str | None, int | None, str]
FATES: dict[int, Said] = {
    1: (Outcome.ACCEPTED, "a", 10, ""),
    2: (Outcome.LATE, "a", 2, "late"),
    3: (Outcome.REFUSED, None, None, "malformed-json"),
}


async def stored(path: Path, fates: Mapping[int, Said] = FATES, gaps: Sequence[Gap] = ()) -> Recorded:
    """What a feeder would store of the messages that have a fate."""
    recorded = Recorded(sqlite_address(path))
    await recorded.count_stamps()
    raw, verdicts = [], []
    for at, _, payload in SENT:
        if at not in fates:
            continue
        outcome, key, time, reason = fates[at]
        place = Position(0, 1, at * 2**16)
        raw.append(RawEvent(place, payload))
        verdicts.append(Verdict(place, outcome, key, None if time is None else time * SECOND, reason))
    async with recorded.store() as store:
        judged = Judged(definition_of(reading_of(METRIC)), verdicts, {0: 5 * SECOND})
        await store.append_events("t", raw, [judged], gaps)
    return recorded


async def differences(recorded: Recorded) -> dict[str, int]:
    found = Differences()
    fates: dict[str, Fate] = {"m": judge(messages().values(), SOURCE)}
    await compare_history(recorded, [plan(METRIC)], fates, messages(), 1, found)
    return dict(found.count)


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.chaos.history_comparing.BEHIND_SECONDS", 0.0)


async def test_a_whole_history_differs_in_nothing(tmp_path: Path) -> None:
    assert await differences(await stored(tmp_path / "history.db")) == {}


@pytest.mark.parametrize(
    ("missing", "kinds"),
    [
        (1, {"events are stored once", "numbers of verdicts", "accepted events have one verdict"}),
        (2, {"events are stored once", "numbers of verdicts"}),
        (3, {"events are stored once", "numbers of verdicts"}),
    ],
)
async def test_a_missing_event_is_noticed(tmp_path: Path, missing: int, kinds: set[str]) -> None:
    fates = {at: said for at, said in FATES.items() if at != missing}
    found = await differences(await stored(tmp_path / "history.db", fates))
    assert kinds <= found.keys()


@pytest.mark.parametrize(
    ("at", "said"),
    [
        (2, (Outcome.ACCEPTED, "a", 2, "")),
        (1, (Outcome.ACCEPTED, "a", 11, "")),
        (1, (Outcome.ACCEPTED, "b", 10, "")),
        (2, (Outcome.LATE, "a", 2, "early")),
    ],
)
async def test_a_wrong_verdict_is_noticed(tmp_path: Path, at: int, said: Said) -> None:
    recorded = await stored(tmp_path / "history.db", {**FATES, at: said})
    assert "verdicts" in await differences(recorded)


async def test_a_gap_where_nothing_is_missing_is_noticed(tmp_path: Path) -> None:
    recorded = await stored(tmp_path / "history.db", gaps=[Gap("t", None, None, "why")])
    assert set(await differences(recorded)) == {"gaps are recorded where there are some"}


def test_a_stamp_that_is_stored_twice_is_noticed() -> None:
    assert twice({"w": [(1, 0), (2, 0)]}) == []
    assert twice({"w": [(1, 0), (2, 0), (2, 0)]}) == ["w: of 3 stamps 1 were stored twice: [(2, 0)]"]
    assert twice({"w": [(2, 0), (1, 0)]}) == ["w: of 2 stamps 0 were stored twice: []"]
