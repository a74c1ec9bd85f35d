"""Sources that are applied on their own, for metrics to name: one definition, so that they share workers.

Example::

    kind: source
    name: playback
    source:                      # as in a metric file
      topic: playback-events
      key: session_id
      time: timestamp

A metric then says ``source: playback``. It keeps the definition that the source had when the metric was
applied, and which version that was; a source that is applied again changes no metric that runs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal as Choice

from pydantic import BaseModel, ConfigDict, Field

from timeline_workers.errors import MetricError

from .model import NAME_PATTERN, Source, read_yaml, validated
from .size_limits import refuse_oversized_source

KIND = "source"


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


def is_source_file(file: str | Path) -> bool:
    """Whether a file says that it is a source. Raises MetricError when it cannot be read."""
    return read_yaml(file)[1].get("kind") == KIND


def load_source(file: str | Path) -> NamedSource:
    """Read a source from a YAML file or text, as ``load_metric`` reads a metric. Raises MetricError."""
    name, data = read_yaml(file)
    if data.get("kind") != KIND:
        raise MetricError(f"{name}: it is no source file: one begins with 'kind: source'")
    if isinstance(data.get("source"), str):
        raise MetricError(f"{name}: source: a source file has the fields of the source here, not a name")
    found = validated(NamedSource, name, data, list(NamedSource.model_fields))
    refuse_oversized_source(found.source, f"source {found.name!r}")
    return found
