"""With keys given, a Temporal server keeps nothing that it could read: on the real dev server."""

from __future__ import annotations

import asyncio
import base64
import json
import random
import shutil
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
import zstandard
from google.protobuf.message import Message
from temporalio.client import Client, WorkflowFailureError
from temporalio.testing import WorkflowEnvironment

from tests.access.payloads import everything_kept, payloads
from tests.integration.stack import eventually
from tests.oracle.events import Event
from tests.workflows.cluster import SECOND, feed, result_workers, status, until_everything_arrived
from timeline_workers.errors import CodecError, QuestionError
from timeline_workers.metric.model import Metric, Source
from timeline_workers.plan.physical import plan
from timeline_workers.servers.temporal.temporal_client import connect
from timeline_workers.settings.timeline_settings import Settings
from workflows.client import ask
from workflows.client.worker_health import cause_of
from workflows.durable.carry import KEPT_TOGETHER
from workflows.messages import DriverInput
from workflows.worker import ACTIVITIES, build_worker

pytestmark = pytest.mark.integration


def key(name: str, fill: int) -> str:
    return f"{name}:{base64.b64encode(bytes([fill] * 32)).decode()}"


OLD, NEW = key("2026-05", 1), key("2026-11", 2)
SECRETS = [b"viewer-of-great-renown", b"stateOfPlayer", b"watching-in-secret", b"topic-nobody-knows"]
METRIC = Metric(
    name="watching",
    source=Source.model_validate(
        {"topic": "topic-nobody-knows", "key": "id", "time": "t", "columns": {"stateOfPlayer": "string"}}
    ),
    expression='duration_where(latest_event_to_state(stateOfPlayer) == "watching-in-secret" '
    '|| has_existed_within(stateOfPlayer == "watching-in-secret", 5s))',
)


LARGE = 1_000  # sessions whose names do not compress: a state that is too large for a run's input


def events(others: int) -> list[Event]:
    """The secret session and others with long names."""
    rng = random.Random(1)
    names = ["viewer-of-great-renown", *(rng.randbytes(480).hex() for _ in range(others))]
    said = [(name, at) for at in (10, 20) for name in names]
    return [
        Event(
            key=name,
            time=at * SECOND,
            columns={"stateOfPlayer": "watching-in-secret" if at == 10 else "idle"},
            position=(0, 0, i),
        )
        for i, (name, at) in enumerate(said)
    ]


@asynccontextmanager
async def server() -> AsyncIterator[str]:
    async with await WorkflowEnvironment.start_local(
        dev_server_existing_path=shutil.which("temporal"), dev_server_log_level="error"
    ) as environment:
        yield environment.client.service_client.config.target_host


async def value(client: Client, at: int) -> Any:
    question = {"key": "viewer-of-great-renown", "at": at}
    return (await ask.ask_worker(client, result_workers(METRIC)[0], "value_at", question))["value"]


async def run_everything(client: Client, others: int = 3) -> None:
    """Apply, feed, ask, continue as new, refuse a metric and a question."""
    sent = events(others)
    async with build_worker(client, Settings()):
        await ask.apply(client, METRIC)
        await feed(client, METRIC, sent, batch=300)
        await until_everything_arrived(client, METRIC, sent)
        assert await value(client, 15) == 5
        with pytest.raises(QuestionError, match="nobody-called-so"):
            await ask.ask_worker(
                client, result_workers(METRIC)[0], "value_at", {"key": "nobody-called-so", "at": 1}
            )
        wrong = METRIC.model_copy(
            update={"name": "wrong", "expression": "stateOfPlayer == watching-in-secret"}
        )
        with pytest.raises(WorkflowFailureError):
            await client.execute_workflow(
                "TimelineDriver", DriverInput(metric=wrong), id="wrong", task_queue=Settings().task_queue
            )
        await continue_all(client)
        assert await value(client, 15) == 5


async def continue_all(client: Client) -> None:
    """Have every worker begin a new run, and wait until each answers from it."""
    for node in plan(METRIC).nodes:
        worker = f"{node.name}.p0"
        before = (await status(client, worker))["runs"]
        await client.get_workflow_handle(worker).signal("continue_as_new")
        while (await status(client, worker))["runs"] == before:
            await asyncio.sleep(0.05)  # between two looks; the loop ends by what it sees


def readable(kept: list[Message]) -> set[bytes]:
    """Which of the secrets stand in what the server has, also where it is compressed."""
    found = [message.SerializeToString() for message in kept]
    for message in kept:
        for _, payload in payloads(message):
            with suppress(zstandard.ZstdError):
                found.append(zstandard.decompress(payload.data))
    return {secret for secret in SECRETS if any(secret in each for each in found)}


