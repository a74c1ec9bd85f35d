"""Signals that no part of ours has sent: garbage, and well-formed ones that are wrong."""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import Any

from temporalio.client import Client, WorkflowUpdateFailedError
from temporalio.service import RPCError

from tests.chaos.ending_acts import until_archived
from tests.chaos.faults import GARBAGE, forge
from tests.chaos.scene import Act, Course, Scene
from workflows.messages import CATALOG_ID, HoldInput, SubscribeInput

KINDS = ("leaf", "derived", "result", "fused", "aggregate", "archive", "catalog")


async def _signal(client: Client, workflow: str, name: str, *payload: Any) -> None:
    await client.get_workflow_handle(workflow).signal(name, args=list(payload))


async def garbage(course: Course) -> None:
    """Every signal of every kind of workflow, with things that are none."""
    await until_archived(course)
    rng = random.Random(course.seed)
    for kind in KINDS:
        await forge(course.client, course.of_kind(kind), rng)
    for update in ("register", "remove", "confirm"):
        for payload in GARBAGE:
            try:
                await course.client.get_workflow_handle(CATALOG_ID).execute_update(update, payload)
            except (WorkflowUpdateFailedError, RPCError):
                continue


async def _payloads(client: Client, workflow: str, name: str) -> list[bytes]:
    """What the workflow's run has been sent by signal ``name``."""
    found = []
    async for event in client.get_workflow_handle(workflow).fetch_history_events():
        if event.HasField("workflow_execution_signaled_event_attributes"):
            signal = event.workflow_execution_signaled_event_attributes
            if signal.signal_name == name:
                found += await client.data_converter.decode(signal.input.payloads, [bytes])
    return found


async def again(course: Course) -> None:
    """What workers were told in earnest, told again: to themselves, and to others that it is not for."""
    leaves = [w for w in course.workers_of(course.planned("cirr")) if w == course.leaf()]
    derived = [w for w in course.workers_of(course.planned("cirr")) if w not in leaves][-3:]
    told = {w: await _payloads(course.client, w, "ingest") for w in leaves}
    heard = {w: await _payloads(course.client, w, "receive") for w in derived}
    for worker, payloads in told.items():
        await _all(course, [worker], "ingest", payloads[-20:])
    for payloads in heard.values():
        await _all(course, derived, "receive", payloads[-10:])
        await _all(course, leaves, "ingest", payloads[-3:])
    for payloads in told.values():
        await _all(course, derived, "receive", payloads[-3:])
        await _all(course, [course.result("by-cdn")], "store", payloads[-3:])


async def _all(course: Course, workers: Iterable[str], name: str, payloads: Iterable[bytes]) -> None:
    for worker in workers:
        for payload in payloads:
            await _signal(course.client, worker, name, payload)


async def strangers(course: Course) -> None:
    """Names that nobody has, where a name is asked for."""
    for kind in ("leaf", "derived", "fused", "aggregate"):
        worker = course.of_kind(kind)
        for name in ("unsubscribe", "resubscribe", "attach", "detach"):
            await _signal(course.client, worker, name, "nobody")
        await _signal(course.client, worker, "subscribe", SubscribeInput(subscriber="nobody", epoch="1"))
        await _signal(course.client, worker, "hold", HoldInput(subscriber="nobody", held=True))


async def unsubscribed(course: Course) -> None:
    """A leaf is told that a worker that reads it does not."""
    await _signal(course.client, course.leaf(), "unsubscribe", await _reader(course))


async def held(course: Course) -> None:
    """A leaf is told to send nothing to a worker that reads it, for now."""
    hold = HoldInput(subscriber=await _reader(course), held=True)
    await _signal(course.client, course.leaf(), "hold", hold)


async def _reader(course: Course) -> str:
    status = await course.client.get_workflow_handle(course.leaf()).query("status")
    return str(status["edges"][0]["subscriber"])


def _of_leaf(course: Course) -> list[str]:
    return [p.metric.name for p in course.plans if course.leaf() in course.workers_of(p)]


SCENE = Scene(
    name="forged",
    about="signals that no part of ours has sent",
    acts=(
        Act("garbage", "every signal and update of every kind of workflow, with garbage", garbage, hold=8),
        Act("again", "what workers were sent, sent again, also to others", again, hold=8),
        Act("strangers", "names of workers that do not exist", strangers, hold=8),
        Act(
            "unsubscribed",
            "a leaf is told to close the edge to a worker that reads it",
            unsubscribed,
            Course.apply,
            operator="`timeline apply` of the metrics",
        ),
        Act(
            "held",
            "a leaf is told to hold back what a worker reads",
            held,
            Course.apply,
            operator="`timeline apply` of the metrics",
        ),
    ),
    # What is forged is refused, and counted.
    counts=False,
)
