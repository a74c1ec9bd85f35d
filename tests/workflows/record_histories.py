"""Record histories of every workflow type: ``python -m tests.workflows.record_histories RELEASE`` writes them
into ``histories/RELEASE``, once, when a release is made.

The replay tests run today's code against those of every release. A history that today's code cannot replay
means that running workers would not survive the upgrade: then the change needs a patch marker, not a new
recording. For more histories of an earlier release, run this file with that release's wheel first on the
path, from another folder (``PYTHONPATH=UNPACKED_WHEEL:REPOSITORY``); it refuses any other mixture.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import os
import random
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any
from unittest.mock import patch

import typer
from temporalio.client import Client, WorkflowFailureError, WorkflowHistory

from tests.oracle.events import Event
from tests.workflows.cluster import (
    TASK_QUEUE,
    apply,
    cluster,
    feed,
    metric,
    result_workers,
    status,
    until_everything_arrived,
    worked_example,
)
from timeline_workers import __version__
from timeline_workers.metric.model import Metric, NamedSource
from timeline_workers.plan.physical import all_workers, plan
from workflows.catalog import stored_sources
from workflows.client import ask
from workflows.messages import CATALOG_ID, DRIVER_ID

FOLDER = Path(__file__).parent / "histories"
EXPRESSION = 'duration_where(latest_event_to_state(playerStateChange) == "buffer")'
KINDS = ("EventProcessor", "TimelineProcessor", "MetricCatalog", "TimelineDriver")
_LARGE = 256 * 1024
Run = tuple[str, str]


async def record(client: Client) -> dict[str, WorkflowHistory]:
    """Let a metric be applied, fed, carried to new runs and removed; return the histories of all runs by
    name.
    """
    buffering = metric("buffering", EXPRESSION, partitions=1)
    events = worked_example()
    await apply(client, buffering, continue_as_new_after=2)
    runs: list[Run] = []
    for start in range(0, len(events), 2):
        part = events[start : start + 2]
        await feed(client, buffering, part)
        await until_everything_arrived(client, buffering, part)
        runs += await _runs(client, [spec.worker_id for spec in all_workers(plan(buffering))])
    assert result_workers(buffering)
    await ask.delete(client, "buffering")
    runs += await _runs(client, [CATALOG_ID, DRIVER_ID.format(metric="buffering")])
    return await histories_of(client, runs)


async def _aggregate(client: Client) -> list[Run]:
    """An aggregate over two partitions is fed, continues as new, is asked, and stopped."""
    by_cdn = metric(
        "by-cdn",
        'latest_event_to_state(playerStateChange) == "buffer" | aggregate(group_by(cdnChange), count, sum)',
    )
    events = [
        Event(e.key, e.time, (0, 0, 10 * place + i), e.columns)
        for i, key in enumerate(["s1", "s2", "s3"])
        for place, e in enumerate(worked_example(key))
    ]
    events.sort(key=lambda e: e.position)
    await apply(client, by_cdn, continue_as_new_after=5)
    workers = [spec.worker_id for spec in all_workers(plan(by_cdn))]
    runs: list[Run] = []
    for start in range(0, len(events), 6):
        await feed(client, by_cdn, events[start : start + 6])
        for worker in workers:
            await status(client, worker)
        runs += await _runs(client, [w for w in workers if w.endswith(".all")])
    await ask.delete(client, "by-cdn")
    return runs


async def _resubscribe(client: Client) -> list[Run]:
    """A leaf is ended by hand and started again: its parent opens the edge anew; and a child finds its
    subscriber gone.
    """
    buffering = metric("buffering", EXPRESSION, partitions=1)
    leaf, middle, result = [spec.worker_id for spec in all_workers(plan(buffering))]
    events = worked_example()
    await apply(client, buffering)
    await feed(client, buffering, events[:4])
    await until_everything_arrived(client, buffering, events[:4])
    await client.get_workflow_handle(leaf).terminate(reason="for the recording")
    await apply(client, buffering)
    await feed(client, buffering, events[:6])
    await until_everything_arrived(client, buffering, events[:6])
    await client.get_workflow_handle(result).terminate(reason="for the recording")
    await feed(client, buffering, events[6:8])
    while (await status(client, middle))["edges"][0]["state"] != "gone":
        await asyncio.sleep(0.05)  # between two looks; the loop ends by what it sees
    await apply(client, buffering)
    await feed(client, buffering, events[8:])
    await until_everything_arrived(client, buffering, events)
    runs = await _runs(client, [leaf, middle, result, DRIVER_ID.format(metric="buffering")])
    await ask.delete(client, "buffering")
    return runs


async def _metrics(client: Client) -> list[Run]:
    """Metrics share workers, one is replaced, a wrong one refused, all are removed."""
    first = metric("first", EXPRESSION, partitions=1)
    second = metric("second", EXPRESSION.replace("buffer", "play"), partitions=1)
    await apply(client, first)
    await apply(client, second)
    await apply(client, first)
    await feed(client, first, worked_example())
    shared = [s.worker_id for s in all_workers(plan(first)) if s.node.is_leaf]
    replaced = metric("second", EXPRESSION.replace("buffer", "pause"), partitions=1)
    await apply(client, replaced)
    with contextlib.suppress(WorkflowFailureError):
        await apply(client, metric("wrong", "duration_were(latest_event_to_state(a) == 1)"))
    for name in ("first", "second"):
        await ask.delete(client, name)
    drivers = [DRIVER_ID.format(metric=name) for name in ("second", "wrong")]
    return await _runs(client, [*shared, CATALOG_ID, *drivers])


async def _sources(client: Client) -> list[Run]:
    """A source is stored, another definition of it after it, and removed again."""
    first = NamedSource(name="playback", source=metric(partitions=1).source)
    other = first.model_copy(update={"source": metric(partitions=2).source})
    for source in (first, first, other):
        await stored_sources.apply_source(client, source)
    await stored_sources.delete_source(client, "playback")
    return await _runs(client, [CATALOG_ID])


async def _kept(client: Client) -> list[Run]:
    """A leaf's state outgrows its input: it is kept in the history of one run and fetched by the next."""
    many = metric("many", "latest_event_to_state(playerStateChange)", partitions=1)
    draw = random.Random(5)
    events = [
        Event(f"{draw.getrandbits(64):016x}", i * 1_000_000, (0, 0, i), {"playerStateChange": "play"})
        for i in range(62_000)
    ]
    await apply(client, many, continue_as_new_after=2)
    (worker,) = [spec.worker_id for spec in all_workers(plan(many))]
    runs = await _runs(client, [worker])
    for part in (events[:31_000], events[31_000:61_998], events[61_998:61_999], events[61_999:]):
        await feed(client, many, part, batch=31_000)
        await until_everything_arrived(client, many, part)
        runs += await _runs(client, [worker])
    await ask.delete(client, "many")
    return runs


