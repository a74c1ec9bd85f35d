"""Watching a node: a question asked again whenever its workers have taken something, and what changed of it.

A worker says in its ``status`` how much it has taken (its runs, and what was applied in this one), so that
a worker nothing has come to costs one query each time and no more.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator, Hashable, Mapping, Sequence
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from timeline_workers.answers.answer_models import Change, Spans, ValueAt
from timeline_workers.errors import Code, QuestionError, UnknownNameError
from timeline_workers.events.times import question_time
from timeline_workers.metric.model import TimeUnit
from timeline_workers.plan.physical import Plan, is_global, plan, worker_name
from workflows.client import ask
from workflows.client.ask_worker import ask_status

from .models import Key, Question, now_in, question

if TYPE_CHECKING:
    from .timeline_client import TimelineClient

_MILLION = 1_000_000


class Watch:
    """One watch of a node. ``asked`` None: the value at the present instant, narrowed by ``narrowed``."""

    def __init__(
        self,
        client: TimelineClient,
        metric: str,
        keys: Sequence[Key] | None,
        asked: Question | None,
        narrowed: Mapping[str, Any],
        interval: float,
    ) -> None:
        if not interval > 0 or not math.isfinite(interval):
            raise QuestionError(f"interval={interval!r}: a watch looks every so many seconds; give some")
        self._client, self._metric, self._interval = client, metric, interval
        self._keys = None if keys is None else list(keys)
        self._now = asked is None
        self._narrowed = dict(narrowed)
        self._asked = (
            None
            if asked is None
            else asked.model_copy(
                update={name: value for name, value in narrowed.items() if value is not None}
            )
        )
        self._taken: dict[str, Hashable] = {}
        self._known: dict[Hashable, Hashable] = {}
        self._until: float = math.inf

    async def answers(self) -> AsyncGenerator[ValueAt | Spans | Change, None]:
        """All answers, then those that have changed."""
        while True:
            planned = plan(await self._client.metric(self._metric))
            for answer in await self._changed(planned):
                yield answer
            await asyncio.sleep(self._interval)  # between two looks

    async def _changed(self, planned: Plan) -> list[ValueAt | Spans | Change]:
        unit = self._narrowed.get("unit") or planned.metric.source.time_unit
        taken = await self._progress(planned)
        if taken == self._taken and not self._has_ended(unit):
            return []
        asked = self._asked or question("value_at", **{**self._narrowed, "at": now_in(unit), "unit": unit})
        found: list[ValueAt | Spans | Change] = []
        if self._keys is None:
            found = [answer async for answer in self._client.ask_planned(planned, asked)]
        else:
            for key in self._keys:
                try:
                    found += [answer async for answer in self._client.ask_planned(planned, asked, [key])]
                except UnknownNameError as error:
                    if error.code not in (Code.UNKNOWN_KEY, Code.KEY_MAY_HAVE_LEFT):
                        raise
        self._taken = taken  # what comes between the two questions is seen at the next look
        self._until = min((_ends(answer, unit) for answer in found if self._now), default=math.inf)
        return [answer for answer in found if self._is_new(answer, unit)]

    def _is_new(self, answer: ValueAt | Spans | Change, unit: TimeUnit) -> bool:
        name = (type(answer.key), answer.key, answer.aggregate)
        if not self._now or not isinstance(answer, ValueAt):
            at = answer.at if isinstance(answer, ValueAt) else (answer.start, answer.end)
            name = (*name, at)  # type: ignore[assignment]
        said = _piece(answer, unit) if self._now else answer.model_dump_json()
        if self._known.get(name) == said:
            return False
        self._known[name] = said
        return True

    def _has_ended(self, unit: TimeUnit) -> bool:
        """Whether a piece that was told of has come to its end, with nothing new."""
        return self._now and question_time(now_in(unit), unit) >= self._until

    async def _progress(self, planned: Plan) -> dict[str, Hashable]:
        """How much each worker of the node has taken."""
        node = ask.find_node(planned, self._narrowed.get("node") if self._asked is None else self._asked.node)
        name = worker_name(planned, node)
        workers = [
            w for w in await ask.running_workers(self._client.temporal, planned) if w.startswith(f"{name}.")
        ]
        if self._keys is not None:
            meant = (key for one in self._keys for key in ask.keys_meant(one, group=is_global(node)))
            asked = {ask.worker_of(planned, node, key) for key in meant}
            workers = [worker for worker in workers if worker in asked]
        found = await ask.gather([lambda w=w: self._one(w) for w in workers])  # type: ignore[misc]
        return dict(zip(workers, found, strict=True))

    async def _one(self, worker: str) -> Hashable:
        status = await ask_status(self._client.temporal, worker)
        return status.runs, status.applied_in_run, status.archived_keys


def _ends(answer: ValueAt | Spans | Change, unit: TimeUnit) -> float:
    until = answer.until if isinstance(answer, ValueAt) else None
    return math.inf if until is None else question_time(until, unit)


def _piece(answer: ValueAt | Spans | Change, unit: TimeUnit) -> Hashable:
    """What stays the same as long as time only goes on in a piece: where it began and its value there."""
    assert isinstance(answer, ValueAt)
    value: Hashable = answer.value
    if answer.slope and answer.since is not None and isinstance(answer.value, int | float):
        passed = question_time(answer.at, unit) - question_time(answer.since, unit)
        began = Fraction(answer.value) - Fraction(answer.slope) * passed / _MILLION
        value = round(float(began), 6)  # answers are rounded to what a float holds
    health = None if answer.health is None else answer.health.state
    kind = "number" if answer.slope else type(value).__name__
    return kind, value, answer.since, answer.until, answer.slope, health
