"""Files of alert rules: YAML, validated, unknown fields refused.

Example::

    kind: alert
    name: stalled
    source: {topic: playback-events, key: session_id, time: timestamp}
    expression: latest_event_to_state(playerStateChange) == "buffer"
    for: 1m                      # true for so long before it counts
    keep: 30s                    # and for so long after it ended; unset: not at all
    when: provisional            # or final: what is told never changes, and comes later
    as_of: watermark             # or clock
    repeat: 1h                   # nobody is woken twice for one trouble within it
    mute: [{key: "test-*", until: 2026-12-01T08:00:00Z}]
    title: "{{ key }} buffers"   # Jinja2; unset: the plain one
    to: [pager]
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from timeline_workers.errors import MetricError, RuleError
from timeline_workers.metric.load import (
    ALERT,
    kind_of_file,
    load_metric,
    read_yaml,
    validated,
    with_stored_source,
)
from timeline_workers.metric.model import Metric, StoredSource

from .alert_rule import Mute, Rule, check_rule

RULE_FIELDS: Final = [
    field.alias or name for name, field in Rule.model_fields.items() if name not in ("kind", "named_source")
]
_DURATIONS = ("for", "keep", "repeat")


def load_rule(
    file: str | Path | Mapping[Any, Any], sources: Callable[[str], StoredSource] | None = None
) -> Rule:
    """Read a rule from a YAML file, or from YAML text: several lines, or one that starts with {; or take what
    such a file holds.

    ``sources``: finds a stored source by its name, for a rule that names one; it raises for an unknown one.

    Raises RuleError that names every wrong field, its value, the rule that it breaks and what to write, and
    ExpressionError for the expression.
    """
    try:
        name, data = ("rule", dict(file)) if isinstance(file, Mapping) else read_yaml(file, "rule")
        if data.get("kind") != ALERT:
            raise RuleError(f"{name}: it is no rule of an alert: one begins with 'kind: alert'")
        if "named_source" in data:
            raise RuleError(
                f"{name}: named_source: there is no such field; the fields are {', '.join(RULE_FIELDS)}"
            )
        data = with_stored_source(name, data, sources)
        rule = validated(Rule, name, data, RULE_FIELDS, _DURATIONS, {"mute": Mute})
    except MetricError as error:
        raise RuleError(str(error)) from None
    check_rule(rule)
    return rule


def load_definition(
    file: str | Path | Mapping[Any, Any], sources: Callable[[str], StoredSource] | None = None
) -> Metric:
    """Read what is applied from a YAML file or text: a metric, or a rule as the metric of its truth.

    Raises what ``load_metric`` and ``load_rule`` raise.
    """
    if not isinstance(file, Mapping) and kind_of_file(file) != ALERT:
        return load_metric(file, sources)
    return load_rule(file, sources).metric