async def _output(client: Client) -> list[Run]:
    """What two outputs publish, one of each function of an aggregate, run after run; a result is started
    afresh on the way. The broker is stood in for: it refuses the first batch.
    """
    # Releases up to 0.4.0 do not have these.
    from timeline_workers.metric.model import Output
    from timeline_workers.plan.output_workers import output_workers
    from timeline_workers.servers.pulsar import changelog_topic

    refusals = [OSError("for the recording")]

    def publish(_topic: str, _producer: str, messages: Iterable[object]) -> int:
        if refusals:
            raise refusals.pop()
        return len(list(messages))

    load = f"{EXPRESSION} | aggregate(group_by(cdnChange), count, max)"
    told = [
        metric(name, expression, partitions=1).model_copy(update={"output": Output(topic=f"{name}-changes")})
        for name, expression in (("waited", EXPRESSION), ("load", load))
    ]
    outputs = [spec.worker_id for one in told for spec in output_workers(plan(one))]
    with patch.object(changelog_topic, "publish", publish):
        return await _told(client, told, outputs)


async def _history(client: Client) -> list[Run]:
    """What the history of two results stores, one of each function of an aggregate, run after run; a result
    is started afresh on the way. The store does not answer at first.
    """
    # Releases up to 0.5.0 do not have these.
    from timeline_workers.errors import HistoryError
    from timeline_workers.plan.history_workers import history_workers
    from timeline_workers.settings.history_settings import HistorySettings, sqlite_address
    from workflows.outputs import history_activities, open_stores

    refusals, opened = [HistoryError("for the recording")], open_stores.history_store

    async def store() -> Any:
        if refusals:
            raise refusals.pop()
        return await opened()

    load = f"{EXPRESSION} | aggregate(group_by(cdnChange), count, max)"
    told = [metric(name, text, partitions=1) for name, text in (("waited", EXPRESSION), ("load", load))]
    outputs = [spec.worker_id for one in told for spec in history_workers(plan(one))]
    with tempfile.TemporaryDirectory() as folder:
        settings = {HistorySettings.variable("history"): sqlite_address(Path(folder) / "history.db")}
        with patch.dict(os.environ, settings), patch.object(history_activities, "history_store", store):
            return await _told(client, told, outputs)


