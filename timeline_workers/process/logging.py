"""Logging: one set-up for the worker, the feeder, the producer, `timeline dev` and the other commands.

Lines go to standard error, with the same fields from every program: ``timestamp`` (UTC), ``level``,
``program``, ``event``, and what the line is about. A terminal gets them as text, everything else as one JSON
object a line. What client libraries log passes through the same set-up (``library_logs``).
"""

from __future__ import annotations

import logging
import os
import sys

import structlog
from structlog.types import EventDict, Processor

from .library_logs import take_over

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


def configure_logging(program: str, level: str = "info") -> None:
    """Set up the log of this process, which is a ``program``; lines below ``level`` (``LEVELS``) are dropped.

    To be called once, before anything is logged. Raises KeyError for a level that is none.
    """
    terminal = sys.stderr.isatty()
    form: list[Processor] = [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    if terminal:
        form = [structlog.dev.ConsoleRenderer(colors=not os.environ.get("NO_COLOR"))]

    def name_program(logger: object, method: str, line: EventDict) -> EventDict:
        line.setdefault("program", program)
        return line

    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            name_program,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *form,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
    take_over("temporalio")  # what workflows and activities log, and failures of their tasks
