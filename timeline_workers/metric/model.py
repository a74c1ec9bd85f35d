"""Metric files: a name, a source and an expression (YAML, validated, unknown keys refused).

Example::

    name: cirr
    source:
      topic: playback-events
      key: session_id            # dotted path of the key in the event
      time: timestamp            # dotted path of the event time
      time_unit: s               # s, ms, us, ns or iso
      columns:
        playerStateChange: string
        device: {type: string, path: attributes.device}
        bitrate: {type: int, on_bad_value: missing}   # default: refuse, the whole event
      allowed_lateness: 1m
      clock_skew: 10s            # events further ahead of their publish time raise no watermark
      idle_timeout: 5m           # a partition silent for so long does not hold the watermark back
      partitions: 4              # or per-key
    retention: 7d                # how far below the watermark answers are kept; unset: as far as they fit
    key_ttl: 1d                  # keys idle for so long are archived; unset: never
    fuse: true                   # one worker computes all derived nodes; unset: each has its own
    expression: |
      duration_where(latest_event_to_state(playerStateChange) == "buffer")
"""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal as Choice, TypeVar

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    model_validator,
)
from pydantic_core import ErrorDetails

from timeline_workers.errors import MetricError
from timeline_workers.language.durations import parse_duration
from timeline_workers.language.suggestions import nearest

from .topics import topic_problem

if TYPE_CHECKING:
    from .stored_source import StoredSource

M = TypeVar("M", bound=BaseModel)
TimeUnit = Choice["s", "ms", "us", "ns", "iso"]
ColumnType = Choice["bool", "int", "float", "string"]
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


NAME_PATTERN: Final = r"^[A-Za-z][A-Za-z0-9_.-]{0,63}$"


class SourceVersion(BaseModel):
    """The stored source that a metric names, and its version; 0: from a file (see ``stored_source``)."""

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
    written out. No file sets these two.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, Field(pattern=NAME_PATTERN)]
    description: str = ""
    source: Source
    expression: Name
    retention: Microseconds | None = unset()
    key_ttl: Positive | None = unset()
    fuse: Annotated[bool, Field(strict=True, exclude_if=lambda value: not value)] = False
    naming: Annotated[Choice[1, 2], Field(exclude_if=lambda value: value == 1)] = NAMING
    named_source: SourceVersion | None = unset()

    @model_validator(mode="before")
    @classmethod
    def _as_it_was_stored(cls, data: Any, info: ValidationInfo) -> Any:
        # What is read as JSON was stored or sent by a process, which may be of an earlier release.
        stored = info.mode == "json" and isinstance(data, dict) and "naming" not in data
        return {**data, "naming": 1} if stored else data


METRIC_FIELDS: Final = [name for name in Metric.model_fields if name not in ("naming", "named_source")]


def load_metric(file: str | Path, sources: Callable[[str], StoredSource] | None = None) -> Metric:
    """Read a metric from a YAML file, or from YAML text: several lines, or one that starts with {.

    ``sources``: finds a stored source by its name, for a metric that names one; it raises for an unknown one.

    Raises MetricError that names every wrong field, its value, the rule and the nearest field name, or the
    line at which the text is no YAML, or what is larger than it may be (``limits``). The expression is not
    looked at: ``check_metric`` does that.
    """
    from .size_limits import refuse_oversized

    name, data = read_yaml(file)
    if data.get("kind") == "source":
        raise MetricError(f"{name}: it is a source file, and a metric file is wanted here")
    for field in data.keys() & {"naming", "named_source"}:
        known = ", ".join(METRIC_FIELDS)
        raise MetricError(f"{name}: {field}: there is no such field; the fields are {known}")
    wanted = data.get("source")
    if isinstance(wanted, str):
        if sources is None:
            raise MetricError(
                f"{name}: source: {_SHORT.repr(wanted)} is the name of a stored source, which is not looked "
                f"up here; write a mapping with {', '.join(Source.model_fields)}"
            )
        stored = sources(wanted)
        kept = SourceVersion(name=stored.definition.name, version=stored.version)
        data = {**data, "source": stored.definition.source, "named_source": kept}
    metric = validated(Metric, name, data, METRIC_FIELDS)
    refuse_oversized(metric)
    return metric


