"""Every error the library raises on purpose.

    TimelineError
    ├── ExpressionError      a metric's text is wrong: has line, column, a caret and a hint
    ├── MetricError          a metric file or source declaration is wrong
    ├── RuleError            a rule of an alert is wrong
    ├── TargetError          a target of alerts is wrong
    ├── ReconcilerError      what is declared of a reconciler is wrong
    ├── NetworkError         a network of streams is wrong
    ├── EventError           one event is wrong: has a reason code for the dead-letter topic
    ├── QuestionError        a question is malformed (times, ranges, units)
    │   └── UnknownNameError an unknown key, node or metric, named
    ├── SettingsError        an environment variable is wrong: named, with the rule it breaks
    ├── CodecError           a payload cannot be decrypted: says which key is missing
    ├── ConnectionFailedError  a server cannot be reached: says which address and how to start one
    ├── HistoryError         the history store does not answer, or is no store of ours
    │   └── NoHistoryError   there is none at this address
    ├── TableError           an event table of others is not what was said of it
    └── StateError           carried state or a wire message cannot be decoded

Each message names the value, the rule it breaks and the fix. Words may change between releases; the ``code``
of an error does not (``Code``).
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import ClassVar


class Code(StrEnum):
    """What an error is, for programs: every error has one, and no code ever changes its meaning.

    Workers and the catalog send it with what they refuse. A later release may add codes.
    """

    FAILED = "failed"
    WRONG_EXPRESSION = "wrong-expression"
    WRONG_METRIC = "wrong-metric"
    WRONG_RULE = "wrong-rule"
    WRONG_TARGET = "wrong-target"
    WRONG_RECONCILER = "wrong-reconciler"
    WRONG_NETWORK = "wrong-network"
    WRONG_SETTING = "wrong-setting"
    WRONG_KEY_OF_PAYLOADS = "wrong-key-of-payloads"
    BAD_EVENT = "bad-event"
    WRONG_QUESTION = "wrong-question"
    TOO_LARGE = "too-large"  # more answers than one reply holds: ask for less at once
    NOT_KEPT = "not-kept"  # of that instant nothing is kept any more
    AMBIGUOUS_NODE = "ambiguous-node"
    UNKNOWN_NAME = "unknown-name"
    UNKNOWN_KEY = "unknown-key"
    UNKNOWN_NODE = "unknown-node"
    UNKNOWN_METRIC = "unknown-metric"
    UNKNOWN_SOURCE = "unknown-source"
    UNKNOWN_TARGET = "unknown-target"
    UNKNOWN_RECONCILER = "unknown-reconciler"
    KEY_MAY_HAVE_LEFT = "key-may-have-left"  # the worker does not hold it, and one of its archives may
    KEY_NOT_IN_ARCHIVE = "key-not-in-archive"
    SOURCE_IN_USE = "source-in-use"
    TARGET_IN_USE = "target-in-use"
    NOT_RUNNING = "not-running"  # a worker that was never started, or has ended
    NOT_READY = "not-ready"  # a worker that fetches its state: ask again in a moment
    CANNOT_ANSWER = "cannot-answer"  # a worker that fails again and again
    SUPERSEDED = "superseded"  # somebody else has changed the metric meanwhile
    UNREACHABLE = "unreachable"
    UNREADABLE_STATE = "unreadable-state"
    STORE_DOWN = "store-down"  # the history store does not answer
    WRONG_TABLE = "wrong-table"  # an event table of others is not what was said of it


class TimelineError(Exception):
    """Base of all errors that the library raises on purpose. ``code``: what it is, for programs."""

    usual_code: ClassVar[Code] = Code.FAILED

    def __init__(self, message: str = "", *, code: Code | None = None) -> None:
        self.code = self.usual_code if code is None else code
        super().__init__(message)


class ExpressionError(TimelineError):
    """A mistake in an expression's text.

    ``str(error)`` shows the line, a caret under the mistake, what was expected and the nearest name.
    ``span`` is the half-open range of character offsets of the mistake in ``text``, or None when the
    expression was built in Python and has no text. ``file``: the file that the text stands in, if any;
    ``begins``: the line and column of that file, from 1, at which each line of the text begins, where these
    can be told.
    """

    usual_code = Code.WRONG_EXPRESSION

    def __init__(
        self,
        message: str,
        *,
        text: str | None = None,
        span: tuple[int, int] | None = None,
        hint: str = "",
        file: str | None = None,
        begins: Sequence[tuple[int, int]] | None = None,
    ) -> None:
        self.message = message
        self.text = text
        self.span = span
        self.hint = hint
        self.file = file
        self.begins = begins
        super().__init__(self._render())

    def in_file(self, file: str, begins: Sequence[tuple[int, int]] | None) -> ExpressionError:
        """The same mistake, with the place in ``file`` that it stands at."""
        return ExpressionError(
            self.message, text=self.text, span=self.span, hint=self.hint, file=file, begins=begins
        )

    def _render(self) -> str:
        parts = [self.message if self.file is None else f"{self.file}: {self.message}"]
        if self.text is not None and self.span is not None:
            start, end = self.span
            start = min(start, len(self.text))
            line_start = self.text.rfind("\n", 0, start) + 1
            line_end = self.text.find("\n", start)
            line_end = len(self.text) if line_end < 0 else line_end
            number = self.text.count("\n", 0, start) + 1
            width = max(1, min(end, line_end) - start)
            # A long line is cut to what is near the mistake.
            shown = max(line_start, start - 60) if line_end - line_start > 110 else line_start
            line = self.text[shown : min(line_end, shown + 110)]
            width = min(width, max(1, len(line) - (start - shown)))
            pad = "".join("\t" if c == "\t" else " " for c in line[: start - shown])
            parts[0] = f"{self._place(number, start - line_start)}: {self.message}"
            parts += [f"  {line}", f"  {pad}{'^' * width}"]
        if self.hint:
            parts.append(self.hint)
        return "\n".join(parts)

    def _place(self, line: int, offset: int) -> str:
        if self.file is None:
            return f"line {line}, column {offset + 1}"
        if self.begins is None or line > len(self.begins):
            return f"{self.file}: line {line}, column {offset + 1} of its expression"
        of_file, column = self.begins[line - 1]
        return f"{self.file}, line {of_file}, column {column + offset}"


class MetricError(TimelineError):
    """A metric file or a source declaration breaks a rule; the message names the field, value and rule.

    ``place``: the line and column where it is no YAML, counted from 1; None for other mistakes.
    """

    usual_code = Code.WRONG_METRIC
    place: tuple[int, int] | None = None


class RuleError(TimelineError):
    """A rule of an alert is wrong."""

    usual_code = Code.WRONG_RULE


class TargetError(TimelineError):
    """A target of alerts is wrong, or cannot be removed."""

    usual_code = Code.WRONG_TARGET


class ReconcilerError(TimelineError):
    """What is declared of a reconciler breaks a rule; the message names it, and the value."""

    usual_code = Code.WRONG_RECONCILER


class NetworkError(TimelineError):
    """A network of streams is wrong: the message names each place, the rule and the fix."""

    usual_code = Code.WRONG_NETWORK


class EventError(TimelineError):
    """One event cannot be applied.

    ``reason`` is a stable code for counters and the dead-letter topic, such as ``malformed-json``,
    ``missing-key``, ``missing-time``, ``bad-time``, ``time-too-far-ahead``, ``late``, ``wrong-type``,
    ``int-out-of-range``, ``not-finite``, ``too-large``.
    """

    usual_code = Code.BAD_EVENT

    def __init__(self, reason: str, message: str) -> None:
        self.reason = reason
        super().__init__(message)


class QuestionError(TimelineError):
    """A question that has no answer as it was put: a range that ends before it starts, an unknown unit."""

    usual_code = Code.WRONG_QUESTION


class UnknownNameError(QuestionError):
    """An unknown key, node or metric: the message names it and, where there is one, the nearest known.

    ``doubt``: a state and a cause, as in the field ``health`` of answers, where who was asked is known to be
    broken or behind, so that the name may be known all the same; None: nothing is known against them.
    """

    usual_code = Code.UNKNOWN_NAME

    def __init__(
        self, message: str, doubt: tuple[str, str] | None = None, *, code: Code | None = None
    ) -> None:
        super().__init__(message, code=code)
        self.doubt = doubt


class SettingsError(TimelineError):
    """A setting, an environment variable, breaks a rule; secrets are not repeated in the message."""

    usual_code = Code.WRONG_SETTING


class CodecError(TimelineError):
    """A payload is encrypted with a key that is not here, or has been changed since it was encrypted."""

    usual_code = Code.WRONG_KEY_OF_PAYLOADS


class ConnectionFailedError(TimelineError):
    """A server cannot be reached: the message says which address was tried and how to start one.

    ``may_pass``: it may be on its way up, so that trying again can help; settings need not be wrong.
    """

    usual_code = Code.UNREACHABLE

    def __init__(self, message: str, *, may_pass: bool = False) -> None:
        self.may_pass = may_pass
        super().__init__(message)


class HistoryError(TimelineError):
    """The history store does not answer, or what is there is none that this release can read.

    ``may_pass``: trying again can help.
    """

    usual_code = Code.STORE_DOWN

    def __init__(self, message: str, *, may_pass: bool = False) -> None:
        self.may_pass = may_pass
        super().__init__(message)


class NoHistoryError(HistoryError):
    """There is no history store at an address that is asked, and who asks makes none."""

    def __init__(self, place: str) -> None:
        super().__init__(
            f"no history at {place}; name where there is one, or have it made: start the feeder and the "
            "worker processes with TIMELINE_HISTORY set to this address",
            may_pass=True,
        )


class TableError(TimelineError):
    """An event table of others is not what its declaration says, or the declaration is wrong."""

    usual_code = Code.WRONG_TABLE


class StateError(TimelineError):
    """Carried state or a message between workers cannot be decoded."""

    usual_code = Code.UNREADABLE_STATE


class EventOrderWarning(UserWarning):
    """Events seem to come in the reverse of the order that they are taken in, and that changes answers."""
