"""Trials of reconcilers: events step by step, and the calls that are expected, on a virtual clock.

The function itself is not called: a trial says which of its calls fail. Example::

    kind: reconciler-test
    metric: metric.yaml          # beside this file
    reconciler: {when: final, backoff: [1s, 5m], resync: 10m}
    steps:
      - at: 70                   # how late it is, in the unit of the source; events are published then
        events:
          - {card: c1, timestamp: 60, amount: 2000}
        fails: {c1: 1}           # so many of its next calls fail
        calls:
          - {key: c1, value: true}
      - at: 72
        calls: [{key: c1, value: true, attempt: 2}]
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator

from timeline_workers.errors import MetricError, ReconcilerError, RuleError
from timeline_workers.events.times import question_time
from timeline_workers.language.canonical import to_text
from timeline_workers.language.durations import parse_duration
from timeline_workers.language.parser import parse
from timeline_workers.metric.load import CALLS_TRIAL, load_metric, read_yaml, validated
from timeline_workers.metric.model import Metric
from timeline_workers.reconcilers.calls import Call, Ending, Outcome
from timeline_workers.reconcilers.definition import Definition
from timeline_workers.reconcilers.key_group import KeyGroup
from timeline_workers.reconcilers.levels import Levels
from timeline_workers.reconcilers.reconciler_declaration import define

from .trial_files import as_text
from .virtual_source import VirtualSource

EXPECTED: Final = ("key", "value", "attempt", "final")
"""What may be said of a call that is expected."""


class ExpectedCall(BaseModel):
    """A call that is expected; what is not said of it may be anything."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: str | int
    value: Any = None
    attempt: int | None = None
    final: bool | None = None

    def fits(self, call: Call) -> bool:
        """Whether ``call`` is what is meant."""
        desired = call.desired
        value, final = (None, False) if desired is None else (desired.value, desired.final)
        return (
            (call.key, type(value), value) == (self.key, type(self.value), self.value)
            and self.attempt in (None, call.attempt)
            and self.final in (None, final)
        )


class CallsStep(BaseModel):
    """What happens at ``at``: first what lies between it and the step before, then ``events``, in order.
    ``calls``: all that are made of both; ``fails``: how many of the next calls of a key fail; ``refused``:
    how many of the events are late or bad."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    at: Annotated[int | float | str, BeforeValidator(as_text)]
    events: Annotated[tuple[dict[str, Any], ...], BeforeValidator(as_text)] = ()
    calls: tuple[ExpectedCall, ...] = ()
    fails: dict[str | int, int] = {}
    refused: Annotated[int, Field(ge=0, strict=True)] = 0


class Tried(BaseModel):
    """How the reconciler that is tried calls; as ``reconciler`` is told it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    when: str = "provisional"
    resync: int | None = None
    backoff: tuple[int, int] = (1_000_000, 300_000_000)

    @field_validator("resync", "backoff", mode="before")
    @classmethod
    def _durations(cls, given: Any) -> Any:
        if isinstance(given, str):
            return parse_duration(given)
        return [parse_duration(str(one)) for one in given] if isinstance(given, list) else given


class CallsTrial(BaseModel):
    """A trial, as its file has it. ``metric``: a file beside it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: str = CALLS_TRIAL
    description: str = ""
    metric: str
    reconciler: Tried = Tried()
    steps: Annotated[tuple[CallsStep, ...], Field(min_length=1)]


@dataclass(frozen=True, slots=True)
class CallsOutcome:
    """What came of step ``number``, from 1: the calls that were made, and every difference, in words."""

    number: int
    made: tuple[Call, ...]
    differences: tuple[str, ...]


def load_calls_trial(file: str | Path) -> tuple[Metric, Definition, tuple[CallsStep, ...]]:
    """Read a trial's file and its metric. Raises RuleError that names what is wrong."""
    try:
        name, data = read_yaml(file, "trial")
        fields = [field for field in CallsTrial.model_fields if field != "kind"]
        trial = validated(CallsTrial, name, data, fields, (), {"steps": CallsStep})
        metric = load_metric(Path(name).parent / trial.metric)
        tried = trial.reconciler
        first, longest = tried.backoff
        more = {"when": tried.when, "resync": tried.resync, "first_pause": first, "longest_pause": longest}
        definition = define(name=metric.name, follow=metric.name, **more)
    except (MetricError, ReconcilerError) as error:
        raise RuleError(str(error)) from None
    before = None
    for number, step in enumerate(trial.steps, start=1):
        at = question_time(step.at, metric.source.time_unit)
        if before is not None and at < before:
            raise RuleError(f"{name}: step {number}: at: {step.at} is earlier than the step before it")
        before = at
    return metric, definition, trial.steps


def run_calls(metric: Metric, definition: Definition, steps: Sequence[CallsStep]) -> Iterator[CallsOutcome]:
    """Play ``steps``, which ``load_calls_trial`` has checked."""
    source = VirtualSource(metric.source, to_text(parse(metric.expression)))
    levels, group = Levels(definition.when), KeyGroup(definition.name, definition.policy())
    unit = metric.source.time_unit
    failing: dict[str | int, int] = {}
    for number, step in enumerate(steps, start=1):
        at = question_time(step.at, unit)
        failing.update(step.fails)
        made: list[Call] = []
        while (due := _next(group, levels)) is not None and due <= at:
            made += _calls(group, levels, due, failing)
        refused = [why for event in step.events if (why := source.read(event, at)[1])]
        for news in source.news():
            levels.hear(news)
        made += _calls(group, levels, at, failing)
        differences = list(_differences(step, made))
        if len(refused) != step.refused:
            why = f" ({'; '.join(refused)})" if refused else ""
            differences.append(f"{len(refused)} of the events were refused, not {step.refused}{why}")
        yield CallsOutcome(number, tuple(made), tuple(differences))


def described_call(call: Call) -> dict[str, Any]:
    """A call as a trial's file would say it."""
    value = None if call.desired is None else call.desired.value
    attempt = {"attempt": call.attempt} if call.attempt > 1 else {}
    return {"key": call.key, "value": value, **attempt}


def _next(group: KeyGroup, levels: Levels) -> int | None:
    return min((t for t in (group.next_time(), levels.next_time()) if t is not None), default=None)


def _calls(group: KeyGroup, levels: Levels, now: int, failing: dict[str | int, int]) -> list[Call]:
    for key, state in levels.step(now):
        if key in group or state.value is not None:
            group.want(key, state, now)
    made: list[Call] = []
    while (batch := group.take(now)) is not None:
        made += batch.calls
        outcomes = []
        for call in batch.calls:
            fails = failing.get(call.key, 0) > 0
            failing[call.key] = failing.get(call.key, 0) - 1
            ending: Ending = "failed" if fails else "done"
            outcomes.append(Outcome(call.key, call.token, ending, error="the trial says so"))
        group.ended(batch.number, outcomes, now)
    return made


def _differences(step: CallsStep, made: Sequence[Call]) -> Iterator[str]:
    left = list(made)
    for wanted in step.calls:
        found = next((call for call in left if wanted.fits(call)), None)
        if found is None:
            yield f"expected and not called: {wanted.model_dump(exclude_none=True)}"
        else:
            left.remove(found)
    for call in left:
        yield f"called and not expected: {described_call(call)}"