def read_yaml(file: str | Path) -> tuple[str, dict[Any, Any]]:
    """What to call a YAML file or text, and the mapping that it holds. Raises MetricError."""
    from .size_limits import METRIC_FILE_BYTES

    is_text = isinstance(file, str) and ("\n" in file or file.lstrip().startswith("{"))
    name = "metric" if is_text else str(file)
    try:
        text = str(file) if is_text else Path(file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise MetricError(f"cannot read {name}: {reason}") from None
    if len(text) > METRIC_FILE_BYTES:
        raise MetricError(f"{name} has {len(text):,} characters, and {METRIC_FILE_BYTES:,} are the most")
    try:
        data = yaml.load(text, _Loader)
    except yaml.YAMLError as error:
        raise MetricError(f"{name}{_place(error)}") from None
    except RecursionError:
        raise MetricError(f"{name}: it is nested too deeply") from None
    if not isinstance(data, dict):
        raise MetricError(f"{name}: a metric file is a mapping with {', '.join(METRIC_FIELDS)}")
    return name, data


def validated(model: type[M], name: str, data: dict[Any, Any], fields: list[str]) -> M:
    """``data`` of the file ``name`` as a ``model`` whose ``fields`` a file may have. Raises MetricError."""
    _refuse_bare_durations(name, data)
    try:
        return model.model_validate(data)
    except ValidationError as error:
        found = list(dict.fromkeys(_message(e, fields) for e in error.errors(include_url=False)))
        raise MetricError("\n".join(f"{name}: {message}" for message in found)) from None


def check_metric(metric: Metric) -> None:
    """Raise ExpressionError when the metric's expression is wrong, by itself or for its declared columns."""
    from timeline_workers.language.check import check
    from timeline_workers.language.parser import parse

    columns = {name: spec.type for name, spec in metric.source.columns.items()}
    check(parse(metric.expression), columns or None, text=metric.expression)


class _Loader(yaml.SafeLoader):
    """Safe YAML in which a key given twice is an error: the file would not say what it seems to say."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[Hashable] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, Hashable) and key in seen:
                raise yaml.MarkedYAMLError(
                    problem=f"{key!r} is there twice; remove one", problem_mark=key_node.start_mark
                )
            seen.add(key if isinstance(key, Hashable) else str(key))
        return super().construct_mapping(node, deep)


def _place(error: yaml.YAMLError) -> str:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        mark = error.problem_mark
        return f", line {mark.line + 1}, column {mark.column + 1}: {error.problem or error.context}"
    return f": it is not YAML: {error}"


_SOURCE_DURATIONS = ("allowed_lateness", "clock_skew", "max_ahead", "idle_timeout")


def _refuse_bare_durations(name: str, data: dict[Any, Any]) -> None:
    # The models take microseconds, which is what workers send each other; a person would mean seconds.
    source = data.get("source")
    places = [("", data, field) for field in ("retention", "key_ttl")]
    if isinstance(source, dict):
        places += [("source.", source, field) for field in _SOURCE_DURATIONS]
    for where, mapping, field in places:
        value = mapping.get(field)
        if isinstance(value, int | float) and not isinstance(value, bool) and value != 0:
            raise MetricError(f"{name}: {where}{field}: {value} has no unit; write {value}s, or 5m, 1h, 7d")


_SHORT = reprlib.Repr()
_SHORT.maxlevel, _SHORT.maxstring, _SHORT.maxlong, _SHORT.maxother = 2, 70, 70, 70


def _message(error: ErrorDetails, fields: list[str]) -> str:
    # Pydantic names the branch of a union, and a dict's key, as if they were fields.
    place = [part for part in error["loc"] if part != "[key]"]
    # Not repr: YAML's aliases can make a few lines as large as one likes.
    value = _SHORT.repr(error["input"])
    value = value if len(value) <= 60 else value[:57] + "..."
    if place[:2] == ["source", "partitions"]:
        return f"source.partitions: {value} is neither a number from 1 to 4096 nor per-key"
    field = ".".join(map(str, place))
    match error["type"]:
        case "missing":
            return f"{field}: this field is missing"
        case "extra_forbidden":
            known = fields if len(place) == 1 else list(_model_at(place[:-1]).model_fields)
            near = _nearest(str(place[-1]), known) or f"; the fields are {', '.join(known)}"
            return f"{field}: there is no such field{near}"
        case "literal_error":
            expected = str(error.get("ctx", {}).get("expected", ""))
            known = [word.strip("'") for word in expected.replace(" or ", ", ").split(", ")]
            return f"{field}: {value} is not one of {', '.join(known)}{_nearest(str(error['input']), known)}"
        case "string_pattern_mismatch":
            return f"{field}: {value} is not a name: a letter, then up to 63 letters, digits, dots and _ or -"
        case "string_too_short":
            return f"{field}: this must not be empty"
        case "greater_than":
            return f"{field}: {value} is not longer than nothing; write a positive duration or leave it out"
        case "string_type":
            return f"{field}: {value} is not text; put it in quotes"
        case "bool_type":
            return f"{field}: {value} is neither true nor false"
        case "model_type":
            return f"{field}: {value} is not a mapping with {', '.join(_model_at(place).model_fields)}"
        case "value_error":
            return f"{field}: {error['msg'].removeprefix('Value error, ')}"
        case _:
            return f"{field}: {value}: {error['msg']}"


def _model_at(place: list[Any]) -> type[BaseModel]:
    if place[:1] != ["source"]:
        return Metric
    return Source if len(place) == 1 else ColumnSpec


def _nearest(word: str, known: list[str]) -> str:
    near = nearest(word, known)
    return f"; did you mean {near}?" if near else ""
