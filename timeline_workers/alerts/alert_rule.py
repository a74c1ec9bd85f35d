"""``Rule``: what an alert rule's file says. ``telling`` is what the state of an alert needs of it, ``metric``
the metric whose result is the truth.

``for`` and ``keep`` are operators: ``has_existed_within(held_for(expression, for), keep)`` is what is true,
so the history, a replay and a test know it as well as the alert does. Durations are microseconds.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final, Literal as Choice

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from timeline_workers.errors import RuleError
from timeline_workers.language.canonical import to_text
from timeline_workers.language.check import check
from timeline_workers.language.operator_table import OPERATORS
from timeline_workers.language.parser import parse
from timeline_workers.language.tree import Aggregate
from timeline_workers.metric.alert_model import TEMPLATE_CHARACTERS, Alert, AlertMute, AsOf, When
from timeline_workers.metric.model import (
    NAME_PATTERN,
    Metric,
    Microseconds,
    Name,
    Positive,
    Source,
    SourceVersion,
    unset,
)

from .message_text import TEXT, TITLE, template_problem
from .telling import Telling

HOUR: Final = 3_600_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _instant(value: object) -> object:
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            raise ValueError(f"{value!r:.60} is no instant; write one as 2026-12-01T08:00:00Z") from None
    if not isinstance(value, datetime):
        return value
    if value.tzinfo is None:
        raise ValueError(
            f"{value.isoformat()} does not say of which zone; write {value.isoformat()}Z for UTC"
        )
    return (value - _EPOCH) // timedelta(microseconds=1)


def _template(text: str) -> str:
    if len(text) > TEMPLATE_CHARACTERS:
        raise ValueError(
            f"a template of {len(text):,} characters; {TEMPLATE_CHARACTERS:,} are the most: shorten it"
        )
    if problem := template_problem(text):
        raise ValueError(problem)
    return text


Instant = Annotated[int, BeforeValidator(_instant), Field(strict=True)]
Template = Annotated[str, AfterValidator(_template)]


class Mute(BaseModel):
    """Nobody is told of what begins in keys that match the glob ``key`` before ``until``, microseconds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: Name = "*"
    until: Instant


class Rule(BaseModel):
    """An alert rule. ``held_for``, in a file ``for``: how long the expression must have been true; ``keep``:
    how much longer it counts as true; ``repeat``: nobody is woken twice for one trouble within it. ``to``:
    names of targets. ``named_source``: where ``source`` was taken from, if it was not written out.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", validate_by_name=True, validate_by_alias=True)

    kind: Choice["alert"] = "alert"
    name: Annotated[str, Field(pattern=NAME_PATTERN)]
    description: str = ""
    source: Source
    expression: Name
    held_for: Annotated[Positive | None, Field(alias="for")] = None
    keep: Positive | None = None
    when: When = "provisional"
    as_of: AsOf = "watermark"
    repeat: Microseconds = HOUR
    mute: tuple[Mute, ...] = ()
    title: Template = TITLE
    text: Template = TEXT
    to: tuple[Name, ...] = ()
    named_source: SourceVersion | None = unset()

    @model_validator(mode="after")
    def _goes_together(self) -> Any:
        if self.when == "final" and self.as_of == "clock":
            raise ValueError(
                "as_of: clock does not go with when: final: what is final is known by the watermark alone; "
                "leave as_of out, or write when: provisional"
            )
        if self.as_of == "clock" and self.source.changelog:
            raise ValueError(
                "as_of: clock does not go with a changelog, of which nobody knows up to when its events have "
                "been read but by the watermark that it publishes; leave as_of out"
            )
        return self

    @property
    def telling(self) -> Telling:
        """What decides which message is told when."""
        return Telling.of(self.name, self.alert)

    @property
    def truth(self) -> str:
        """The expression with ``for`` and ``keep``, ``for`` first."""
        tree = parse(self.expression)
        if self.held_for is not None:
            tree = OPERATORS["held_for"].call([tree], within=self.held_for)
        if self.keep is not None:
            tree = OPERATORS["has_existed_within"].call([tree], within=self.keep)
        return to_text(tree)

    @property
    def metric(self) -> Metric:
        """The metric whose result is what is told."""
        return Metric(
            name=self.name,
            description=self.description,
            source=self.source,
            expression=self.truth,
            named_source=self.named_source,
            alert=self.alert,
        )

    @property
    def alert(self) -> Alert:
        """What the metric says of the rule."""
        return Alert(
            expression=self.expression,
            held_for=self.held_for,
            keep=self.keep,
            when=self.when,
            as_of=self.as_of,
            repeat=self.repeat,
            mute=tuple(AlertMute(key=one.key, until=one.until) for one in self.mute),
            title=self.title,
            text=self.text,
            to=self.to,
        )


def check_rule(rule: Rule) -> None:
    """Raise ExpressionError when the expression is wrong, by itself or for the declared columns, and
    RuleError when what it says is not true or false."""
    columns = {name: spec.type for name, spec in rule.source.columns.items()}
    root = parse(rule.expression)
    kind = check(root, columns or None, text=rule.expression).kind
    if kind.name == "boolean":
        return
    if isinstance(root, Aggregate):
        raise RuleError(
            f"rule {rule.name}: an aggregate is a number for each group, and an alert needs true or false; "
            "give the aggregate an output, and compare changelog(numeric) in a rule over its topic"
        )
    compared = "> 0" if kind.name == "numeric" else "== true"
    example = f"{rule.expression.strip()} {compared}"
    raise RuleError(
        f"rule {rule.name}: an alert needs true or false, and the expression is a {kind.name}; "
        f"compare it, as in {example}"
    )
