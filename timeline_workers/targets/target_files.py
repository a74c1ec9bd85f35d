"""Files of targets: YAML, validated, unknown fields refused.

Example::

    kind: target
    name: pager
    what: webhook                # alertmanager, apprise, pulsar, kafka, postgres, file, stdout or temporal
    url: https://pager.example/hooks/timeline
    secret: {env: PAGER_SECRET}  # of the worker processes; or {file: /run/secrets/pager}
    give_up: 1d                  # for how long a message is tried; these three are the defaults
    most: 10000                  # how many messages may wait
    at_once: 8                   # how many are sent together
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, cast

import yaml

from timeline_workers.errors import Code, MetricError, TargetError
from timeline_workers.language.durations import format_duration
from timeline_workers.language.suggestions import nearest
from timeline_workers.metric.load import TARGET, read_yaml, validated

from .secrets import Address, SecretReference
from .target import KINDS, Target

_DURATIONS = ("give_up", "timeout")
_NESTED: Final = {"secret": SecretReference, "token": SecretReference, "secrets": SecretReference}


def load_target(file: str | Path | Mapping[Any, Any]) -> Target:
    """Read a target from a YAML file, or from YAML text: several lines, or one that starts with {; or take
    what such a file holds.

    Raises TargetError that names every wrong field, its value, the rule that it breaks and what to write.
    """
    try:
        name, data = (TARGET, dict(file)) if isinstance(file, Mapping) else read_yaml(file, TARGET)
        if data.get("kind") != TARGET:
            raise TargetError(f"{name}: it is no target of alerts: one begins with 'kind: target'")
        model = KINDS.get(what := str(data.get("what", "")))
        if model is None:
            known = ", ".join(KINDS)
            near = nearest(what, KINDS)
            wrong = f"{what!r:.60} is none" if what else "this field is missing"
            raise TargetError(
                f"{name}: what: {wrong}; {f'did you mean {near}?' if near else f'write one of {known}'}"
            )
        address = (
            Address if model.model_fields.get("url") is not None and what != "apprise" else SecretReference
        )
        fields = [one for one in model.model_fields if one != "kind"]
        return cast(Target, validated(model, name, data, fields, _DURATIONS, {**_NESTED, "url": address}))
    except TargetError:
        raise
    except MetricError as error:
        raise TargetError(str(error), code=Code.WRONG_TARGET) from None


def target_file(target: Target) -> str:
    """The file of ``target``."""
    fields = target.model_dump(mode="json", exclude_defaults=True)
    for name in _DURATIONS:
        if name in fields:
            fields[name] = format_duration(fields[name])
    if "text" in (url := fields.get("url", {})):
        fields["url"] = url["text"]
    first = {"kind": TARGET, "name": target.name, "what": target.what}
    return yaml.safe_dump({**first, **fields}, sort_keys=False, allow_unicode=True, width=10_000)
