"""``Definition``: what a cluster knows of a reconciler; the function is in the processes that call it."""

from __future__ import annotations

from typing import Annotated, Literal as Choice

from pydantic import BaseModel, ConfigDict, Field, model_validator

from timeline_workers.metric.model import NAME_PATTERN, Positive, TimeUnit, unset

from .key_group import SECOND, Policy
from .levels import When


class Definition(BaseModel):
    """A reconciler. Durations are microseconds.

    ``follow``: the metric whose result is the desired state, and of an aggregate which ``function``; None: a
    bucket, whose states whoever knows them tells (``notify``). There is a worker for each of ``partitions``,
    one in all where keys are groups of an aggregate (``grouped``). ``when``: whether
    what late events may still change counts. ``unit``: that of the instants that a function sees. ``lease``:
    for how long a process may be silent before its calls are made elsewhere. ``rate``: calls a second, of all
    processes together, and ``max_running``: at a time. ``isolated``: one key an activity; ``process``: and
    each call in a process of its own. ``resync``, ``first_pause``, ``longest_pause``, ``finalizes``: as in
    ``Policy``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, Field(pattern=NAME_PATTERN)]
    follow: Annotated[str, Field(pattern=NAME_PATTERN)] | None = unset()
    function: Annotated[str, Field(exclude_if=lambda function: not function)] = ""
    when: When = "provisional"
    unit: TimeUnit = "s"
    resync: Positive | None = unset()
    first_pause: Positive = 1 * SECOND
    longest_pause: Positive = 300 * SECOND
    lease: Annotated[int, Field(ge=1 * SECOND, strict=True)] = 30 * SECOND
    max_running: Annotated[int, Field(ge=1, strict=True)] | None = unset()
    rate: Annotated[float, Field(gt=0)] | None = unset()
    isolated: bool = False
    process: bool = False
    finalizes: bool = False
    partitions: Annotated[int, Field(ge=1, le=4096, strict=True)] | Choice["per-key"] = 1
    grouped: Annotated[bool, Field(exclude_if=lambda grouped: not grouped)] = False

    @model_validator(mode="after")
    def _fits_together(self) -> Definition:
        if self.first_pause > self.longest_pause:
            raise ValueError("backoff: the first pause is longer than the longest; write the shorter first")
        parts = self.partitions
        if isinstance(parts, int) and self.max_running is not None and self.max_running < parts:
            raise ValueError(
                f"max_running is {self.max_running}, and each of {parts} partitions needs a call of its own "
                "at a time; allow more, or take fewer partitions"
            )
        if parts == "per-key" and self.max_running is not None:
            raise ValueError(
                "max_running is kept to by the workers of partitions, and per-key has one for each key; "
                "leave it out, or give a number of partitions"
            )
        return self

    def policy(self, place: int = 0, partitions: int = 1) -> Policy:
        """How the worker of partition number ``place`` calls: it has its share of ``max_running``."""
        share = self.max_running
        if share is not None:
            share = max(1, share // partitions + (place < share % partitions))
        one_by_one = self.isolated or self.process or self.rate is not None
        return Policy(self.resync, self.first_pause, self.longest_pause, share, one_by_one, self.finalizes)
