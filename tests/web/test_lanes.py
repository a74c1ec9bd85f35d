"""Lanes from a history store: of an aggregate's keys, and of its groups."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi")
from tests.web.serving import served
from timeline_workers.client import TimelineClient
from timeline_workers.events.times import EARLIEST, LATEST
from timeline_workers.history.computed import compute
from timeline_workers.history.model import (
    Judged,
    Outcome,
    Position,
    RawEvent,
    Revision,
    Verdict,
    Writer,
    node_of,
)
from timeline_workers.history.sqlite_store import SqliteStore
from timeline_workers.metric.load import load_metric
from timeline_workers.metric.model import Metric
from timeline_workers.playback.history_names import recorded_metric
from timeline_workers.web.access import Access
from timeline_workers.web.site import Site
from timeline_workers.web.web_application import web_application

FOLDER = Path(__file__).parents[2] / "examples/idle-by-region"
METRIC = load_metric(FOLDER / "metric.yaml")
MILLION = 1_000_000


async def stored(path: Path) -> SqliteStore:
    """The example's events, and what its aggregate made of them."""
    store = await SqliteStore.open(path)
    raw, verdicts = [], []
    for number, line in enumerate((FOLDER / "events.jsonl").read_text().splitlines()):
        event = json.loads(line)
        raw.append(RawEvent(Position(0, 0, number), line.encode()))
        time = event["timestamp"] * MILLION
        verdicts.append(Verdict(Position(0, 0, number), Outcome.ACCEPTED, event["machine"], time))
    definition = recorded_metric(METRIC).definition
    await store.append_events(METRIC.source.topic, raw, [Judged(definition, verdicts, {0: None})])
    computed = await compute(store, METRIC.expression, METRIC.source, keys=None)
    result = computed.nodes[-1]
    for function in result.functions:
        name = node_of(recorded_metric(METRIC).nodes[-1].node.partition("/")[0], function)
        for group in computed.groups(result.text):
            pieces = computed.pieces(result.text, EARLIEST, LATEST, keys=[group], function=function)
            said = [(one.start, one.value, one.slope) for one in pieces]
            revision = Revision(group, said[0][0], said)
            await store.append_revisions(Writer(f"{name}.{group}", name), (1, 0), [revision])
    return store


class Catalog(TimelineClient):
    """The client of a cluster of which only the catalog is asked."""

    def __init__(self) -> None:
        pass

    async def metric(self, name: str) -> Metric:
        assert name == METRIC.name
        return METRIC


async def test_an_aggregate_has_lanes_of_keys_and_groups(tmp_path: Path) -> None:
    store = await stored(tmp_path / "history.db")

    async def connect() -> TimelineClient:
        return Catalog()

    async with served(web_application(Site(connect, Access(), store=store))) as server:
        asked: dict[str, Any] = {"metric": METRIC.name}
        of_key = await server.get("/lanes", key="m1", **asked)
        assert [lane["operator"] for lane in of_key["lanes"]][-1] == "aggregate"
        assert of_key["lanes"][-1]["problem"].startswith("an aggregate is over all keys")
        assert [[span["value"] for span in lane["spans"]] for lane in of_key["lanes"][:2]] == [
            ["busy", "idle"],
            [False, True],
        ]
        of_group = await server.get("/lanes", key="north", **asked)
        assert [lane["function"] for lane in of_group["lanes"]] == ["count", "sum"]
        assert (of_group["key"], of_group["start"]) == ("north", 0)
        assert of_group["lanes"][0]["spans"][0]["value"] == 2  # two machines at first
        unknown = await server.get("/lanes", 404, key="west", origin="history", **asked)
        assert unknown["code"] == "unknown-key"
    await store.close()
