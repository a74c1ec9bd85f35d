"""Outputs: what tells others about timelines, how each is, and what was given up of it.

Targets of alerts are outputs, and so are the topics that metrics publish to. Everything here raises
``timeline_workers.errors`` only.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Literal, TypeAlias

from pydantic import BaseModel, ConfigDict
from temporalio.client import Client

from timeline_workers.answers.answer_models import Answer as Row
from timeline_workers.errors import QuestionError
from timeline_workers.metric.model import Metric
from timeline_workers.targets.sending import Answer as Answer
from timeline_workers.targets.target import AnyTarget, Target, place_of
from workflows.catalog.catalog_activities import outputs_of
from workflows.catalog.catalog_workflow import told_by
from workflows.catalog.stored_targets import find_target, known_targets
from workflows.client import ask
from workflows.client.client_errors import clear_errors
from workflows.client.worker_health import Health, examine
from workflows.durable.activities import signal_worker
from workflows.messages import SinkStatus as SinkStatus, TargetResult as TargetResult
from workflows.sinks.running_sinks import sink_statuses, sinks_of

OutputState = Literal["ok", "unused", "paused", "failing", "down"]
Told: TypeAlias = Literal["retry", "pause", "resume"]


class OutputRow(Row):
    """An output. ``what``: its kind, ``to``: where it is; ``waiting``, ``sent``, ``given_up``: messages, None
    where they are not counted; ``cause``: what ails it, None where nothing does.

    ``state`` is ``unused`` for a target that nothing was told yet, ``failing`` for one that does not take
    what it is sent, ``paused`` where somebody has said so, ``down`` where no worker has the output.
    """

    output: str
    what: str
    state: OutputState
    waiting: int | None
    sent: int | None
    given_up: int | None
    to: str
    cause: str | None


class TargetDescription(BaseModel):
    """A target, and how its sinks are, one for each partition of the rules that name it; ``rules``: those."""

    model_config = ConfigDict(frozen=True)

    target: AnyTarget
    rules: tuple[str, ...]
    sinks: tuple[SinkStatus, ...]

    @property
    def row(self) -> OutputRow:
        """What `timeline outputs get` shows of it."""
        return _row_of(self.target, self.sinks)


async def outputs(client: Client) -> list[OutputRow]:
    """All outputs: targets by name, then the topics that metrics publish to."""
    targets = await known_targets(client)
    async with clear_errors(client):
        statuses = await sink_statuses(client)
        rows = [_row_of(one, [s for s in statuses if s.target == one.name]) for one in targets]
        metrics = [entry.metric for entry in await ask.registered(client)]
        return rows + [await _topic_row(client, one) for one in metrics if one.output is not None]


async def describe_output(client: Client, name: str) -> TargetDescription:
    """A target, and how its sinks are. Raises UnknownNameError."""
    target = await find_target(client, name)
    async with clear_errors(client):
        rules = [entry.metric.name for entry in await ask.registered(client) if name in told_by(entry.metric)]
        return TargetDescription(
            target=target, rules=tuple(sorted(rules)), sinks=tuple(await sink_statuses(client, name))
        )


async def tell_output(client: Client, name: str, what: Told) -> int:
    """Have the sinks of a target try again now, pause, or go on; how many there are. Raises UnknownNameError,
    and QuestionError where there is none."""
    await find_target(client, name)
    async with clear_errors(client):
        told = [await signal_worker(client, one, what) for one in await sinks_of(client, name)]
    if not any(told):
        raise QuestionError(f"nothing was told target {name!r} yet, so there is nothing to {what}")
    return sum(told)


def _row_of(target: Target, sinks: Sequence[SinkStatus]) -> OutputRow:
    state: OutputState = "ok" if sinks else "unused"
    causes = [f"{one.worker_id}: {one.last_failure}" for one in sinks if one.failures]
    causes += [
        f"{one.worker_id}: {one.lost} given up for good: no broker took them" for one in sinks if one.lost
    ]
    if causes:
        state = "failing"
    elif any(one.paused for one in sinks):
        state = "paused"
    return OutputRow(
        output=target.name,
        what=target.what,
        state=state,
        waiting=sum(one.waiting for one in sinks),
        sent=sum(one.sent for one in sinks),
        given_up=sum(one.given_up for one in sinks),
        to=place_of(target),
        cause=causes[0] if causes else None,
    )


async def _topic_row(client: Client, metric: Metric) -> OutputRow:
    assert metric.output is not None
    specs = await asyncio.to_thread(outputs_of, metric)
    found = await examine(client, [spec.worker_id for spec in specs])
    ill = [one for one in found if one.cause is not None]
    return OutputRow(
        output=metric.name,
        what="topic",
        state=_state_of(ill),
        waiting=None,
        sent=None,
        given_up=None,
        to=metric.output.topic,
        cause=f"{ill[0].worker_id}: {ill[0].cause}" if ill else None,
    )


def _state_of(ill: Sequence[Health]) -> OutputState:
    if not ill:
        return "ok"
    return "down" if any(one.state == "down" for one in ill) else "failing"
