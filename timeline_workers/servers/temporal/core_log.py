"""The log of Temporal's client library, as lines of our own log, without its flood while a server is away.

Each of its some fourteen pollers reports every try that fails; one line in half a minute says the same.
"""

from __future__ import annotations

import logging
import re
from functools import cache
from time import monotonic

from temporalio.runtime import (
    LogForwardingConfig,
    LoggingConfig,
    Runtime,
    TelemetryConfig,
    TelemetryFilter,
)

from timeline_workers.process.library_logs import take_over

AGAIN_SECONDS = 30.0
LOGGER = "temporalio.core"
_RETRY = "temporalio_client::retry"
_MESSAGE = re.compile(r'message: "([^"]*)"')


class Retries(logging.Filter):
    """Lets one record of failed tries through in ``AGAIN_SECONDS``, in plain words and as a warning, and all
    others.
    """

    def __init__(self) -> None:
        super().__init__()
        self._last = float("-inf")

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether ``record`` is to be logged."""
        log = getattr(record, "temporal_log", None)
        if log is None or log.target != _RETRY:
            return True
        now = monotonic()
        if now - self._last < AGAIN_SECONDS:
            return False
        self._last = now
        errors = dict.fromkeys(_MESSAGE.findall(str(log.fields)))
        record.msg = f"Temporal does not answer; retrying: {', '.join(errors) or log.message}"
        record.args = ()
        # It passes by itself, however often it was tried.
        record.levelno, record.levelname = logging.WARNING, logging.getLevelName(logging.WARNING)
        return True


@cache
def runtime() -> Runtime:
    """The client library's runtime of this process, with this logging."""
    take_over(LOGGER)
    logger = logging.getLogger(LOGGER)
    logger.addFilter(Retries())
    forwarding = LogForwardingConfig(
        logger, prepend_target_on_message=False, append_log_fields_to_message=False
    )
    level = TelemetryFilter(core_level="WARN", other_level="ERROR")
    return Runtime(telemetry=TelemetryConfig(logging=LoggingConfig(level, forwarding)))
