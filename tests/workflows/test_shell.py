"""The parts around the workflows that need no server."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given, strategies as st

from tests.workflows.cluster import leaf_payloads, metric, worked_example
from timeline_workers.errors import ConnectionFailedError, SettingsError, StateError
from timeline_workers.plan.physical import all_workers, plan
from timeline_workers.process.exit import QUICK_FAILURES, run_children
from timeline_workers.runtime.node_worker import NodeWorker
from timeline_workers.servers.temporal.temporal_client import temporal_target
from timeline_workers.settings.timeline_settings import Settings
from workflows.catalog.render import render_result
from workflows.durable.inbox import Inbox, pack, split, unpack
from workflows.messages import WorkerName

entries = st.lists(st.tuples(st.sampled_from(["state", "ingest", "receive", "stop"]), st.binary(max_size=50)))


@given(entries)
def test_carried_entries_come_back_as_they_were(given: list) -> None:  # type: ignore[type-arg]
    """Packing and unpacking keeps every entry and their order."""
    assert unpack(pack(given)) == given


@given(entries, st.integers(1, 100))
def test_parts_hold_everything_in_order_and_keep_the_limit(given: list, limit: int) -> None:  # type: ignore[type-arg]
    """Splitting loses and reorders nothing, and only a single larger entry passes the limit."""
    parts = list(split(given, limit))
    assert [entry for part in parts for entry in part] == given
    assert all(len(part) == 1 or sum(len(body) for _, body in part) <= limit for part in parts)


@pytest.mark.parametrize("damaged", [b"\x00", b"\x91\x92\xa5other\xc4\x00", b"\x93"])
def test_damaged_carried_state_is_refused(damaged: bytes) -> None:
    """Bytes that are no entries, and entries of an unknown kind, are an error and never half read."""
    with pytest.raises(StateError):
        unpack(damaged)


def test_the_inbox_knows_its_size() -> None:
    """The size is that of the bodies that wait, and nothing after they were taken."""
    inbox = Inbox()
    inbox.put("ingest", b"12345")
    inbox.put("stop", b"")
    assert (len(inbox), inbox.size) == (2, 5)
    assert inbox.take_all() == [("ingest", b"12345"), ("stop", b"")]
    assert (len(inbox), inbox.size) == (0, 0)


def test_the_result_reads_like_the_prototypes() -> None:
    """Leaves and the result worker are named by operator and worker id, one result per partition."""
    planned = plan(metric("m", 'latest_event_to_state(state) == "buffer"', partitions=1))
    leaf, result = [
        WorkerName(
            worker_id=spec.worker_id,
            node=spec.node.name,
            operator=spec.node.operator,
            partition=spec.partition,
            expression=spec.node.expression,
        )
        for spec in all_workers(planned)
    ]
    assert render_result(planned, [leaf], [result]) == (
        "ok({event-processor-workers: "
        f"[leaf-timeline(tl-latest-event-to-state({{worker-id: {leaf.worker_id}}}))], "
        f"result-worker: derived-timeline(equal-to({{worker-id: {result.worker_id}}}))}})"
    )


def test_settings_come_from_the_environment() -> None:
    """Unset and empty variables mean the default."""
    assert Settings.from_env({}) == Settings()
    assert Settings.from_env(
        {"TIMELINE_TASK_QUEUE": "other", "TIMELINE_MAX_CACHED_WORKFLOWS": ""}
    ) == Settings(task_queue="other")


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("TIMELINE_MAX_CACHED_WORKFLOWS", "many"),
        ("TIMELINE_MAX_CACHED_WORKFLOWS", "-1"),
        ("TIMELINE_MESSAGE_BYTES", "12"),
    ],
)
def test_a_wrong_setting_is_named(variable: str, value: str) -> None:
    """The message names the variable and the value."""
    with pytest.raises(SettingsError, match=f"{variable}='{value}'"):
        Settings.from_env({variable: value})


def test_arguments_come_before_temporals_settings(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A command line's address wins; TEMPORAL_ADDRESS and TEMPORAL_NAMESPACE are next."""
    monkeypatch.setenv("TEMPORAL_ADDRESS", "temporal.test:7233")
    monkeypatch.setenv("TEMPORAL_NAMESPACE", "videos")
    assert temporal_target().address == "temporal.test:7233"
    assert temporal_target().namespace == "videos"
    assert temporal_target("other.test:1", "n").address == "other.test:1"
    assert temporal_target("other.test:1", "n").namespace == "n"


