"""Exit codes: one table for all programs, and which of them an error is.

docs/operations.md has the same table; a test compares the two.
"""

from __future__ import annotations

from enum import IntEnum

from timeline_workers.errors import (
    ConnectionFailedError,
    ExpressionError,
    HistoryError,
    MetricError,
    NetworkError,
    QuestionError,
    RuleError,
    SettingsError,
    TableError,
    TargetError,
    TimelineError,
)


class ExitCode(IntEnum):
    """What the exit code of a program says."""

    OK = 0
    FAILED = 1
    USAGE = 2
    BAD_EVENTS = 3
    UNREACHABLE = 4
    DOUBTFUL = 5
    OUT_OF_MEMORY = 6
    INTERRUPTED = 130


MEANINGS: dict[ExitCode, str] = {
    ExitCode.OK: "done, or stopped as asked (SIGTERM, Ctrl-C)",
    ExitCode.FAILED: "failed",
    ExitCode.USAGE: "the command line, expression, metric, setting or question is wrong",
    ExitCode.BAD_EVENTS: "done, but some events were bad",
    ExitCode.UNREACHABLE: "a server cannot be reached, or no worker process runs",
    ExitCode.DOUBTFUL: "done, but answers may be wrong or old, or a metric is not well",
    ExitCode.OUT_OF_MEMORY: "out of memory",
    ExitCode.INTERRUPTED: "a command was interrupted",
}


def exit_code(error: TimelineError) -> ExitCode:
    """The exit code that says what kind of mistake ``error`` is."""
    if isinstance(error, ConnectionFailedError | HistoryError):
        return ExitCode.UNREACHABLE
    wrong = ExpressionError | MetricError | QuestionError | RuleError | SettingsError
    if isinstance(error, wrong | NetworkError | TableError | TargetError):
        return ExitCode.USAGE
    return ExitCode.FAILED
