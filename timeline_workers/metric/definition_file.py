"""Definition files: a metric, a rule or a stored source as the YAML file that defines it, and places in such
a file.

``load_metric``, ``load_rule`` and ``load_source`` read back what was written.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import yaml

from timeline_workers.language.durations import format_duration

from .alert_model import Alert
from .model import Metric, NamedSource

_SAID_BY_A_CHANGELOG = ("key", "time", "allowed_lateness", "columns")
_DURATIONS = ("allowed_lateness", "clock_skew", "max_ahead", "idle_timeout")


def metric_file(metric: Metric) -> str:
    """The file of ``metric``, or of the rule that it is of; a stored source that it was applied with is
    written out."""
    if metric.alert is not None:
        return _rule_file(metric, metric.alert)
    fields = metric.model_dump(mode="json", exclude_defaults=True, exclude={"naming", "named_source"})
    for name in ("retention", "key_ttl"):
        if fields.get(name) is not None:
            fields[name] = format_duration(fields[name])
    if "retention" in fields.get("history", {}):
        fields["history"]["retention"] = format_duration(fields["history"]["retention"])
    expression = fields.pop("expression")
    return _yaml({**fields, "source": _written(fields["source"]), "expression": expression})


def _rule_file(metric: Metric, alert: Alert) -> str:
    fields = metric.model_dump(mode="json", exclude_defaults=True, include={"name", "description", "source"})
    told = alert.model_dump(mode="json", exclude_defaults=True, exclude={"expression", "held_for"})
    lasting = {"for": alert.held_for, "keep": alert.keep, "repeat": alert.repeat}
    durations = {name: format_duration(value) for name, value in lasting.items() if value is not None}
    if alert.mute:
        told["mute"] = [{"key": one.key, "until": _iso(one.until)} for one in alert.mute]
    source = _written(fields.pop("source"))
    return _yaml(
        {"kind": "alert", **fields, **told, **durations, "source": source, "expression": alert.expression}
    )


def _iso(instant: int) -> str:
    return (datetime(1970, 1, 1) + timedelta(microseconds=instant)).isoformat() + "Z"


def source_file(source: NamedSource) -> str:
    """The file of a stored source."""
    fields = source.model_dump(mode="json", exclude_defaults=True)
    return _yaml({"kind": "source", **fields, "source": _written(fields["source"])})


def nodes_on(text: str, path: Sequence[str | int]) -> list[yaml.Node]:
    """The fields of the file ``text`` that ``path`` leads through, as far as it has them: of mappings their
    keys, of lists their entries, and last the value."""
    try:
        value = yaml.compose(text, yaml.SafeLoader)
    except (ValueError, yaml.YAMLError, RecursionError):
        return []
    found: list[yaml.Node] = []
    for part in path:
        if isinstance(value, yaml.MappingNode):
            pair = next((pair for pair in value.value if pair[0].value == part), None)
            if pair is None:
                return found
            found.append(pair[0])
            value = pair[1]
        elif isinstance(value, yaml.SequenceNode) and isinstance(part, int) and part < len(value.value):
            value = value.value[part]
            found.append(value)
        else:
            return found
    return [*found, value] if value is not None else found


def expression_places(
    text: str, expression: str | None, path: Sequence[str | int] = ("expression",)
) -> list[tuple[int, int]] | None:
    """The line and column of the file ``text``, from 1, at which each line of its expression begins; None
    where the file does not have the expression as it is: in several lines that are not a literal block, or
    escaped. ``path``: the fields that lead to it.
    """
    found = nodes_on(text, path)
    node = found[-1] if len(found) == len(path) + 1 else None
    if not isinstance(node, yaml.ScalarNode) or node.value != expression:
        return None
    lines = text.splitlines()
    first, column = node.start_mark.line, node.start_mark.column
    if node.style == "|":
        return _of_block(lines[first + 1 :], node.value.splitlines(), first + 2)
    column += len(node.style or "")  # the quote
    as_it_is = node.value and lines[first][column:].startswith(node.value)
    return [(first + 1, column + 1)] if as_it_is else None


def _of_block(raw: list[str], wanted: list[str], number: int) -> list[tuple[int, int]] | None:
    found: list[tuple[int, int]] = []
    for line, text in zip(raw, wanted, strict=False):
        indent = len(line) - len(text)
        if not line.endswith(text) or line[:indent].strip():
            return None
        found.append((number + len(found), indent + 1))
    return found


def _written(source: dict[str, Any]) -> dict[str, Any]:
    """A source as a file writes it: durations with their units, and what a changelog says itself left out."""
    if source.get("changelog"):
        source = {name: value for name, value in source.items() if name not in _SAID_BY_A_CHANGELOG}
    return {name: format_duration(value) if name in _DURATIONS else value for name, value in source.items()}


class _Dumper(yaml.SafeDumper):
    """Writes texts of several lines as literal blocks, as people do."""


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)


def _yaml(fields: dict[str, Any]) -> str:
    return yaml.dump(fields, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=10_000)
