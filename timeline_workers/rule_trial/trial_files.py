"""Files of trials: the rule, events step by step, and the messages that are expected of it.

Example::

    kind: alert-test
    rule: stalled.yaml          # beside this file; or the fields of a rule, in place
    steps:
      - at: 70                  # how late it is, in the unit of the source; events are published then
        events:
          - {session_id: s1, timestamp: 5, player: buffer}
        expect:
          - {kind: fire, key: s1, start: 65, page: true}
      - at: 80                  # nothing is expected
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Final, Literal as Choice

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from timeline_workers.alerts.alert_rule import Rule
from timeline_workers.alerts.rule_files import load_rule
from timeline_workers.errors import MetricError, QuestionError, RuleError
from timeline_workers.events.times import question_time
from timeline_workers.language.suggestions import nearest
from timeline_workers.metric.load import TRIAL, read_yaml, validated
from timeline_workers.metric.model import StoredSource

EXPECTED: Final = (
    "kind",
    "key",
    "start",
    "end",
    "page",
    "muted",
    "into",
    "episode",
    "seq",
    "as_of",
    "title",
    "text",
)
"""What may be said of a message that is expected."""


def as_text(value: object) -> object:
    """``value`` with the times that YAML has read as such as the text that an event has."""
    if isinstance(value, dict):
        return {name: as_text(one) for name, one in value.items()}
    if isinstance(value, list):
        return [as_text(one) for one in value]
    return value.isoformat() if isinstance(value, date) else value


def _expected(message: dict[str, Any]) -> dict[str, Any]:
    for field in message:
        if field not in EXPECTED:
            near = nearest(str(field), list(EXPECTED))
            hint = f"did you mean {near}?" if near else f"a message has {', '.join(EXPECTED)}"
            raise ValueError(f"a message has no {field!r:.40}; {hint}")
    if not message:
        raise ValueError("an expected message that says nothing fits every one; say at least its kind")
    return message


class Step(BaseModel):
    """What happens at ``at``: first what lies between it and the step before, then ``events``, in order.
    ``expect``: all messages that are told of both; ``refused``: how many of the events are late or bad."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    at: Annotated[int | float | str, BeforeValidator(as_text)]
    events: Annotated[tuple[dict[str, Any], ...], BeforeValidator(as_text)] = ()
    expect: tuple[Annotated[dict[str, Any], BeforeValidator(as_text), AfterValidator(_expected)], ...] = ()
    refused: Annotated[int, Field(ge=0, strict=True)] = 0


class Trial(BaseModel):
    """A trial, as its file has it. ``rule``: a file beside it, or the fields of a rule."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Choice["alert-test"] = "alert-test"
    description: str = ""
    rule: str | dict[str, Any]
    steps: Annotated[tuple[Step, ...], Field(min_length=1)]


def load_trial(
    file: str | Path, sources: Callable[[str], StoredSource] | None = None
) -> tuple[Rule, tuple[Step, ...]]:
    """Read a trial's file and the rule that it names: from YAML, as ``load_rule`` reads a rule.

    Raises RuleError that names what is wrong, and where; ExpressionError for the rule's expression.
    """
    try:
        name, data = read_yaml(file, "trial")
        if data.get("kind") != TRIAL:
            raise RuleError(f"{name}: it is no trial of a rule: one begins with 'kind: {TRIAL}'")
        fields = [field for field in Trial.model_fields if field != "kind"]
        trial = validated(Trial, name, data, fields, (), {"steps": Step})
    except MetricError as error:
        raise RuleError(str(error)) from None
    if isinstance(trial.rule, dict):
        rule = load_rule({"kind": "alert", **trial.rule}, sources)
    else:
        rule = load_rule(Path(name).parent / trial.rule, sources)
    refuse_changelog_rule(name, rule)
    _check_times(name, rule, trial.steps)
    return rule, trial.steps


def refuse_changelog_rule(name: str, rule: Rule) -> None:
    """Raise RuleError when the rule of the file ``name`` reads a changelog."""
    if rule.source.changelog:
        raise RuleError(
            f"{name}: the rule reads a changelog, whose messages say how far they are themselves; try the "
            "one expression that says both"
        )


def _check_times(name: str, rule: Rule, steps: tuple[Step, ...]) -> None:
    before = None
    for number, step in enumerate(steps, start=1):
        try:
            at = question_time(step.at, rule.source.time_unit)
        except QuestionError as error:
            raise RuleError(f"{name}: step {number}: at: {step.at!r:.60}: {error}") from None
        if before is not None and at < before:
            raise RuleError(
                f"{name}: step {number}: at: {step.at} is earlier than the step before, and the clock does "
                "not go back; put the steps in order"
            )
        before = at