def test_without_any_address_the_message_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """No settings and no embedded server is an error that names `timeline dev` and TEMPORAL_ADDRESS."""
    empty = tmp_path_factory.mktemp("empty")
    monkeypatch.delenv("TEMPORAL_ADDRESS", raising=False)
    monkeypatch.setenv("TEMPORAL_CONFIG_FILE", str(empty / "none.toml"))
    monkeypatch.setenv("TIMELINE_DATA_DIR", str(empty))
    with pytest.raises(ConnectionFailedError, match=r"timeline dev.*TEMPORAL_ADDRESS"):
        temporal_target()


def test_a_repeated_step_with_more_loses_nothing() -> None:
    """A child is killed after it has sent, and then sends more under the same number: its parent takes all
    of it.
    """
    buffering = metric("m", 'latest_event_to_state(playerStateChange) == "buffer"', partitions=1)
    leaf_spec, parent_spec = all_workers(plan(buffering))
    events = worked_example("s1")
    first, second = (leaf_payloads(buffering, part)[0][1] for part in (events[:4], events[4:]))
    leaf, parent = NodeWorker(leaf_spec), NodeWorker(parent_spec)
    leaf.subscribe(parent_spec.worker_id, "epoch")
    durable = leaf.snapshot(1 << 20)
    leaf.ingest(first)
    lost = leaf.outgoing(parent_spec.worker_id, 1 << 20)
    assert lost is not None
    parent.receive(lost)

    again = NodeWorker.restore(leaf_spec, durable)
    again.ingest(first)
    again.ingest(second)
    told = again.outgoing(parent_spec.worker_id, 1 << 20)
    assert told is not None
    parent.receive(told)
    parent.receive(lost)  # late, from the process that was killed
    spans = cast(dict[str, Any], parent.ask("spans", {"key": "s1", "start": 0, "end": 60}))["spans"]
    assert [(s["start"], s["end"]) for s in spans if s["value"]] == [(10, 22), (40, 45)]


async def test_one_failing_child_stops_the_others() -> None:
    """It is started again a few times; then its exit code is returned, and no child is left."""
    waiting = [sys.executable, "-c", "import signal; signal.pause()"]
    failing = [sys.executable, "-c", "raise SystemExit(7)"]
    told: list[str] = []
    assert await run_children([waiting, failing], asyncio.Event(), told.append) == 7
    assert len(told) == QUICK_FAILURES - 1
    assert all("exit code 7" in line for line in told)


async def test_a_child_process_that_ends_is_started_again(tmp_path: Path) -> None:
    """As one that was killed, or has run out of memory."""
    script = (
        "import pathlib, signal, sys; again = pathlib.Path(sys.argv[1]);\n"
        "if again.exists(): again.with_name('second').touch(); signal.pause()\n"
        "again.touch(); raise SystemExit(5)"
    )
    stop = asyncio.Event()
    told: list[str] = []
    running = asyncio.create_task(
        run_children([[sys.executable, "-c", script, str(tmp_path / "first")]], stop, told.append)
    )
    async with asyncio.timeout(60):
        while not (tmp_path / "second").exists():
            await asyncio.sleep(0.02)  # between two looks; the loop ends by what it sees
    stop.set()
    assert await running == 0
    assert len(told) == 1


async def test_children_are_stopped_when_asked() -> None:
    """Setting the event ends every child, and that is no failure."""
    stop = asyncio.Event()
    stop.set()
    assert await run_children([[sys.executable, "-c", "import signal; signal.pause()"]] * 2, stop, print) == 0
