"""What Temporal's client library logs, on standard error, without its flood while a server is away.

Each of its some fourteen pollers reports every try that fails; one line in half a minute says the same.
"""

from __future__ import annotations

import logging
import re
import sys
from functools import cache
from time import monotonic

from temporalio.runtime import (
    LogForwardingConfig,
    LoggingConfig,
    Runtime,
    TelemetryConfig,
    TelemetryFilter,
)

AGAIN_SECONDS = 30.0
_RETRY = "temporalio_client::retry"
_MESSAGE = re.compile(r'message: "([^"]*)"')


class Retries(logging.Filter):
    """Lets one record of failed tries through in ``AGAIN_SECONDS``, in plain words, and all others."""

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
        record.msg = f"Temporal does not answer; trying again: {': '.join(errors) or log.message}"
        record.args = ()
        return True


@cache
def runtime() -> Runtime:
    """The client library's runtime of this process, with this logging."""
    logger = logging.getLogger("temporalio.core")
    logger.propagate = False
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s [%(levelname)s] %(message)s"))
    logger.addHandler(handler)
    logger.addFilter(Retries())
    forwarding = LogForwardingConfig(logger)
    level = TelemetryFilter(core_level="WARN", other_level="ERROR")
    return Runtime(telemetry=TelemetryConfig(logging=LoggingConfig(level, forwarding)))
