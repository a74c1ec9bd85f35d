"""The REST interface against a cluster: what it answers is what the client answers, with its errors."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import os
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import pytest_asyncio
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis.specs.openapi.checks import content_type_conformance

pytest.importorskip("fastapi")
from tests.conftest import LONG
from tests.web.serving import Served, served
from tests.workflows.cluster import CIRR, cluster, feed, until_everything_arrived, worked_example
from timeline_workers.client import TimelineClient
from timeline_workers.history.model import Gap, Judged, Outcome, Position, RawEvent, Verdict
from timeline_workers.history.sqlite_store import SqliteStore
from timeline_workers.metric.definition_file import metric_file
from timeline_workers.metric.load import load_metric
from timeline_workers.metric.model import Metric, Source
from timeline_workers.playback import DvrClient, HealthChannel, TimelinesChannel
from timeline_workers.playback.history_names import recorded_metric
from timeline_workers.playback.replies import Frame, RecordsPart, Snapshot
from timeline_workers.web.access import Access
from timeline_workers.web.rest_application import document
from timeline_workers.web.site import Site
from timeline_workers.web.web_application import web_application

pytestmark = [pytest.mark.integration, pytest.mark.asyncio(loop_scope="module")]

COLUMNS = dict.fromkeys(("playerStateChange", "userAction", "cdnChange"), "string")
SOURCE = Source.model_validate({"topic": "playback", "key": "session", "time": "t", "columns": COLUMNS})
METRIC = Metric(name="cirr", source=SOURCE, expression=CIRR)
SEEK = 'has_existed_within(userAction == "seek", 5s)'
NOT_SAID = ("hint", "field", "span", "line", "column")
MILLION = 1_000_000
DOCUMENT = document()
GAP = Gap("playback", 50 * MILLION, None, "the store did not answer")
# Of each operation, right and wrong; to make up requests for all of them takes a while.
EXAMPLES = 20 if os.environ.get(LONG) else 2
QUICK = ("/api/lanes", "/api/metrics/{metric}/query", "/api/history/events", "/api/server")


async def store_of(path: Path) -> SqliteStore:
    """A history that holds the worked example, and one event of it that was late."""
    store = await SqliteStore.open(path)
    events = worked_example()
    raw, verdicts = [], []
    for event in events:
        place = Position(*event.position)
        said = {"session": event.key, "t": event.time // MILLION, **event.columns}
        raw.append(RawEvent(place, json.dumps(said).encode()))
        verdicts.append(Verdict(place, Outcome.ACCEPTED, str(event.key), event.time))
    late = Position(0, 0, 99)
    raw.append(RawEvent(late, b'{"session": "s1", "t": 3, "userAction": "seek"}'))
    verdicts.append(Verdict(late, Outcome.LATE, "s1", 3 * MILLION, "late", "it came late"))
    definition = recorded_metric(METRIC).definition
    await store.append_events("playback", raw, [Judged(definition, verdicts, {0: 40 * MILLION})], [GAP])
    return store


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def rest(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[Served, Site]]:
    """A server over a cluster to which the worked example has been fed, and over its history."""
    async with cluster() as temporal:
        client = TimelineClient(temporal)
        await client.apply(METRIC)
        await feed(temporal, METRIC, worked_example())
        await until_everything_arrived(temporal, METRIC, worked_example())

        async def connect() -> TimelineClient:
            return client

        store = await store_of(tmp_path_factory.mktemp("history") / "history.db")
        site = Site(connect, Access(), store=store, version="test")
        async with served(web_application(site)) as server:
            yield server, site
        await store.close()


async def test_questions_are_answered_as_by_the_client(rest: tuple[Served, Site]) -> None:
    server, site = rest
    client = await site.client()
    found = await server.get("/metrics/cirr/query", at=[14, 22], key="s1")
    values = [await client.value_at("cirr", "s1", at) for at in (14, 22)]
    assert found["answers"] == [one.model_dump() for one in values]
    assert [one["value"] for one in found["answers"]] == [4, 7]
    seek = await server.get("/metrics/cirr/query", spans="0,60", key="s1", node=SEEK)
    assert seek["answers"] == [(await client.spans("cirr", "s1", 0, 60, node=SEEK)).model_dump()]
    every = await server.get("/metrics/cirr/query", change="0,30", every="10s", all="true", limit=2)
    assert ([one["change"] for one in every["answers"]], every["more"]) == ([0, 5], True)
    text = await server.text("/metrics/cirr/query", spans="0,60", key="s1", node=SEEK, csv="true")
    assert [row["value"] for row in csv.DictReader(io.StringIO(text))] == ["false", "true", "false"]
    assert (await server.get("/metrics/cirr/keys"))["keys"] == [{"key": "s1", "events": 10}]


async def test_errors_have_the_codes_of_the_library(rest: tuple[Served, Site]) -> None:
    server, _ = rest
    near = await server.get("/metrics/cirrr", status=404)
    assert near == {"code": "unknown-metric", "message": "there is no metric 'cirrr'; did you mean 'cirr'?"}
    assert await server.get("/metrics/cirrr", refuse="false") == {**near, **dict.fromkeys(NOT_SAID)}
    assert (await server.get("/metrics/cirr/query", 404, at=1, key="s2"))["code"] == "unknown-key"
    assert (await server.get("/metrics/cirr/query", 404, at=1, key="s1", node="x"))["code"] == "unknown-node"
    for wrong in ({"at": "soon"}, {"spans": "9,1"}, {"spans": "1"}, {}, {"at": 1, "change": "0,1"}):
        refused = await server.get("/metrics/cirr/query", 400, key="s1", **wrong)
        assert refused["code"] == "wrong-question"
    assert (await server.get("/metrics/cirr/query", 400, limit="many"))["field"] == "limit"
    assert (await server.get("/nothing", 404))["code"] == "not-found"
    assert (await server.get("/letters", 503))["code"] == "unreachable"  # there is no broker


async def test_lanes_of_history_and_workers_agree(rest: tuple[Served, Site]) -> None:
    server, _ = rest
    computed = await server.get("/lanes", metric="cirr", key="s1")
    asked = await server.get("/lanes", metric="cirr", key="s1", start=0, end=60, origin="workers")
    assert (computed["origin"], asked["origin"]) == ("history", "workers")
    assert [lane["node"] for lane in computed["lanes"]] == [lane["node"] for lane in asked["lanes"]]
    assert len(computed["lanes"]) == 11
    for one, other in zip(computed["lanes"], asked["lanes"], strict=True):
        assert [(s["start"], s["value"], s["slope"]) for s in one["spans"]] == [
            (s["start"], s["value"], s["slope"]) for s in other["spans"]
        ]
        assert one["problem"] is None
    assert (computed["start"], computed["watermark"], computed["events_count"]) == (0, 40, 11)
    assert [one["outcome"] for one in computed["events"]].count("late") == 1
    gap = {"of": "playback", "start": 50, "end": None, "why": GAP.why}
    assert [{**one, "seen": 0} for one in computed["gaps"]] == [{**gap, "seen": 0}]
    merged = await server.get("/lanes", metric="cirr", key="s1", spans=10)
    assert [lane["count"] for lane in merged["lanes"]] == [lane["count"] for lane in computed["lanes"]]
    assert (await server.get("/lanes", 404, metric="cirr", key="s9", origin="history"))[
        "code"
    ] == "unknown-key"
    assert (await server.get("/lanes", 400, metric="cirr", key="s9"))["code"] == "wrong-question"


async def test_the_player_plays_the_metric_on_the_cluster(rest: tuple[Served, Site]) -> None:
    """D15 by the socket beside it: names are those of the catalog, nodes that are not stored are computed."""
    server, _ = rest
    graph = await server.get("/metrics/cirr")
    result = graph["nodes"][-1]["node"]
    async with DvrClient(server.address) as player:
        opened = await player.open(TimelinesChannel(channel="c", metric="cirr", nodes="all", keys=["s1"]))
        assert [node.node for node in opened.channels[0].nodes] == [one["node"] for one in graph["nodes"]]
        await player.play(12, 20, speed=100)
        changes: list[list[Any]] = []
        async for message in player.window():
            if isinstance(message, Snapshot):
                (level,) = (one for one in message.channels["c"] if one.node == result)
                assert (level.value, level.slope, level.since, level.until) == (2, 1, 10, 14)
            if isinstance(message, Frame):
                changes += [one for part in message.channels.values() for one in part.changes]  # type: ignore[union-attr]
        assert [(one[0], *one[3:]) for one in changes if one[1] == result] == [(14, 4, 0), (19, 4, 1)]
        assert {one[0] for one in changes} == {14, 19}


async def test_health_is_told_while_it_changes(rest: tuple[Served, Site]) -> None:
    server, _ = rest
    seen: list[tuple[str, str]] = []
    async with DvrClient(server.address) as player:
        await player.open(HealthChannel(channel="health"))
        await player.play()
        async for message in player:
            if isinstance(message, Frame):
                for part in message.channels.values():
                    assert isinstance(part, RecordsPart)
                    seen += [(record[1], record[2]["state"]) for record in part.records]
            if seen:
                break
    assert [name for name, _ in seen] == ["cirr"]


async def test_the_history_is_paged_and_counted(rest: tuple[Served, Site]) -> None:
    server, _ = rest
    pages, after = [], {}
    while True:
        page = await server.get("/history/events", metric="cirr", limit=4, **after)
        pages.append([event["time"] for event in page["events"]])
        if page["next"] is None:
            break
        after = {"after": page["next"]}
    assert pages == [[0, 1, 2, 10], [14, 22, 25, 30], [40, 45]]
    density = await server.get("/history/density", metric="cirr", start=0, end=50, buckets=5)
    assert density["outcomes"] == {"accepted": [3, 2, 2, 1, 2], "late": [1, 0, 0, 0, 0]}
    status = await server.get("/history/status", unit="s")
    (row,) = status["definitions"]
    assert (row["metrics"], row["accepted"], row["late"], row["watermark"]) == (["cirr"], 10, 1, 40)
    assert (await server.get("/history/pieces", metric="cirr"))["pieces"] == []  # nobody has stored any
    assert (await server.get("/history/events", 400, metric="cirr", after="[1]"))["code"] == "wrong-question"


async def test_a_metric_is_previewed_applied_drawn_deleted(rest: tuple[Served, Site]) -> None:
    server, _ = rest
    file = metric_file(Metric(name="buffering", source=SOURCE, expression=CIRR.split("\n")[0] + ")"))
    planned = await server.post("/metrics", file, dry_run="true")
    assert planned["result"] is None
    changes = {one["operator"]: (one["change"], one["shared"]) for one in planned["preview"]["workers"]}
    assert changes == {
        "tl-latest-event-to-state": ("keep", ["cirr"]),
        "equal-to": ("keep", ["cirr"]),
        "tl-duration-where": ("start", []),
    }
    applied = await server.post("/metrics", file)
    assert (applied["result"]["outcome"], applied["result"]["started"]) == ("new", 1)
    detail = await server.get("/metrics/buffering")
    assert load_metric(detail["yaml"]) == load_metric(file)
    graph = await server.get("/metrics/buffering/graph")
    assert [node["state"] for node in graph["nodes"]] == ["ok"] * 3
    assert {edge["from_node"] for edge in graph["edges"]} >= {"source", *graph["nodes"][1]["inputs"]}
    workers = await server.get("/metrics/buffering/workers")
    assert [one["worker"] for one in workers["workers"]] == [
        one["worker"] for one in planned["preview"]["workers"]
    ]
    listed = await server.get("/metrics")
    assert [one["metric"] for one in listed["metrics"]] == ["buffering", "cirr"]
    removed = await server.delete("/metrics/buffering")
    assert (len(removed["stopped"]), len(removed["kept"])) == (1, 2)


async def test_mistakes_of_a_file_have_their_place(rest: tuple[Served, Site]) -> None:
    server, _ = rest
    file = metric_file(METRIC).replace("has_existed(", "had_existed(")
    refused = await server.post("/metrics", file, 400, dry_run="true")
    line = next(number for number, text in enumerate(file.splitlines(), 1) if "had_existed" in text)
    assert (refused["code"], refused["line"]) == ("wrong-expression", line)
    assert file.splitlines()[line - 1][refused["column"] - 1 :].startswith("had_existed")
    assert refused["hint"] == "did you mean has_existed?"
    for wrong in ("", "name: 1", "{", "- a"):
        assert (await server.post("/metrics", wrong, 400))["code"] in ("wrong-metric", "wrong-question")
    typed = await server.post("/check", {"yaml": file})
    assert (typed["ok"], typed["failures"][0]["line"]) == (False, line)
    checked = await server.post("/check", {"expression": CIRR, "like": "cirr", "draw": True})
    planned = await server.get("/metrics/cirr")
    assert (checked["ok"], checked["nodes"]) == (True, planned["nodes"])
    assert len(checked["graph"]["nodes"]) == 11


async def test_stored_sources_are_kept_and_named(rest: tuple[Served, Site]) -> None:
    server, _ = rest
    file = "kind: source\nname: clicks\nsource: {topic: clicks, key: user, time: t, allowed_lateness: 5m}\n"
    assert (await server.post("/sources", file))["version"] == 1
    (stored,) = (await server.get("/sources"))["sources"]
    assert (await server.post("/sources", stored["yaml"]))["outcome"] == "unchanged"
    metric = "name: clicked\nsource: clicks\nexpression: has_existed(x == 1)\n"
    assert (await server.post("/check", {"yaml": metric}))["ok"]
    await server.delete("/sources/clicks", 204)
    assert (await server.delete("/sources/clicks", 404))["code"] == "unknown-source"


async def test_a_rule_names_targets_that_are_there(rest: tuple[Served, Site]) -> None:
    """Also where it is only checked, or would be applied; what is wrong with a rule's file is an answer."""
    server, _ = rest
    rule = (
        "kind: alert\nname: r\nsource: {topic: t, key: k, time: t}\nexpression: has_existed(x)\nto: [pagr]\n"
    )
    (failure,) = (await server.post("/check", {"yaml": rule}))["failures"]
    assert failure["code"] == "unknown-target"
    assert "rule 'r': to: there is no target 'pagr'; known: none" in failure["message"]
    for dry_run in ("true", "false"):
        assert (await server.post("/metrics", rule, 404, dry_run=dry_run))["code"] == "unknown-target"
    assert (await server.post("/check", {"yaml": rule.replace("to: [pagr]", "")}))["ok"]
    wrong = await server.post("/check", {"yaml": rule.replace("to: [pagr]", "when: never")})
    assert (wrong["ok"], wrong["failures"][0]["code"]) == (False, "wrong-rule")
    assert [one["metric"] for one in (await server.get("/metrics"))["metrics"]] == ["cirr"]


