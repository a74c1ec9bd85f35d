"""Sinks on real servers: kills of worker processes and of the target, dead letters, and the commands."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pulsar
import pytest
from temporalio.client import Client
from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy

from deploy.cluster_ports import free_ports
from tests.integration.stack import Stack, eventually, running_stack
from tests.targets.receivers import SECRET, Receiver, http_receiver, parcel
from timeline_workers.alerts.sink_messages import SinkBatch, SinkMessage, pack_sink_batch, sink_id
from timeline_workers.client import TimelineClient
from timeline_workers.servers.pulsar.pulsar_client import connect as connect_pulsar
from timeline_workers.targets.target_files import load_target
from workflows.messages import SinkInput

pytestmark = pytest.mark.integration
VARIABLE = "SINK_TEST_SECRET"


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    os.environ[VARIABLE] = SECRET
    with running_stack(tmp_path_factory.mktemp("sinks")) as made:
        made.start_worker()
        yield made
    del os.environ[VARIABLE]


async def client_of(stack: Stack) -> TimelineClient:
    return TimelineClient(await stack.temporal())


async def take(temporal: Client, target: str, first: int, *told: SinkMessage) -> None:
    """As the worker of a rule does it."""
    await temporal.start_workflow(
        "Sink",
        args=[SinkInput(target=target, partition="p0"), b""],
        id=sink_id(target, "p0"),
        task_queue="timeline",
        id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
        id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
        start_signal="take",
        start_signal_args=[pack_sink_batch(SinkBatch("alert-r.p0", first, told))],
    )


def receiver_process(port: int, file: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.targets.receiver_process", str(port), str(file)],
        stdin=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


async def test_kills_of_worker_and_target_lose_and_double_nothing(stack: Stack, tmp_path: Path) -> None:
    """An idempotent receiver has each message once, though both sides are killed while they send."""
    client = await client_of(stack)
    (port,) = free_ports(1)
    file = tmp_path / "taken"
    await client.apply_target(
        load_target(
            {
                "kind": "target",
                "name": "killed",
                "what": "webhook",
                "url": f"http://127.0.0.1:{port}/",
                "secret": {"env": VARIABLE},
            }
        )
    )
    receiver = receiver_process(port, file)
    told = [parcel(f"k{number}").told for number in range(240)]
    expected = sorted(f"{one.message.episode}/{one.message.seq}" for one in told)
    try:
        for turn in range(6):
            some = told[40 * turn : 40 * turn + 40]
            await take(client.temporal, "killed", 1 + 40 * turn, *some)
            if turn % 2:
                stack.stop("worker", signal.SIGKILL)
                stack.start_worker()
            else:
                receiver.kill()
                receiver.wait()
                receiver = receiver_process(port, file)

        def taken() -> list[str]:
            return sorted(file.read_text().split()) if file.exists() else []

        async def has_all() -> bool:
            with contextlib.suppress(Exception):  # nobody may answer just after a kill
                await client.tell_output("killed", "retry")
            return len(taken()) >= len(expected)

        await eventually(has_all)
        assert taken() == expected

        async def is_empty() -> bool:
            (sink,) = (await client.describe_output("killed")).sinks
            return (sink.waiting, sink.sent, sink.given_up) == (0, len(expected), 0)

        await eventually(is_empty)
    finally:
        receiver.kill()
        receiver.wait()


async def test_what_is_refused_can_be_sent_again(stack: Stack, tmp_path: Path) -> None:
    """By the commands, as a person does it."""
    client = await client_of(stack)
    receiver = Receiver()
    receiver.answer = lambda name: (404, {})
    async with http_receiver(receiver) as url:
        file = tmp_path / "pager.yaml"
        file.write_text(
            f"kind: target\nname: pager\nwhat: webhook\nurl: {url}/hook\nsecret: {{env: {VARIABLE}}}\n"
        )

        async def run(*arguments: str) -> subprocess.CompletedProcess[str]:
            return await asyncio.to_thread(stack.run, "timeline_workers", *arguments)

        applied = await run("apply", str(file))
        assert applied.stderr == "target pager is new\n", applied.stderr
        tested = await run("outputs", "test", "pager")
        assert (tested.returncode, tested.stderr) == (
            1,
            "target pager refuses a test message: 404 Not Found: 404 of /hook\n",
        )
        messages = [parcel("a").told, parcel("b").told]
        await take(client.temporal, "pager", 1, *messages)
        await take(client.temporal, "pager", 3, parcel("a", 2, "moved").told)

        async def is_given_up() -> bool:
            (sink,) = (await client.describe_output("pager")).sinks
            return (sink.given_up >= 2, sink.waiting, sink.letters) == (True, 0, 0)

        await eventually(is_given_up)
        shown = await run("deadletter", "show", "timeline-target-pager")
        letters = [json.loads(line) for line in shown.stdout.splitlines()]
        assert {one["key"] for one in letters} == {"a", "b"}
        assert {(one["reason"], one["message"], one["metrics"]) for one in letters} == {
            ("given-up", "404 Not Found: 404 of /hook", "stalled")
        }
        refused = await run("deadletter", "replay", "timeline-target-pager", "--all", "--yes")
        assert "timeline outputs retry pager --given-up" in refused.stderr
        receiver.answer = lambda name: (200, {})
        receiver.taken.clear()
        again = await run("outputs", "retry", "pager", "--given-up")
        assert again.stderr == "2 messages of target pager will be sent once more\n"

        async def is_taken() -> bool:
            return len(receiver.taken) == 2

        await eventually(is_taken)
        assert set(receiver.taken) == {parcel("a", 2).name, parcel("b").name}
        once = await run("outputs", "retry", "pager", "--given-up")
        assert once.stderr == "0 messages of target pager will be sent once more\n"
        listed = await run("outputs", "get")
        assert listed.returncode == 0, listed.stderr
        assert all(len(line) <= 80 for line in listed.stdout.splitlines())
        assert "pager" in listed.stdout
        described = await run("outputs", "describe", "pager")
        assert f"url: {url}/hook" in described.stdout
        assert "sink-pager.p0" in described.stdout
        assert (await run("delete", "pager")).stdout == "target pager is removed\n"
        assert (await run("outputs", "describe", "pager")).returncode == 2
    assert not [one for one in await client.outputs() if one.output == "pager"]


async def test_a_topic_has_each_message(stack: Stack) -> None:
    """Under its key, with episode and number beside it; a killed worker process loses none."""
    client = await client_of(stack)
    await client.apply_target(
        load_target({"kind": "target", "name": "log", "what": "pulsar", "topic": "alerts-told"})
    )
    told = [parcel(f"k{number}").told for number in range(60)]
    await take(client.temporal, "log", 1, *told[:30])
    stack.stop("worker", signal.SIGKILL)
    stack.start_worker()
    await take(client.temporal, "log", 31, *told[30:])

    async def is_sent() -> bool:
        with contextlib.suppress(Exception):  # nobody may answer just after a kill
            (sink,) = (await client.describe_output("log")).sinks
            return sink.sent == len(told)
        return False

    await eventually(is_sent)

    def read() -> list[pulsar.Message]:
        broker = connect_pulsar(stack.addresses.pulsar, quiet=True)
        reader, found = broker.create_reader("alerts-told", pulsar.MessageId.earliest), []
        with contextlib.suppress(pulsar.Timeout):
            while True:
                found.append(reader.read_next(500))
        broker.close()
        return found

    found = await asyncio.to_thread(read)
    names = {f"{one.properties()['episode']}/{one.properties()['seq']}" for one in found}
    assert names == {f"{one.message.episode}/1" for one in told}
    first = found[0]
    event = json.loads(first.data())
    assert (event["subject"], event["id"]) == (first.partition_key(), f"{first.properties()['episode']}/1")
