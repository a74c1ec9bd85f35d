"""Files of networks: read with every mistake at its line, and written again.

A stored network keeps the text of its file, so that it is given back as it was written, with its comments;
``network_text`` is for networks that were built in Python and have none. So no library that keeps comments in
a tree of YAML is needed (ruamel.yaml was looked at: it does, but nothing here changes a file).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from timeline_workers.errors import ExpressionError, MetricError, NetworkError
from timeline_workers.language.durations import format_duration
from timeline_workers.language.suggestions import nearest
from timeline_workers.metric.definition_file import expression_places, nodes_on
from timeline_workers.metric.load import read_yaml
from timeline_workers.metric.model import ColumnSpec, Output
from timeline_workers.settings.field_rules import broken_rule

from .network_model import SECTIONS, Network, NetworkTest, Sample, field_names
from .wiring import Path as Fields, Problem, Wiring, wire

_DURATIONS: Final = ("allowed_lateness", "clock_skew", "max_ahead", "idle_timeout", "retention", "key_ttl")


def load_network(file: str | Path) -> Wiring:
    """Read a network from a YAML file or text, and wire it. Raises NetworkError that names all that is wrong,
    with its line, and the nearest name for one that is not there."""
    wiring, name, text = _read(file)
    refuse_problems(wiring, name, text)
    return wiring


def load_loose(file: str | Path) -> Wiring:
    """The same for a network that need not be complete: what is wrong in its wiring is in ``problems``."""
    return _read(file)[0]


def refuse_problems(wiring: Wiring, name: str, text: str = "") -> None:
    """Raise NetworkError where there are problems. ``text``: of the file ``name``, for their lines."""
    if wiring.problems:
        raise NetworkError("\n".join(_said(problem, name, text) for problem in wiring.problems))


def _read(file: str | Path) -> tuple[Wiring, str, str]:
    try:
        name, data = read_yaml(file, "network")
    except MetricError as error:
        raise NetworkError(str(error)) from None
    text = str(file) if name == "network" else Path(file).read_text(encoding="utf-8")
    if problems := _bare_durations(data):
        raise NetworkError("\n".join(_said(problem, name, text) for problem in problems))
    try:
        return wire(Network.model_validate(data)), name, text
    except ValidationError as error:
        raise NetworkError("\n".join(validation_problems(error, name, text))) from None


def validation_problems(error: ValidationError, name: str, text: str = "") -> list[str]:
    """What the models refuse of the network ``name``, in words, with the lines of ``text``."""
    problems = [_problem(one) for one in error.errors(include_url=False)]
    return list(dict.fromkeys(_said(problem, name, text) for problem in problems))


def _said(problem: Problem, name: str, text: str) -> str:
    if isinstance(problem.said, ExpressionError):
        places = expression_places(text, problem.said.text, problem.path) if text else None
        return str(
            problem.said.in_file(f"{name}: {_dotted(problem.path)}" if places is None else name, places)
        )
    # The entry of a list, or the field itself, or the last field on the way that is there.
    way = nodes_on(text, problem.path) if text else []
    node = way[min(len(way), len(problem.path)) - 1] if way else None
    line = f", line {node.start_mark.line + 1}" if node is not None else ""
    return f"{name}{line}: {_dotted(problem.path)}: {problem.said}"


def _dotted(path: Fields) -> str:
    return ".".join(str(part + 1) if isinstance(part, int) else part for part in path)


def _bare_durations(data: Mapping[Any, Any]) -> list[Problem]:
    # The models take microseconds, which is what programs send each other; a person would mean seconds.
    found = []
    for section in ("sources", "metrics"):
        parts = data.get(section)
        for name, fields in parts.items() if isinstance(parts, dict) else ():
            for field in _DURATIONS:
                value = fields.get(field) if isinstance(fields, dict) else None
                if isinstance(value, int | float) and not isinstance(value, bool) and value != 0:
                    said = f"{value} has no unit; write {value}s, or 5m, 1h, 7d"
                    found.append(Problem((section, str(name), field), said))
    return found


def _problem(error: ErrorDetails) -> Problem:
    # Pydantic names the branch of a union, and a dict's key, as if they were fields.
    unions = ("[key]", "literal['nothing']", "Output")
    path: Fields = tuple(part for part in error["loc"] if part not in unions)
    value = repr(error["input"])
    value = value if len(value) <= 60 else f"{value[:57]}..."
    match error["type"]:
        case "missing":
            said = f"this field is missing; write {path[-1]}: VALUE"
        case "extra_forbidden":
            known = field_names(_model_at(path[:-1]))
            near = nearest(str(path[-1]), known)
            said = "there is no such field; " + (
                f"did you mean {near}?" if near else f"the fields are {', '.join(known)}"
            )
        case "string_pattern_mismatch":
            said = f"{value} is not a name here; write a letter, then up to 63 more, digits, _ or -"
        case "literal_error" if path[-1] == "to":
            said = f"{value} is no place for events; write nothing, or {{topic: NAME}}"
        case "model_type" | "dict_type" | "model_attributes_type":
            said = f"{value} is not a mapping; write NAME: VALUE for each field"
        case "value_error":
            said = broken_rule(error)
        case _:
            said = f"{value} {broken_rule(error)}"
    return Problem(path, said)


def _model_at(path: Fields) -> type[BaseModel]:
    if len(path) < 2:
        return Network
    if path[0] == "tests":
        return NetworkTest
    if len(path) == 2:
        return SECTIONS[str(path[0])]
    if path[0] == "outputs":
        return Output
    return ColumnSpec if path[0] == "sources" else Sample


def network_fields(network: Network) -> dict[str, Any]:
    """``network`` as a file has it: no defaults, durations with their units."""
    fields = network.model_dump(mode="json", exclude_defaults=True, by_alias=True)
    for section in ("sources", "metrics"):
        for part in fields.get(section, {}).values():
            for name in part.keys() & set(_DURATIONS):
                part[name] = format_duration(part[name])
    for source in fields.get("sources", {}).values():
        for column, spec in source.get("columns", {}).items():
            if set(spec) == {"type"}:
                source["columns"][column] = spec["type"]
    return fields


def network_text(network: Network) -> str:
    """The file of ``network``, which ``load_network`` reads back."""
    return yaml.dump(network_fields(network), sort_keys=False, allow_unicode=True, width=10_000)
