"""The models of a metric: its source and columns, its expression, and sources that are stored by name."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal as Choice

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    model_validator,
)

from timeline_workers.errors import MetricError
from timeline_workers.language.durations import parse_duration
from timeline_workers.language.kinds import ColumnType
from timeline_workers.language.tree import AggregateFunction

from .alert_model import Alert
from .topics import topic_problem

TimeUnit = Choice["s", "ms", "us", "ns", "iso"]
NAMING: Final = 2
BadValue = Choice["refuse", "missing"]
Name = Annotated[str, Field(min_length=1)]


def _duration(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        return parse_duration(value)
    except MetricError as error:
        raise ValueError(str(error)) from None  # pydantic then adds the field's name


Microseconds = Annotated[int, BeforeValidator(_duration), Field(ge=0, strict=True)]
Positive = Annotated[int, BeforeValidator(_duration), Field(gt=0, strict=True)]


def _topic(name: str) -> str:
    if problem := topic_problem(name):
        raise ValueError(problem)
    return name


def _column(value: object) -> object:
    return {"type": value} if isinstance(value, str) else value


def unset() -> Any:
    """A field that is None by default, and is not written then: an earlier release, which does not know it,
    can still read what does not use it."""
    return Field(default=None, exclude_if=lambda value: value is None)


CLOCK_SKEW = 60_000_000


class ColumnSpec(BaseModel):
    """A declared column: its type, and the dotted path it comes from (default: its own name).

    ``on_bad_value``: whether a value that does not fit refuses the event (None: it does) or counts as
    missing.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    type: ColumnType
    path: Name | None = None
    on_bad_value: BadValue | None = unset()


class Source(BaseModel):
    """Where events come from and how to read them. ``allowed_lateness``, ``clock_skew``,
    ``max_ahead``, ``idle_timeout``: microseconds.

    An event that lies more than ``clock_skew`` after its publish time is applied and raises no watermark.

    A partition that has been silent for ``idle_timeout`` no longer holds the watermark back; None: it does,
    however long it is silent.

    ``changelog``: the topic is what a metric's ``output`` writes; of an aggregate with several functions its
    value is the one that is read. Its messages say themselves what the key,
    the time and the watermark are, so of the other fields only ``time_unit`` and ``partitions`` may be set.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    topic: Annotated[Name, AfterValidator(_topic)]
    key: Name
    time: Name
    time_unit: TimeUnit = "s"
    columns: dict[Name, Annotated[ColumnSpec, BeforeValidator(_column)]] = Field(default_factory=dict)
    allowed_lateness: Microseconds = 3_600_000_000
    # Not written by default: an earlier release, which does not know it, can still read such a metric.
    clock_skew: Microseconds = Field(default=CLOCK_SKEW, exclude_if=lambda value: value == CLOCK_SKEW)
    max_ahead: Microseconds = 86_400_000_000
    idle_timeout: Positive | None = unset()
    partitions: Annotated[int, Field(ge=1, le=4096, strict=True)] | Choice["per-key"] = 1
    changelog: Annotated[
        Annotated[bool, Field(strict=True)] | AggregateFunction, Field(exclude_if=lambda value: not value)
    ] = False

    @model_validator(mode="before")
    @classmethod
    def _of_a_changelog(cls, data: Any) -> Any:
        if not isinstance(data, dict) or not data.get("changelog"):
            return data
        for field in data.keys() & cls.model_fields.keys() - _CHANGELOG_FIELDS:
            if data[field] != _CHANGELOG.get(field, cls.model_fields[field].get_default()):
                raise ValueError(
                    f"a changelog says itself what {field} would say; leave {field} out, or changelog"
                )
        return {**_CHANGELOG, **data}

    @property
    def aggregate_read(self) -> AggregateFunction | None:
        """Of a changelog, which function of an aggregate is read; None: what there is."""
        return None if isinstance(self.changelog, bool) else self.changelog


_CHANGELOG: Final[dict[str, Any]] = {"key": "key", "time": "from", "allowed_lateness": 0, "columns": {}}
_CHANGELOG_FIELDS: Final = frozenset({"topic", "time_unit", "partitions", "changelog"})


class Output(BaseModel):
    """Where the change points of a metric's result are published: a Pulsar topic."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    topic: Annotated[Name, AfterValidator(_topic)]


class History(BaseModel):
    """What the history store is told of a metric, where there is one.

    ``events``: the raw events of its source. ``nodes``: whose revisions: those of the result, of every node,
    or of none; None: of the result, where it has workers that are known beforehand. ``retention``:
    microseconds of event time below the watermark, further below which it is forgotten (None: never).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    events: Annotated[bool, Field(strict=True)] = True
    nodes: Choice["result", "all", "none"] | None = unset()
    retention: Positive | None = unset()


NAME_PATTERN: Final = r"^[A-Za-z][A-Za-z0-9_.-]{0,63}$"


class SourceVersion(BaseModel):
    """The stored source that a metric names, and its version; 0: from a file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    version: int


class Metric(BaseModel):
    """A named expression over a source. ``retention``, ``key_ttl``: microseconds of event time.

    Instants are answerable down to ``retention`` below the watermark (None: as far as the state fits). A key
    that has been idle for ``key_ttl`` leaves the workers for an archive (None: never). With ``fuse`` all
    derived nodes are in one worker per partition; every node answers as it would alone.

    ``naming``: the rules by which its workers are named. 1 is that of the releases up to 0.3.0, in which a
    name says nothing of columns that a node does not look at, though they may refuse an event; what these
    releases have stored names no rules. ``named_source``: where ``source`` was taken from, if it was not
    written out. No file sets these two. ``output``: where the change points of the result are published;
    None: nowhere. ``history``: what the history store is told; None: what ``History`` says by itself.
    ``alert``: of a rule, how its truth, which is the result, is told; a rule's file sets it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, Field(pattern=NAME_PATTERN)]
    description: str = ""
    source: Source
    expression: Name
    retention: Microseconds | None = unset()
    key_ttl: Positive | None = unset()
    fuse: Annotated[bool, Field(strict=True, exclude_if=lambda value: not value)] = False
    output: Output | None = unset()
    history: History | None = unset()
    alert: Alert | None = unset()
    naming: Annotated[Choice[1, 2], Field(exclude_if=lambda value: value == 1)] = NAMING
    named_source: SourceVersion | None = unset()

    @model_validator(mode="before")
    @classmethod
    def _as_it_was_stored(cls, data: Any, info: ValidationInfo) -> Any:
        # What is read as JSON was stored or sent by a process, which may be of an earlier release.
        stored = info.mode == "json" and isinstance(data, dict) and "naming" not in data
        return {**data, "naming": 1} if stored else data


class NamedSource(BaseModel):
    """A source with a name, as its file defines it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Choice["source"] = "source"
    name: Annotated[str, Field(pattern=NAME_PATTERN)]
    description: str = ""
    source: Source


class StoredSource(BaseModel):
    """A source as the catalog has it. ``version``: grows by one with every other definition of the name; 0
    for one that was read from a file.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    definition: NamedSource
    version: int
