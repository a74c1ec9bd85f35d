"""Channels of a metric whose nodes are not stored: computed, they are what they would be if they were."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.web.recorded import CIRR, SESSION, Recorded
from timeline_workers.history.model import Judged, Outcome, Position, RawEvent, Verdict
from timeline_workers.history.sqlite_store import SqliteStore
from timeline_workers.history.store import HistoryStore
from timeline_workers.metric.load import load_metric
from timeline_workers.playback.codes import DvrCode
from timeline_workers.playback.history_names import MetricsByName, recorded_metric
from timeline_workers.playback.history_recording import HistoryRecording
from timeline_workers.playback.items import View
from timeline_workers.playback.reads import (
    CountRead,
    NeighbourRead,
    OpenRead,
    ReadFailed,
    SnapshotRead,
    WindowRead,
)
from timeline_workers.playback.recording import Reads
from timeline_workers.playback.requests import TimelinesChannel, WhatIfChannel

SECOND = 1_000_000
METRIC = load_metric(CIRR)


async def events_only(path: Path) -> SqliteStore:
    """The worked example in a store that has no pieces."""
    store = await SqliteStore.open(path)
    raw, verdicts = [], []
    for number, line in enumerate(SESSION.read_text(encoding="utf-8").splitlines(), 1):
        event = json.loads(line)
        raw.append(RawEvent(Position(0, 0, number), line.encode()))
        time = event["timestamp"] * SECOND
        verdicts.append(Verdict(Position(0, 0, number), Outcome.ACCEPTED, event["session_id"], time))
    definition = recorded_metric(METRIC).definition
    await store.append_events("playback-events", raw, [Judged(definition, verdicts, {0: None})])
    return store


async def said(store: HistoryStore, nodes: Any) -> list[Any]:
    """All that a channel says of the worked example; without the order of the store, which is another."""
    reads = Reads(HistoryRecording(store, MetricsByName([METRIC])))
    channel = TimelinesChannel(channel="cirr", metric="cirr", nodes=nodes, keys=["s1"])
    opened: Any = await reads.do(OpenRead((channel,), View()))
    window: Any = await reads.do(WindowRead(("cirr",), View(), -1, -1, 60 * SECOND, 1_000))
    snapshot: Any = await reads.do(SnapshotRead(("cirr",), View(), 20 * SECOND, 200))
    counted: Any = await reads.do(CountRead(("cirr",), View(), -1, -1, 60 * SECOND))
    next_one: Any = await reads.do(NeighbourRead(("cirr",), View(), 14 * SECOND, False))
    levels = snapshot.channels["cirr"].levels
    return [
        opened.channels,
        sorted(window.items, key=repr),
        sorted(levels, key=repr),
        counted,
        next_one,
    ]


async def test_what_is_not_stored_is_computed(tmp_path: Path) -> None:
    full = await Recorded.worked_example(tmp_path / "full.db")
    bare = await events_only(tmp_path / "bare.db")
    result = recorded_metric(METRIC).nodes[-1].node
    for nodes in ("all", "result", [result]):
        expected = await said(full.store, nodes)
        assert len(expected[1]) > 3
        assert await said(bare, nodes) == expected
    await full.store.close()
    await bare.close()


async def test_an_aggregate_of_some_keys_is_refused(tmp_path: Path) -> None:
    """As any other wrong question; the player goes on."""
    store = await events_only(tmp_path / "bare.db")
    reads = Reads(HistoryRecording(store, MetricsByName([METRIC])))
    channel = WhatIfChannel(
        channel="all",
        expression=f"{METRIC.expression} | aggregate(group_by(userAction), sum)",
        like="cirr",
        keys=["s1"],
    )
    answer = await reads.do(OpenRead((channel,), View()))
    assert isinstance(answer, ReadFailed)
    assert (answer.reason, answer.message) == (
        DvrCode.BAD_MESSAGE,
        "an aggregate is over all keys; leave out keys=",
    )
    await store.close()