async def _told(client: Client, told: Sequence[Metric], outputs: Sequence[str]) -> list[Run]:
    """The runs of ``outputs`` while the metrics ``told`` are fed the worked example, two events at a time."""
    events = worked_example()
    runs: list[Run] = []
    for one in told:
        await apply(client, one, continue_as_new_after=2)
    for start in range(0, len(events), 2):
        for one in told:
            await feed(client, one, events[start : start + 2])
            await until_everything_arrived(client, one, events[start : start + 2])
        if start == 4:
            (result,) = result_workers(told[0])
            await client.get_workflow_handle(result).terminate(reason="for the recording")
            await apply(client, told[0], continue_as_new_after=2)
        await _until_told(client, outputs, events[start + 1])
        runs += await _runs(client, outputs)
    for one in told:
        await ask.delete(client, one.name)
    return runs


async def _alert(client: Client) -> list[Run]:
    """What the worker of a rule tells, run after run; by the clock, so that it looks into the topic and sets
    a timer. The broker and the sink are stood in for: the sink refuses the first batch.
    """
    # Releases up to 0.5.0 do not have these.
    from timeline_workers.alerts.alert_rule import Rule
    from timeline_workers.plan.alert_workers import alert_workers
    from timeline_workers.targets.target_files import load_target
    from workflows.catalog.stored_targets import apply_target
    from workflows.messages import SourceRead
    from workflows.outputs import alert_activities

    refusals = [OSError("for the recording")]

    def read(_topic: str, _marks: object) -> SourceRead:
        return SourceRead(read=time.time_ns() // 1_000, waits=False, partitions=1)

    async def take(*_: object) -> None:
        if refusals:
            raise refusals.pop()

    source = metric(partitions=1).source
    still = 'has_existed_within(playerStateChange == "buffer", 1d)'
    rule = Rule(name="stalled", source=source, expression=still, as_of="clock", to=("pager",))
    (worker,) = [spec.worker_id for spec in alert_workers(plan(rule.metric))]
    moved = time.time_ns() // 1_000 - 60_000_000
    events = [replace(one, time=moved + one.time) for one in worked_example()]
    runs: list[Run] = []
    with patch.object(alert_activities, "_read", read), patch.object(alert_activities, "_take", take):
        await apply_target(client, load_target({"kind": "target", "name": "pager", "what": "stdout"}))
        await apply(client, rule.metric, continue_as_new_after=2)
        for start in range(0, len(events), 2):
            await feed(client, rule.metric, events[start : start + 2])
            await until_everything_arrived(client, rule.metric, events[start : start + 2])
            await _until_told(client, [worker], events[start + 1])
            runs += await _runs(client, [worker])
        await apply(client, rule.model_copy(update={"title": "{{ key }}"}).metric, continue_as_new_after=2)
        runs += await _runs(client, [worker])
        await ask.delete(client, "stalled")
    return runs


async def _until_told(client: Client, outputs: Sequence[str], last: Event) -> None:
    """Wait until each of ``outputs`` has published what there is up to ``last``."""
    for worker in outputs:
        while True:
            state = await status(client, worker)
            progress = (state["state"] or {}).get("progress", [])
            heard = [(p["partition"], p["major"], p["minor"]) for p in progress]
            if last.position in heard and not state["telling"]:
                break
            await asyncio.sleep(0.05)  # between two looks; the loop ends by what it sees


async def _sink(client: Client) -> list[Run]:
    """What a sink sends, run after run: to a target that is not known yet, that does not take it, that is
    mended, that refuses it. The broker, which dead letters go to, is stood in for.
    """
    # Releases up to 0.5.0 do not have these.
    from tests.targets.receivers import Receiver, http_receiver, parcel
    from timeline_workers.alerts.sink_messages import SinkBatch, pack_sink_batch, sink_id
    from timeline_workers.servers.pulsar import changelog_topic
    from timeline_workers.targets.sending import Parcel
    from timeline_workers.targets.target_files import load_target
    from workflows.catalog.stored_targets import apply_target, delete_target
    from workflows.messages import SinkInput, SinkState
    from workflows.sinks.running_sinks import sink_statuses

    sink, receiver, runs = sink_id("pager", "p0"), Receiver(), list[Run]()
    input = SinkState(**SinkInput(target="pager", partition="p0").model_dump(), continue_as_new_after=3)
    handle = await client.start_workflow("Sink", args=[input, b""], id=sink, task_queue=TASK_QUEUE)

    async def take(first: int, *messages: Parcel) -> None:
        batch = SinkBatch("alert-r.p0", first, tuple(one.told for one in messages))
        await handle.signal("take", pack_sink_batch(batch))

    async def until(**wanted: int) -> None:
        while True:
            found = await sink_statuses(client, "pager")
            if found and all(getattr(found[0], name) >= least for name, least in wanted.items()):
                break
            await asyncio.sleep(0.05)  # between two looks; the loop ends by what it sees
        runs.extend(await _runs(client, [sink]))

    def publish(_topic: str, _producer: str, messages: Iterable[object]) -> int:
        return len(list(messages))

    async with http_receiver(receiver) as url:
        await take(1, parcel("a"), parcel("b"))
        await until(waiting=2)
        fields = {"kind": "target", "name": "pager", "what": "webhook"}
        await apply_target(client, load_target({**fields, "url": "http://127.0.0.1:1"}))
        await until(failures=1)
        receiver.check = False
        await apply_target(client, load_target({**fields, "url": url}))
        await until(sent=2)
        for number in range(2, 6):
            await take(number + 1, parcel("a", number, "moved"))
        await until(sent=3, runs=1)
        receiver.answer = lambda name: (404, {})
        with patch.object(changelog_topic, "publish", publish):
            await take(7, parcel("a", 6, "resolve"))
            await until(given_up=1)
            await handle.signal("pause")
            await take(8, parcel("c"))
            await until(waiting=1)
            await delete_target(client, "pager")
    runs += await _runs(client, [sink])
    return [*runs, *await _runs(client, [CATALOG_ID])]


async def _reconciler(client: Client) -> list[Run]:
    """A reconciler follows a metric and another has a bucket; calls fail, a key is deleted, runs end."""
    # Releases up to 0.5.0 do not have these.
    from timeline_workers.client.reconciler_client import Reconcilers
    from timeline_workers.reconcilers import Context, Level, RetryAfter, reconciler
    from timeline_workers.reconcilers.reconciler_declaration import Reconciler
    from timeline_workers.reconcilers.reconciler_workers import reconciler_workers
    from workflows.reconciling.start_reconcilers import ensure_reconcilers

    world: dict[str, object] = {}

    def declare(name: str, follow: str | None) -> Reconciler:
        @reconciler(name, follow=follow, backoff=("10ms", "100ms"), resync="1s")
        async def do(context: Context[Any], desired: Level[Any]) -> None:
            if context.attempt == 1 and desired.value:
                raise RetryAfter("10ms")
            world[f"{name}/{context.key}"] = desired.value

        @do.finalizer
        async def undo(context: Context[Any]) -> None:
            del world[f"{name}/{context.key}"]

        return do

    async def until(name: str, value: object) -> None:
        while world.get(name) != value:
            await asyncio.sleep(0.02)  # between two looks; the loop ends by what it sees

    buffers = metric("buffers", 'latest_event_to_state(playerStateChange) == "buffer"', partitions=1)
    followed, bucket = declare("followed", "buffers"), declare("told", None)
    await apply(client, buffers)
    stop = asyncio.Event()
    reconcilers = Reconcilers(client)
    specs = [*reconciler_workers(followed.definition, plan(buffers)), *reconciler_workers(bucket.definition)]
    await ensure_reconcilers(client, specs, continue_as_new_after=3)
    calling = asyncio.create_task(reconcilers.run("followed", "told", stop=stop))
    workers = [spec.worker_id for spec in specs]
    runs: list[Run] = []
    for number in range(6):
        state = "buffer" if number % 2 else "play"
        event = Event("a", number * 1_000_000, (0, 0, number), {"playerStateChange": state})
        await feed(client, buffers, [event])
        await reconcilers.notify("told", "b", number)
        await until("followed/a", state == "buffer")
        await until("told/b", number)
        runs += await _runs(client, workers)
    await reconcilers.delete("told", "b")
    await until("told/b", None)
    await reconcilers.delete("told")
    await ask.delete(client, "buffers")
    await until("followed/a", None)
    runs += await _runs(client, workers)
    stop.set()
    await calling
    return runs


SCENARIOS: dict[str, Callable[[Client], Awaitable[list[Run]]]] = {
    "aggregate": _aggregate,
    "resubscribe": _resubscribe,
    "metrics": _metrics,
    "kept": _kept,
    "sources": _sources,
    "output": _output,
    "history": _history,
    "sink": _sink,
    "reconciler": _reconciler,
    "alert": _alert,
}


async def _runs(client: Client, workflow_ids: Sequence[str]) -> list[Run]:
    return [(w, (await client.get_workflow_handle(w).describe()).run_id or "") for w in workflow_ids]


async def histories_of(client: Client, runs: Sequence[Run]) -> dict[str, WorkflowHistory]:
    """The histories of ``runs``, by the type of the workflow and a number."""
    histories: dict[str, WorkflowHistory] = {}
    for workflow_id, run_id in dict.fromkeys(runs):
        history = await client.get_workflow_handle(workflow_id, run_id=run_id).fetch_history()
        name = history.events[0].workflow_execution_started_event_attributes.workflow_type.name
        number = sum(known.startswith(f"{name}-") for known in histories)
        histories[f"{name}-{number}"] = history
    return histories


def without_places(history: WorkflowHistory) -> str:
    """The history as JSON, without the names of the process and machine that made it."""

    def clean(value: object) -> object:
        if isinstance(value, dict):
            hidden = {k: "" for k in value if k == "stackTrace"}
            hidden |= {
                k: "recorder" for k, v in value.items() if k == "identity" or (k == "name" and "@" in str(v))
            }
            return {k: hidden.get(k) if k in hidden else clean(v) for k, v in value.items()}
        return [clean(item) for item in value] if isinstance(value, list) else value

    return json.dumps(clean(json.loads(history.to_json())), indent=1) + "\n"


def recorded() -> list[Path]:
    """Every recorded history of every release."""
    return sorted([*FOLDER.glob("*/*.json"), *FOLDER.glob("*/*.json.gz")])


def read(file: Path) -> WorkflowHistory:
    """A recorded history; its workflow has the name of the file."""
    text = gzip.decompress(file.read_bytes()).decode() if file.suffix == ".gz" else file.read_text()
    return WorkflowHistory.from_json(file.name.split(".")[0], text)


def _write(folder: Path, name: str, history: WorkflowHistory) -> None:
    text = without_places(history)
    if len(text) < _LARGE:
        (folder / f"{name}.json").write_text(text)
    else:
        (folder / f"{name}.json.gz").write_bytes(gzip.compress(text.encode(), mtime=0))


async def _record_all(folder: Path, scenarios: Sequence[str]) -> None:
    if not scenarios:
        async with cluster() as client:
            histories = await record(client)
        for kind in KINDS:
            # The second run of a worker, where there is one, begins with carried state.
            chosen = max(name for name in histories if name.startswith(f"{kind}-") and name <= f"{kind}-4")
            _write(folder, kind, histories[chosen])
    for scenario in scenarios or SCENARIOS:
        async with cluster() as client:
            histories = await histories_of(client, await SCENARIOS[scenario](client))
        for name, history in histories.items():
            _write(folder, f"{scenario}-{name}", history)


def main(
    release: Annotated[str, typer.Argument(help="The version of the library that runs.")],
    scenario: Annotated[list[str] | None, typer.Option(help="Add only these.")] = None,
) -> None:
    """Record the histories of this release."""
    if release != __version__:
        raise typer.BadParameter(f"the library on the path is {__version__}, not {release}")
    folder = FOLDER / release
    if folder.exists() and not scenario:
        raise typer.BadParameter(f"{folder} is there: what a release has recorded stays as it is")
    folder.mkdir(parents=True, exist_ok=True)
    asyncio.run(_record_all(folder, scenario or ()))


if __name__ == "__main__":
    typer.run(main)
