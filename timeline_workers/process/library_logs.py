"""Logs of client libraries, as lines of our own log: with a level, a time, and fields of their own.

Where no log is set up, as in most commands, they go to standard error in plain text.
"""

from __future__ import annotations

import logging
import sys
from typing import Any

import structlog

_PLAIN = logging.Formatter("%(asctime)s [%(levelname)s] %(message)s")


class OurLog(logging.Handler):
    """Hands records of Python's logging on to structlog, as lines of the logger ``name``."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self._name = name

    def emit(self, record: logging.LogRecord) -> None:
        """Log ``record`` at its own level."""
        try:
            if structlog.is_configured():
                log = structlog.get_logger(self._name)
                log.log(record.levelno, record.getMessage(), **_fields(record))
            else:
                fields = "".join(f" {name}={value}" for name, value in _fields(record).items())
                sys.stderr.write(f"{_PLAIN.format(record)}{fields}\n")
        except Exception:  # a log line must end nothing
            self.handleError(record)


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    """What a record says beside its message: of Temporal's core library where it comes from and its fields,
    of a workflow its id.
    """
    found: dict[str, Any] = {"library": record.name.partition("-")[0]}
    core = getattr(record, "temporal_log", None)
    if core is not None:
        found["source"] = core.target
        found["details"] = str(core.fields)
    if (about := getattr(record, "temporal_workflow", None)) is not None:
        found["workflow_id"] = about["workflow_id"]
    if record.exc_info and structlog.is_configured():
        found["exc_info"] = record.exc_info
    return found


def take_over(name: str) -> None:
    """Have everything that a library logs as ``name``, or below it, be lines of our log from now on."""
    logger = logging.getLogger(name)
    if not any(isinstance(handler, OurLog) for handler in logger.handlers):
        logger.addHandler(OurLog(name))
    logger.propagate = False