async def test_a_server_can_read_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every payload of every history is encrypted with the first key, and no secret stands anywhere."""
    monkeypatch.setenv("TIMELINE_CODEC_KEYS", f"{NEW},{OLD}")
    async with server() as address:
        client = await connect(address)
        await run_everything(client, LARGE)
        kept = await everything_kept(client, runs=12)
    assert readable(kept) == set()
    seen: Counter[str] = Counter()
    for message in kept:
        for place, payload in payloads(message):
            if "marker_recorded_event_attributes.details[data]" in place:
                # Written by the SDK for itself: the number, type, and times of a local activity.
                found = json.loads(payload.data)
                assert found["activity_type"] in {activity.__name__ for activity in ACTIVITIES}
                assert found.keys() <= {
                    "seq", "attempt", "activity_id", "activity_type", "complete_time", "backoff",
                    "original_schedule_time", "activation_index",
                }  # fmt: skip
                continue
            if "marker_recorded_event_attributes.details[patch-data]" in place:
                # Written by the SDK, too: which change of our code a run began after.
                assert json.loads(payload.data) == {"id": KEPT_TOGETHER, "deprecated": False}
                continue
            assert payload.metadata["encoding"] == b"binary/encrypted", place
            assert payload.metadata["encryption-key-id"] == b"2026-11"
            seen[place.rsplit("[", 1)[0]] += 1
    for place in (
        "workflow_execution_started_event_attributes.input",
        "workflow_execution_started_event_attributes.memo.fields",
        "workflow_execution_signaled_event_attributes.input",
        "activity_task_scheduled_event_attributes.input",  # also the state that one run leaves for the next
        "activity_task_completed_event_attributes.result",
        "activity_task_failed_event_attributes.failure.encoded_attributes",
        "workflow_execution_failed_event_attributes.failure.encoded_attributes",
        "workflow_execution_update_accepted_event_attributes.accepted_request.input.args",
        "user_metadata.summary",
        "user_metadata.details",
        "execution_config.user_metadata.summary",
    ):
        assert any(place in found for found in seen), (place, seen)


async def test_without_keys_a_server_can_read_it_all() -> None:
    """The search above finds what is there to be found."""
    async with server() as address:
        client = await connect(address)
        await run_everything(client)
        kept = await everything_kept(client, runs=12)
    assert readable(kept) == set(SECRETS)


async def test_keys_change_while_workflows_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """From plain payloads to a key, to the next key: every worker goes on, and each answers as before; a
    process that lacks a key names it.
    """
    async with server() as address:
        client = await connect(address)
        await run_everything(client)
        for keys in (OLD, f"{OLD} {NEW}", f"{NEW} {OLD}"):
            monkeypatch.setenv("TIMELINE_CODEC_KEYS", keys)
            client = await connect(address)
            async with build_worker(client, Settings(max_cached_workflows=0)):  # each task reads it all
                assert await value(client, 15) == 5
                await continue_all(client)
                assert await value(client, 15) == 5
        async with build_worker(client, Settings()):
            monkeypatch.setenv("TIMELINE_CODEC_KEYS", key("2027-01", 3))
            stranger = await connect(address)
            with pytest.raises(CodecError, match=r"'2026-11'.*given are 2027-01; add it to TIMELINE_CODEC"):
                await value(stranger, 15)
            monkeypatch.delenv("TIMELINE_CODEC_KEYS")
            stranger = await connect(address)
            with pytest.raises(
                CodecError, match=r"'2026-11', and no keys are given here; set TIMELINE_CODEC"
            ):
                await value(stranger, 15)


async def test_a_worker_without_the_key_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Events that are sent encrypted to workers that have no key wait, what fails says which key is missing,
    and with the key they are applied.
    """
    async with server() as address:
        client = await connect(address)
        async with build_worker(client, Settings()):
            await ask.apply(client, METRIC)
            await feed(client, METRIC, events(1)[:1])
            await until_everything_arrived(client, METRIC, events(1)[:1])
            monkeypatch.setenv("TIMELINE_CODEC_KEYS", OLD)
            sender = await connect(address)
            await feed(sender, METRIC, events(1)[1:])
            (leaf, *_) = (node.name for node in plan(METRIC).nodes if node.is_leaf)

            async def told() -> bool:
                cause = await cause_of(client, f"{leaf}.p0")
                return cause is not None and "'2026-05', and no keys are given here" in cause

            await eventually(told)
        async with build_worker(sender, Settings()):
            await until_everything_arrived(sender, METRIC, events(1))
            assert await value(sender, 15) == 5
            assert (await status(sender, f"{leaf}.p0"))["refused"] == 0
