"""Settings of our own, read from ``TIMELINE_*`` environment variables.

Temporal's own connection settings are ``TEMPORAL_*`` (see ``temporal_client``); these are only what is left.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from .errors import MetricError

_PREFIX = "TIMELINE_"


class Settings(BaseModel):
    """What a worker process and the command line need to know.

    ``task_queue`` (``TIMELINE_TASK_QUEUE``): where workflow tasks wait. ``max_cached_workflows``
    (``TIMELINE_MAX_CACHED_WORKFLOWS``): how many timeline workers one process keeps in memory; the others are
    rebuilt from their history when something reaches them. ``message_bytes`` (``TIMELINE_MESSAGE_BYTES``):
    the largest message between two workers, well under Temporal's 512 KiB warning.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    task_queue: Annotated[str, Field(min_length=1)] = "timeline"
    max_cached_workflows: Annotated[int, Field(ge=0)] = 1000
    message_bytes: Annotated[int, Field(ge=1024, le=480 * 1024)] = 256 * 1024

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> Settings:
        """Read the settings; raises MetricError naming the variable, its value and the rule it breaks."""
        found = os.environ if environ is None else environ
        values = {
            name: found[_PREFIX + name.upper()]
            for name in cls.model_fields
            if found.get(_PREFIX + name.upper(), "") != ""
        }
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            first = error.errors()[0]
            variable = _PREFIX + str(first["loc"][0]).upper()
            raise MetricError(f"{variable}={first['input']!r}: {first['msg']}") from None
