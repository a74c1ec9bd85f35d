"""``run``: a trial on a virtual clock: what the rule tells, step by step, and how that differs from what is
expected.

Events are read, judged and evaluated as a feeder and the workers do it, with one source partition: each is
published at the instant of its step, an event below the watermark is late and takes no part. Between two
steps the clock stops wherever there is something to tell.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from timeline_workers.alerts.alert_rule import Rule
from timeline_workers.alerts.alert_state import AlertState
from timeline_workers.alerts.episodes import Message
from timeline_workers.alerts.message_text import rendered
from timeline_workers.algebra.graph_evaluation import Evaluation
from timeline_workers.columns.event_batch import Positions
from timeline_workers.columns.rows import FOREVER
from timeline_workers.events.decode import Decoder
from timeline_workers.events.times import from_microseconds, question_time
from timeline_workers.language.canonical import canonical
from timeline_workers.language.check import check
from timeline_workers.language.parser import parse
from timeline_workers.wire.news import News

from .trial_files import Step

_BEGINNING: Final = -FOREVER
_TIMES: Final = ("start", "end", "as_of")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of step ``number``, from 1: the messages that were ``told``, and every difference from what
    the step says, in words."""

    number: int
    told: tuple[Message, ...]
    differences: tuple[str, ...]


class VirtualSource:
    """One source partition and the graph that reads it, in process. ``watermark``: microseconds."""

    def __init__(self, rule: Rule) -> None:
        self.source = rule.source
        tree = parse(rule.truth)
        columns = {name: spec.type for name, spec in self.source.columns.items()} or None
        checked = check(tree, columns)
        self._decoder = Decoder.for_source(
            self.source,
            only=dict.fromkeys([*self.source.columns, *checked.columns]),
            requirements=checked.requirements,
            alike=checked.alike,
        )
        self._evaluation = Evaluation(canonical(tree))
        self._seen = 0
        self.watermark: int | None = None

    def read(self, event: Mapping[str, Any], at: int) -> str:
        """Read an event that is published at ``at``; why it was refused, "" when it was not."""
        place = Positions.in_input(self._seen, 1)
        self._seen += 1
        published = np.array([at], np.int64)
        decoded = self._decoder.decode([event], place, published, self.source.max_ahead)
        if decoded.rejects:
            return f"{decoded.rejects[0].reason}: {decoded.rejects[0].message}"
        time = int(decoded.batch.time[0])
        if self.watermark is not None and time < self.watermark:
            behind = from_microseconds(self.watermark, self.source.time_unit)
            return f"late: the watermark is {behind}"
        self._evaluation.add(decoded.batch)
        if time <= at + self.source.clock_skew:
            mark = min(time, at) - self.source.allowed_lateness
            self.watermark = mark if self.watermark is None else max(mark, self.watermark)
        return ""

    def news(self) -> News:
        """Everything that is true, and the watermark."""
        names = list(self._evaluation.keys.names)
        froms = np.full(len(names), _BEGINNING, np.int64)
        risen = self.watermark is not None
        return News(names, froms, self._evaluation.timeline(), self.watermark, risen)


def run(rule: Rule, steps: Sequence[Step]) -> Iterator[Outcome]:
    """Play ``steps``, which ``load_trial`` has checked."""
    source, state = VirtualSource(rule), AlertState(rule.telling)
    unit, clocked = rule.source.time_unit, rule.as_of == "clock"
    for number, step in enumerate(steps, start=1):
        at = question_time(step.at, unit)
        told: list[Message] = []
        while clocked and (due := state.next_change()) is not None and due <= at:
            told += state.step((), due)
        refused = [why for event in step.events if (why := source.read(event, at))]
        told += state.step([source.news()], at)
        differences = list(_differences(rule, step, told))
        if len(refused) != step.refused:
            why = f" ({'; '.join(refused)})" if refused else ""
            differences.append(f"{len(refused)} of the events were refused, not {step.refused}{why}")
        yield Outcome(number, tuple(told), tuple(differences))


def described(rule: Rule, message: Message) -> dict[str, Any]:
    """A message as a trial's file would say it: what is plain is left out, times are in the source's unit."""
    unit = rule.source.time_unit
    fields: dict[str, Any] = {"kind": message.kind, "key": message.key}
    fields["start"] = from_microseconds(message.start, unit)
    if message.end is not None:
        fields["end"] = from_microseconds(message.end, unit)
    more = {"page": message.page, "muted": message.muted, "into": message.into}
    return fields | {name: value for name, value in more.items() if value}


def _differences(rule: Rule, step: Step, told: Sequence[Message]) -> Iterator[str]:
    left = [(message, _all_fields(rule, message)) for message in told]
    for wanted in step.expect:
        found = next((pair for pair in left if _fits(wanted, pair[1], rule)), None)
        if found is None:
            yield f"expected and not told: {wanted}"
        else:
            left.remove(found)
    for message, _ in left:
        yield f"told and not expected: {described(rule, message)}"


def _all_fields(rule: Rule, message: Message) -> dict[str, Any]:
    more = {"description": rule.description, "expression": rule.truth}
    fields = {name: getattr(message, name) for name in message.__struct_fields__}
    return fields | {
        "title": rendered(rule.title, message, more),
        "text": rendered(rule.text, message, more),
    }


def _fits(wanted: Mapping[str, Any], fields: Mapping[str, Any], rule: Rule) -> bool:
    for name, value in wanted.items():
        if name in _TIMES and value is not None:
            value = question_time(value, rule.source.time_unit)
        if type(fields[name]) is not type(value) or fields[name] != value:
            return False
    return True
