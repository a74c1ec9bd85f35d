"""Reading the catalog so that one entry which cannot be used hides no other.

An entry may come from a release that knows more than this one, or have been registered by one that checked
less. It is named, with the reason, wherever metrics are listed; nobody feeds it or answers for it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from timeline_workers.errors import MetricError, TimelineError
from timeline_workers.metric.model import Metric
from timeline_workers.plan.physical import Plan, plan
from workflows.messages import CatalogEntry

_REASON_LENGTH = 300


@dataclass(frozen=True, slots=True)
class Unusable:
    """A registered metric that this release cannot use, and why."""

    name: str
    reason: str


def read_entries(raw: Iterable[Any]) -> tuple[list[CatalogEntry], list[Unusable]]:
    """The entries that this release can read, and the others. ``raw``: entries as JSON objects."""
    entries: list[CatalogEntry] = []
    unusable: list[Unusable] = []
    for one in raw:
        try:
            # As JSON: what is stored is not read as what a program of this release makes (``Metric``).
            entries.append(CatalogEntry.model_validate_json(json.dumps(one)))
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            place = ".".join(map(str, first["loc"]))
            unusable.append(
                Unusable(
                    _name_of(one),
                    f"this release cannot read its definition: {place}: {first['msg']}; was it applied by a "
                    "later one? Install that release here, or `timeline apply` it again",
                )
            )
    return entries, unusable


def plan_of(metric: Metric) -> Plan:
    """The plan of a registered metric; raises MetricError that names the metric when it has none."""
    try:
        return plan(metric)
    except TimelineError as error:
        raise MetricError(cannot_be_planned(metric.name, error)) from error


def plans_of(entries: Iterable[CatalogEntry], topic: str | None = None) -> list[Plan]:
    """The plans of the registered metrics (on ``topic``) that have one."""
    plans = []
    for metric in (entry.metric for entry in entries):
        if topic in (None, metric.source.topic):
            with suppress(MetricError):  # `timeline get` says what is wrong with it
                plans.append(plan_of(metric))
    return plans


def cannot_be_planned(name: str, error: TimelineError) -> str:
    """The message for a registered metric whose definition is wrong."""
    said = str(error).splitlines()[0]
    return (
        f"metric {name!r} cannot be planned, and nothing is fed to it: {said[:_REASON_LENGTH]}; "
        "`timeline apply` a right definition of it, or `timeline delete` it"
    )


def _name_of(raw: Any) -> str:
    try:
        return str(raw["metric"]["name"])
    except (KeyError, TypeError):
        return "?"
