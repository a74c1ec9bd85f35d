"""Models that the client takes and gives, besides the answers: questions, descriptions, dead letters."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from timeline_workers.answers.answer_models import Answer, Change, Spans, Time, ValueAt
from timeline_workers.errors import QuestionError
from timeline_workers.events.times import from_microseconds, question_time
from timeline_workers.metric.model import Metric, TimeUnit
from timeline_workers.plan.physical import Plan
from timeline_workers.settings.field_rules import broken_rule
from workflows.client.ask import (
    Written as Written,
    find_node as find_node,
    keys_meant as keys_meant,
)
from workflows.client.conditions import (
    WELL as WELL,
    Condition,
    MetricHealth as MetricHealth,
    Notice as Notice,
    together,
)
from workflows.client.rollout import Moved as Moved
from workflows.client.worker_health import Health
from workflows.messages import (
    DriverResult as DriverResult,
    RemoveResult as RemoveResult,
    SourceResult as SourceResult,
)

if TYPE_CHECKING:
    from timeline_workers.servers.pulsar.dead_letter_topic import Letter

QuestionKind = Literal["value_at", "spans", "change"]
Key = str | int | float | bool | None
"""A key; for an aggregate, a group. Its type counts: ``7`` and ``"7"`` are two keys (``Written``: either)."""

Instant = Time | datetime
"""A time in the unit of the question, or a ``datetime`` (without a zone it is UTC)."""


class Question(BaseModel):
    """What is asked of a node, for whichever keys: one kind, its parameters, and the node.

    ``at``: an instant, for ``value_at``; ``start`` and ``end``: the range of ``spans`` and ``change``, and
    ``every`` the length of the intervals of ``change`` (``"1m"``, or seconds). ``node``: the name of a node,
    the start of it, or its expression (None: the metric's result); ``aggregate``: the function of an
    aggregate (None: each of its functions); ``unit``: of times in and out (None: that of the source).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: QuestionKind
    at: Instant | tuple[Instant, ...] | None = None
    start: Instant | None = None
    end: Instant | None = None
    every: int | float | str | timedelta | None = None
    node: str | None = None
    aggregate: str | None = None
    unit: TimeUnit | None = None

    @model_validator(mode="after")
    def _has_its_parameters(self) -> Self:
        needed = ("at",) if self.kind == "value_at" else ("start", "end")
        taken = {*needed, "every"} if self.kind == "change" else set(needed)
        for name in ("at", "start", "end", "every"):
            given = getattr(self, name) is not None
            if name in needed and not given:
                raise QuestionError(f"a question of kind {self.kind} needs {name}")
            if given and name not in taken:
                raise QuestionError(f"a question of kind {self.kind} has no {name}")
        return self

    def parameters(self, unit: TimeUnit) -> dict[str, Any]:
        """What workers are asked, without node and function; ``unit``: that of the source."""
        used = self.unit or unit
        found: dict[str, Any] = {"unit": used}
        for name in ("at", "start", "end"):
            given = getattr(self, name)
            if given is not None:
                found[name] = (
                    [_time(t, used) for t in given] if isinstance(given, tuple) else _time(given, used)
                )
        if self.every is not None:
            found["every"] = self.every.total_seconds() if isinstance(self.every, timedelta) else self.every
        return found


def question(kind: QuestionKind, **parameters: Any) -> Question:
    """A question with those parameters that are not None; raises QuestionError for what is none."""
    given = {name: value for name, value in parameters.items() if value is not None}
    try:
        return Question(kind=kind, **given)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"][:1]))
        raise QuestionError(f"{place}={first['input']!r:.80}: {broken_rule(first)}") from None


def _time(given: Instant, unit: TimeUnit) -> Time:
    return from_microseconds(question_time(given, unit), unit) if isinstance(given, datetime) else given


ANSWERS: dict[QuestionKind, type[ValueAt] | type[Spans] | type[Change]] = {
    "value_at": ValueAt,
    "spans": Spans,
    "change": Change,
}


def read_answer(kind: QuestionKind, raw: dict[str, Any]) -> ValueAt | Spans | Change:
    """The answer as a worker sends it; what a later release adds to it is left out."""
    model = ANSWERS[kind]
    return model.model_validate({name: value for name, value in raw.items() if name in model.model_fields})


class MetricDescription(BaseModel):
    """A metric that is applied: its plan, and how each of its workers is."""

    model_config = ConfigDict(frozen=True)

    plan: Plan
    workers: tuple[Health, ...]

    @property
    def metric(self) -> Metric:
        """Its definition."""
        return self.plan.metric

    @property
    def causes(self) -> list[str]:
        """What is wrong with its workers, in words; those of which the same is said have one line."""
        return together(Condition(one.state, one.cause, one.worker_id) for one in self.workers if one.cause)


class DeadLetter(Answer):
    """An event that was not applied. ``position``: where it was in its topic, which no two events share;
    ``written``: when it became a dead letter, ``replayed``: when it was last sent again (ISO 8601).
    """

    topic: str
    position: str
    key: str
    reason: str
    message: str
    metrics: tuple[str, ...]
    written: str
    replayed: str | None
    payload: bytes

    @classmethod
    def of(cls, letter: Letter, replayed: str | None) -> Self:
        """A letter, with when it was replayed."""
        return cls(
            topic=letter.topic,
            position=letter.place,
            key=letter.key,
            reason=letter.reason,
            message=letter.message,
            metrics=letter.metrics,
            written=written(letter),
            replayed=replayed,
            payload=letter.payload,
        )


class DeadLetterCount(Answer):
    """How many events of a topic a metric has refused for a reason, and how many of them were replayed."""

    topic: str
    reason: str
    metric: str
    letters: int
    replayed: int
    first: str
    last: str


class Replayed(BaseModel):
    """What became of a replay: the letters that were chosen and not replayed before, where each is now by its
    former position (empty after a dry run), and the warnings about what metrics would make of them.
    """

    model_config = ConfigDict(frozen=True)

    topic: str
    letters: tuple[DeadLetter, ...]
    sent: dict[str, str]
    left_out: int
    warnings: tuple[str, ...]


def written(letter: Letter) -> str:
    """When a letter was written, ISO 8601."""
    return str(from_microseconds(letter.published * 1000, "iso"))


def now_in(unit: TimeUnit) -> Time:
    """The present instant in a unit of times."""
    return from_microseconds(int(datetime.now(UTC).timestamp() * 1_000_000), unit)
