"""Status of a reconciler's worker and of its keys: models that are read and shown."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel, ConfigDict

from timeline_workers.columns.key_table import Key
from timeline_workers.columns.rows import FOREVER
from timeline_workers.events.times import from_microseconds

from .calls import State
from .definition import Definition
from .key_group import KeyGroup
from .reconciled_key import KeyState, conditions, finalizer_waits


class Said(BaseModel):
    """Base: unknown fields are those of a later release."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class ConditionSaid(Said):
    """A condition as Kubernetes writes it."""

    type: str
    status: str
    reason: str
    message: str = ""


class LevelSaid(Said):
    """A desired state; times in the unit of the source."""

    value: Any
    since: int | float | str | None = None
    until: int | float | str | None = None
    final: bool = False


class KeySaid(Said):
    """What is known of a key. ``running_since``, ``next_try``: microseconds since 1970, None: there is none.
    ``observed``: the generation that was reconciled last; ``waits``: what a key that leaves waits for;
    ``batch``: the activity that calls it; ``lease_holder``: the process; ``workflow``: where its history is.
    """

    key: Key
    partition: str = ""
    workflow: str = ""
    desired: LevelSaid | None = None
    generation: int
    observed: int
    cache: Any = None
    token: int = 0
    attempt: int = 0
    failures: int = 0
    running_since: int | None = None
    next_try: int | None = None
    error: str = ""
    leaving: bool = False
    waits: str = ""
    batch: str | None = None
    lease_holder: str | None = None
    conditions: tuple[ConditionSaid, ...] = ()

    @property
    def state(self) -> str:
        """Its conditions in a word."""
        held = [one.type for one in self.conditions if one.status == "True"]
        word = "Stalled" if "Stalled" in held else "Leaving" if self.leaving else held[0] if held else "Waits"
        return f"{word}, Paused" if "Paused" in held and word != "Paused" else word


class GroupSaid(Said):
    """A worker in numbers. ``paused``: all of it; ``forced``: keys that were forgotten without finalizer."""

    worker_id: str
    partition: str
    keys: int = 0
    ready: int = 0
    stalled: int = 0
    failing: int = 0
    leaving: int = 0
    running: int = 0
    paused_keys: int = 0
    paused: bool = False
    ending: bool = False
    calls: int = 0
    forced: tuple[str, ...] = ()
    error: str = ""


class KeyPage(Said):
    """Some keys of a worker; ``next``: what to ask for as ``after`` to get more, None: that is all."""

    keys: tuple[KeySaid, ...]
    next: int | None = None


def group_said(worker_id: str, partition: str, group: KeyGroup, ending: bool) -> GroupSaid:
    """The numbers of ``group``."""
    states = [held for _, held in group.states()]
    errors = [held.error for held in states if held.error]
    return GroupSaid(
        worker_id=worker_id,
        partition=partition,
        keys=len(states),
        ready=sum(next(conditions(held)).holds for held in states),
        stalled=sum(held.stalled for held in states),
        failing=sum(bool(held.failures) and not held.stalled for held in states),
        leaving=sum(held.leaving for held in states),
        running=sum(held.running_since is not None for held in states),
        paused_keys=sum(held.paused for held in states),
        paused=group.paused,
        ending=ending,
        calls=group.calls_made,
        forced=tuple(group.forced),
        error=errors[-1] if errors else "",
    )


def key_said(key: Key, held: KeyState, group: KeyGroup, definition: Definition) -> KeySaid:
    """What is known of a key."""
    next_try = held.due if held.dirty and not held.stalled else held.wake
    batch = group.under_way(key)
    return KeySaid(
        key=key,
        desired=None if held.desired is None else level_said(held.desired, definition.unit),
        generation=held.generation,
        observed=held.observed,
        cache=_plain(held.cache),
        token=held.token,
        attempt=held.attempt,
        failures=held.failures,
        running_since=held.running_since,
        next_try=None if held.running_since is not None or held.stalled else next_try,
        error=held.error,
        leaving=held.leaving,
        waits=finalizer_waits(held) if held.leaving else "",
        batch=None if batch is None else f"calls-{batch}",
        conditions=tuple(
            ConditionSaid(type=c.type, status=str(c.holds), reason=c.reason, message=c.message)
            for c in conditions(held, group.paused)
        ),
    )


def level_said(desired: State, unit: str) -> LevelSaid:
    """A state with its times in ``unit``."""
    since, until = (
        None if t is None or not -FOREVER < t < FOREVER else from_microseconds(t, unit)
        for t in (desired.since, desired.until)
    )
    return LevelSaid(value=desired.value, since=since, until=until, final=desired.final)


def page_of(
    worker_id: str, partition: str, group: KeyGroup, definition: Definition, after: int, limit: int, only: str
) -> KeyPage:
    """Up to ``limit`` keys from place ``after`` on; ``only``: those that are not ready (``ill``), or all."""
    states: Iterable[tuple[Key, KeyState]] = list(group.states())
    if only == "ill":
        states = [(key, held) for key, held in states if not next(conditions(held)).holds]
    states = list(states)
    said = [
        key_said(key, held, group, definition).model_copy(
            update={"partition": partition, "workflow": worker_id}
        )
        for key, held in states[after : after + limit]
    ]
    return KeyPage(keys=tuple(said), next=after + limit if after + limit < len(states) else None)


def _plain(cache: bytes | None) -> Any:
    if cache is None:
        return None
    try:
        return json.loads(cache)
    except ValueError:
        return cache.decode(errors="replace")