async def test_events_that_are_sent_are_evaluated(rest: tuple[Served, Site]) -> None:
    server, _ = rest
    events = "\n".join(
        json.dumps({"session": "s1", "t": event.time // MILLION, **event.columns})
        for event in worked_example()
    )
    asked: dict[str, Any] = {"expression": CIRR, "events": events, "key": "session", "time": "t"}
    found = await server.post("/evaluate", {**asked, "at": [14, 22]})
    assert ([one["value"] for one in found["answers"]], found["accepted"]) == ([4, 7], 10)
    assert (await server.post("/evaluate", asked, 400))["code"] == "wrong-question"
    wrong = await server.post("/evaluate", {**asked, "expression": "x ==", "at": [1]}, 400)
    assert (wrong["code"], wrong["span"]) == ("wrong-expression", [4, 5])


async def test_what_is_read_only_changes_nothing(rest: tuple[Served, Site]) -> None:
    _, site = rest
    async with served(web_application(Site(site.connect, Access(), read_only=True))) as server:
        assert (await server.get("/server"))["read_only"]
        assert (await server.post("/metrics", metric_file(METRIC), 403))["code"] == "read-only"
        assert (await server.delete("/metrics/cirr", 403))["code"] == "read-only"
        assert (await server.post("/letters", {"topic": "t", "all": True}, 403))["code"] == "read-only"
        planned = await server.post("/metrics", metric_file(METRIC), dry_run="true")
        assert planned["preview"]["outcome"] == "unchanged"
        assert (await server.get("/history/status", 404))["code"] == "no-history"
        lanes = await server.get("/lanes", metric="cirr", key="s1", start=0, end=60)
        assert lanes["origin"] == "workers"


@schemathesis.serializer("application/x-tar")
def as_archive(_: Any, value: Any) -> bytes:
    """A body of random bytes, which is hardly ever an archive."""
    return value if isinstance(value, bytes) else str(value).encode(errors="replace")


def exercise(address: str) -> Counter[int]:
    """Ask every operation some requests that its document allows, and some that it does not; the statuses."""
    schema = schemathesis.openapi.from_url(f"{address}/api/openapi.json")
    statuses: Counter[int] = Counter()
    for found in schema.get_all_operations():
        operation = found.ok()
        if operation.path not in QUICK and not os.environ.get(LONG):
            continue
        for mode in (schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE):

            @given(case=operation.as_strategy(generation_mode=mode))
            @settings(
                max_examples=EXAMPLES,
                deadline=None,
                database=None,
                phases=[Phase.generate],
                suppress_health_check=list(HealthCheck),
            )
            def ask(case: Any) -> None:
                response = case.call()
                statuses[response.status_code] += 1
                assert response.status_code not in (500, 501, 502), response.text
                case.validate_response(response, checks=[content_type_conformance])
                check_schema(case.operation.path, case.method.lower(), response)

            try:
                ask()
            except Unsatisfiable:  # nothing of the operation can be wrong
                assert mode is schemathesis.GenerationMode.NEGATIVE
    return statuses


def check_schema(path: str, method: str, response: Any) -> None:
    """An answer has the schema that the document says."""
    said = DOCUMENT["paths"][path][method]["responses"]
    content = said.get(str(response.status_code), said["default"]).get("content", {})
    kind = response.headers.get("content-type", [""])[0].partition(";")[0]
    if kind == "application/json":
        schema = {**content[kind]["schema"], "components": DOCUMENT["components"]}
        jsonschema_rs.validate(schema, response.json())


async def test_random_requests_are_answered_as_documented(rest: tuple[Served, Site]) -> None:
    """Whatever is asked, the answer has the type and the schema of the document, and is no fault of ours."""
    server, _ = rest
    statuses = await asyncio.to_thread(exercise, server.address)
    assert {200, 404} <= set(statuses)
    assert [metric["metric"] for metric in (await server.get("/metrics"))["metrics"]] == ["cirr"]
