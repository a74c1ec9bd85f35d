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

from timeline_workers.alerts.alert_rule import Rule
from timeline_workers.alerts.alert_state import AlertState
from timeline_workers.alerts.episodes import Message
from timeline_workers.alerts.message_text import rendered
from timeline_workers.events.times import from_microseconds, question_time

from .trial_files import Step
from .virtual_source import VirtualSource

_TIMES: Final = ("start", "end", "as_of")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of step ``number``, from 1: the messages that were ``told``, and every difference from what
    the step says, in words."""

    number: int
    told: tuple[Message, ...]
    differences: tuple[str, ...]


def run(rule: Rule, steps: Sequence[Step]) -> Iterator[Outcome]:
    """Play ``steps``, which ``load_trial`` has checked."""
    source, state = VirtualSource(rule.source, rule.truth), AlertState(rule.telling)
    unit, clocked = rule.source.time_unit, rule.as_of == "clock"
    for number, step in enumerate(steps, start=1):
        at = question_time(step.at, unit)
        told: list[Message] = []
        while clocked and (due := state.next_change()) is not None and due <= at:
            told += state.step((), due)
        refused = [why for event in step.events if (why := source.read(event, at)[1])]
        told += state.step(source.news(), at)
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
            yield f"expected and not sent: {wanted}"
        else:
            left.remove(found)
    for message, _ in left:
        yield f"sent and not expected: {described(rule, message)}"


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
