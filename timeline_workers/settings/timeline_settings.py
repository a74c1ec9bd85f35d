"""Settings of our own, read from ``TIMELINE_*`` environment variables.

Temporal's own connection settings are ``TEMPORAL_*`` (see ``temporal_client``), credentials are in
``credentials``; these are only what is left.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from .environment import FromEnvironment


class LogSettings(FromEnvironment):
    """``log_level`` (``TIMELINE_LOG_LEVEL``): the least level of the lines that a program logs."""

    log_level: Literal["debug", "info", "warning", "error"] = "info"


def _without_dots(name: str) -> str:
    if "." in name:
        raise ValueError(f"a deployment's name has no dots; write {name.replace('.', '-')}")
    return name


class Settings(LogSettings):
    """What a worker process and the command line need to know.

    ``task_queue`` (``TIMELINE_TASK_QUEUE``): where workflow tasks wait. ``max_cached_workflows``
    (``TIMELINE_MAX_CACHED_WORKFLOWS``): how many timeline workers one process keeps in memory; the others are
    rebuilt from their history when something reaches them. ``message_bytes`` (``TIMELINE_MESSAGE_BYTES``):
    the largest message between two workers, well under Temporal's 512 KiB warning. ``deployment_name`` and
    ``build_id`` (``TIMELINE_DEPLOYMENT_NAME``, ``TIMELINE_BUILD_ID``): the worker deployment of Temporal that
    a worker process belongs to, and which build of it this is; both or neither. ``state_bytes``
    (``TIMELINE_STATE_BYTES``): how large the packed state of one timeline worker may get, at most 18 MiB: it
    passes through the history of a run twice, which Temporal ends at 50 MiB. ``sandbox``
    (``TIMELINE_SANDBOX``): run workflows in Temporal's sandbox, which refuses what is not deterministic, as
    tests do. ``min_free_bytes`` (``TIMELINE_MIN_FREE_BYTES``): how much of the disk of the embedded servers
    is kept free: with less their broker is stopped, before it loses what it confirms.
    """

    task_queue: Annotated[str, Field(min_length=1)] = "timeline"
    max_cached_workflows: Annotated[int, Field(ge=0)] = 1000
    message_bytes: Annotated[int, Field(ge=1024, le=480 * 1024)] = 256 * 1024
    state_bytes: Annotated[int, Field(ge=1024, le=18 * 1024 * 1024)] = 16 * 1024 * 1024
    sandbox: bool = False
    min_free_bytes: Annotated[int, Field(ge=0)] = 256 * 1024 * 1024
    deployment_name: Annotated[str, AfterValidator(_without_dots)] = ""
    build_id: str = ""

    @model_validator(mode="after")
    def _names_a_whole_build(self) -> Self:
        if bool(self.deployment_name) != bool(self.build_id):
            given, other = self.variable("deployment_name"), self.variable("build_id")
            if self.build_id:
                given, other = other, given
            raise ValueError(
                f"{given} is set and {other} is not; a versioned process needs both: "
                f"set {other}, too, or unset {given}"
            )
        return self
