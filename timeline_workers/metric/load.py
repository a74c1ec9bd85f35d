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
    output: {topic: cirr}        # the change points of the result are published there; unset: nowhere
    history:                     # of the history store, where there is one; these are the defaults
      events: true               # the raw events are stored
      nodes: result              # whose timelines: result, all or none
      retention: 30d             # how far below the watermark; unset: all of it
    expression: |
      duration_where(latest_event_to_state(playerStateChange) == "buffer")

A metric may name a source that is stored by itself instead (``source: playback``), so that several share
workers; its file::

    kind: source
    name: playback
    source:                      # as in a metric file
      topic: playback-events
      key: session_id
      time: timestamp

A metric keeps the definition that the source had when the metric was applied, and which version that was; a
source that is applied again changes no metric that runs.
"""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar, get_args

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from timeline_workers.errors import MetricError
from timeline_workers.language.check import check
from timeline_workers.language.parser import parse
from timeline_workers.language.suggestions import nearest
from timeline_workers.language.tree import AggregateFunction
from timeline_workers.settings.field_rules import broken_rule

from .model import ColumnSpec, History, Metric, NamedSource, Output, Source, SourceVersion, StoredSource
from .size_limits import METRIC_FILE_BYTES, refuse_oversized, refuse_oversized_source

M = TypeVar("M", bound=BaseModel)
_NESTED: Final[Mapping[str, type[BaseModel]]] = {"output": Output, "history": History}
SOURCE: Final = "source"
"""The ``kind`` of a source file."""
ALERT: Final = "alert"
"""The ``kind`` of a file with a rule of an alert."""
TARGET: Final = "target"
"""The ``kind`` of a file with a target of alerts."""
TRIAL: Final = "alert-test"
"""The ``kind`` of a file with a trial of such a rule."""
CALLS_TRIAL: Final = "reconciler-test"
"""The ``kind`` of a file with a trial of a reconciler."""
NETWORK: Final = "network"
"""The field that makes a file one of a network of streams; it has no ``kind``."""
_ALERTS: Final = {
    ALERT: "a rule of an alert, for `timeline apply`, `timeline test` and `timeline alerts backtest`",
    TRIAL: "a trial of an alert's rule, for `timeline test`",
    CALLS_TRIAL: "a trial of a reconciler, for `timeline test`",
}
NO_FIELDS: Final = frozenset({"naming", "named_source", "alert"})
"""Fields of a metric that no file of one sets."""
METRIC_FIELDS: Final = [name for name in Metric.model_fields if name not in NO_FIELDS]


def load_metric(file: str | Path, sources: Callable[[str], StoredSource] | None = None) -> Metric:
    """Read a metric from a YAML file, or from YAML text: several lines, or one that starts with {.

    ``sources``: finds a stored source by its name, for a metric that names one; it raises for an unknown one.

    Raises MetricError that names every wrong field, its value, the rule and the nearest field name, or the
    line at which the text is no YAML, or what is larger than it may be (``limits``). The expression is not
    looked at: ``check_metric`` does that.
    """
    name, data = read_yaml(file)
    if data.get("kind") == SOURCE:
        raise MetricError(
            f"{name}: it is a source file, and a metric file is wanted here; name one without 'kind: source'"
        )
    if data.get("kind") in (ALERT, TRIAL, CALLS_TRIAL):
        raise MetricError(
            f"{name}: it is {_ALERTS[data['kind']]}, and a metric file is wanted here; name one without "
            "'kind'"
        )
    if NETWORK in data:
        raise MetricError(
            f"{name}: it is a network of streams, and a metric file is wanted here: no cluster runs networks "
            "yet; `timeline validate`, `test` and `graph` take it"
        )
    for field in data.keys() & NO_FIELDS:
        known = ", ".join(METRIC_FIELDS)
        raise MetricError(f"{name}: {field}: there is no such field; the fields are {known}")
    metric = validated(Metric, name, with_stored_source(name, data, sources), METRIC_FIELDS)
    refuse_oversized(metric)
    return metric


def with_stored_source(
    name: str, data: dict[Any, Any], sources: Callable[[str], StoredSource] | None
) -> dict[Any, Any]:
    """``data`` of the file ``name``, with the stored source that it names, if it names one, in place of the
    name. Raises MetricError where ``sources`` is None, and what that raises.
    """
    wanted = data.get("source")
    if not isinstance(wanted, str):
        return data
    if sources is None:
        raise MetricError(
            f"{name}: source: {_SHORT.repr(wanted)} is the name of a stored source, which is not looked "
            f"up here; write a mapping with {', '.join(Source.model_fields)}"
        )
    stored = sources(wanted)
    kept = SourceVersion(name=stored.definition.name, version=stored.version)
    return {**data, "source": stored.definition.source, "named_source": kept}


def read_yaml(file: str | Path, what: str = "metric") -> tuple[str, dict[Any, Any]]:
    """What to call a YAML file or text, a ``what``, and the mapping that it holds. Raises MetricError."""
    is_text = isinstance(file, str) and ("\n" in file or file.lstrip().startswith("{"))
    name = what if is_text else str(file)
    try:
        text = str(file) if is_text else Path(file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise MetricError(
            f"cannot read {name}: {reason}; name a YAML file in UTF-8 that can be read"
        ) from None
    if len(text) > METRIC_FILE_BYTES:
        raise MetricError(
            f"{name} has {len(text):,} characters, and {METRIC_FILE_BYTES:,} are the most; "
            "split it into several metrics"
        )
    try:
        data = yaml.load(text, _Loader)
    except yaml.YAMLError as error:
        wrong = MetricError(f"{name}{_place(error)}")
        if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
            wrong.place = (error.problem_mark.line + 1, error.problem_mark.column + 1)
        raise wrong from None
    except RecursionError:
        raise MetricError(
            f"{name}: it is nested too deeply; write it flatter, as the fields need it"
        ) from None
    if not isinstance(data, dict):
        fields = f", {', '.join(METRIC_FIELDS)}" if what == "metric" else ""
        raise MetricError(
            f"{name}: this is not a mapping, and a {what} file is one; write its fields{fields}, each with a "
            "colon and a value"
        )
    return name, data


def validated(
    model: type[M],
    name: str,
    data: dict[Any, Any],
    fields: list[str],
    durations: Sequence[str] = ("retention", "key_ttl"),
    nested: Mapping[str, type[BaseModel]] = _NESTED,
) -> M:
    """``data`` of the file ``name`` as a ``model`` whose ``fields`` a file may have, ``durations`` among
    them; ``nested``: the models of fields that are lists of mappings or mappings. Raises MetricError."""
    _refuse_bare_durations(name, data, durations)
    try:
        return model.model_validate(data)
    except ValidationError as error:
        found = list(dict.fromkeys(_message(e, fields, nested) for e in error.errors(include_url=False)))
        raise MetricError("\n".join(f"{name}: {message}" for message in found)) from None


def check_metric(metric: Metric) -> None:
    """Raise ExpressionError when the metric's expression is wrong, by itself or for its declared columns."""
    columns = {name: spec.type for name, spec in metric.source.columns.items()}
    check(parse(metric.expression), columns or None, text=metric.expression)


def is_source_file(file: str | Path) -> bool:
    """Whether a file says that it is a source. Raises MetricError when it cannot be read."""
    return kind_of_file(file) == SOURCE


def kind_of_file(file: str | Path) -> object:
    """The ``kind`` that a file says it is, ``NETWORK`` for one of a network, None where it says none. Raises
    MetricError when it cannot be read."""
    data = read_yaml(file)[1]
    return NETWORK if NETWORK in data and "kind" not in data else data.get("kind")


def load_source(file: str | Path) -> NamedSource:
    """Read a source from a YAML file or text, as ``load_metric`` reads a metric. Raises MetricError."""
    name, data = read_yaml(file)
    if data.get("kind") != SOURCE:
        raise MetricError(
            f"{name}: it is no source file; write 'kind: source' at its beginning where it is to be one"
        )
    if isinstance(data.get("source"), str):
        raise MetricError(
            f"{name}: source: a source file has the fields of the source here, not a name; "
            f"write {', '.join(Source.model_fields)}"
        )
    found = validated(NamedSource, name, data, list(NamedSource.model_fields))
    refuse_oversized_source(found.source, f"source {found.name!r}")
    return found


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
        return f", line {mark.line + 1}, column {mark.column + 1}: {_with_fix(error)}"
    return f": it is not YAML: {error}"


# Parts of what PyYAML says of a mistake, with what mends it.
_YAML_FIXES = (
    ("<block end>", "indent it as the fields around it are"),
    ("mapping values are not", "indent it as the fields around it, or put a text with a colon in quotes"),
    ("'\\t'", "indent with spaces, not with tabs"),
    ("cannot start any token", "put the value in quotes"),
    ("could not find expected ':'", "write a colon and a value after the name of the field before it"),
    ("expected ',' or", "close the bracket, or write a comma"),
    ("unexpected end of stream", "close the quotes"),
)


def _with_fix(error: yaml.MarkedYAMLError) -> str:
    problem = error.problem or error.context or "it is not YAML"
    fix = next((fix for part, fix in _YAML_FIXES if part in problem), "")
    return f"{problem}; {fix}" if fix else problem


_SOURCE_DURATIONS = ("allowed_lateness", "clock_skew", "max_ahead", "idle_timeout")
_DURATIONS = ("retention", "key_ttl", *_SOURCE_DURATIONS)


def _refuse_bare_durations(name: str, data: dict[Any, Any], durations: Sequence[str]) -> None:
    # The models take microseconds, which is what workers send each other; a person would mean seconds.
    source = data.get("source")
    places = [("", data, field) for field in durations]
    if isinstance(history := data.get("history"), dict):
        places.append(("history.", history, "retention"))
    if isinstance(source, dict):
        places += [("source.", source, field) for field in _SOURCE_DURATIONS]
    for where, mapping, field in places:
        value = mapping.get(field)
        if isinstance(value, int | float) and not isinstance(value, bool) and value != 0:
            raise MetricError(f"{name}: {where}{field}: {value} has no unit; write {value}s, or 5m, 1h, 7d")


_SHORT = reprlib.Repr()
_SHORT.maxlevel, _SHORT.maxstring, _SHORT.maxlong, _SHORT.maxother = 2, 70, 70, 70


def _message(error: ErrorDetails, fields: list[str], nested: Mapping[str, type[BaseModel]]) -> str:
    # Pydantic names the branch of a union, and a dict's key, as if they were fields.
    place = [part for part in error["loc"] if part != "[key]"]
    # Not repr: YAML's aliases can make a few lines as large as one likes.
    value = _SHORT.repr(error["input"])
    value = value if len(value) <= 60 else value[:57] + "..."
    if place[:2] == ["source", "partitions"]:
        return (
            f"source.partitions: {value} is neither a number from 1 to 4096 nor per-key; write one of these"
        )
    if place[:2] == ["source", "changelog"]:
        functions = ", ".join(get_args(AggregateFunction))
        return (
            f"source.changelog: {value} is neither true nor a function of an aggregate: {functions}; "
            "write one of these"
        )
    field = ".".join(map(str, place))
    match error["type"]:
        case "missing":
            return f"{field}: this field is missing; write {place[-1]}: VALUE"
        case "extra_forbidden":
            known = fields if len(place) == 1 else list(_model_at(place[:-1], nested).model_fields)
            near = _nearest(str(place[-1]), known) or f"; the fields are {', '.join(known)}"
            return f"{field}: there is no such field{near}"
        case "literal_error":
            expected = str(error.get("ctx", {}).get("expected", ""))
            known = [word.strip("'") for word in expected.replace(" or ", ", ").split(", ")]
            near = _nearest(str(error["input"]), known) or "; write one of them"
            return f"{field}: {value} is not one of {', '.join(known)}{near}"
        case "string_pattern_mismatch":
            return f"{field}: {value} is not a name; write a letter, then up to 63 more, digits, dots, _ or -"
        case "greater_than":
            return f"{field}: {value} is not longer than nothing; write a positive duration or leave it out"
        case "model_type":
            known = list(_model_at(place, nested).model_fields)
            return f"{field}: {value} is not a mapping; write one with {', '.join(known)}"
        case "int_type" | "greater_than_equal" if place[-1] in _DURATIONS:
            return f"{field}: {value} is not a duration; write a number and a unit, such as 5s, 2m, 1h or 7d"
        case "value_error":
            return f"{field}: {broken_rule(error)}"
        case _:
            return f"{field}: {value} {broken_rule(error)}"


def _model_at(place: list[Any], nested: Mapping[str, type[BaseModel]]) -> type[BaseModel]:
    if place and place[0] in nested:
        return nested[place[0]]
    if place[:1] != ["source"]:
        return Metric
    return Source if len(place) == 1 else ColumnSpec


def _nearest(word: str, known: list[str]) -> str:
    near = nearest(word, known)
    return f"; did you mean {near}?" if near else ""
