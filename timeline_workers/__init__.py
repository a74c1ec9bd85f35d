"""Time-state analytics: timeline expressions over streams of events.

``evaluate`` answers questions about a list or table of events, with no server; ``load_metric`` reads a
metric file. The durable side, one Temporal workflow per node, is in ``workflows`` and ``feeder``;
``TimelineClient`` (or ``SyncTimelineClient``, without ``await``) applies metrics there and asks them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .errors import (
    Code,
    ConnectionFailedError,
    EventError,
    EventOrderWarning,
    ExpressionError,
    HistoryError,
    MetricError,
    QuestionError,
    StateError,
    TimelineError,
    UnknownNameError,
)

if TYPE_CHECKING:
    from timeline_workers.metric.load import load_metric
    from timeline_workers.metric.model import Metric, Source

    from .client import SyncTimelineClient, TimelineClient
    from .evaluation import Result, evaluate

    __version__: str

# Loaded on first use, and the version too: a command that prints its help should not wait for NumPy.
_LAZY = {
    "Metric": "metric",
    "Result": "evaluation",
    "Source": "metric",
    "SyncTimelineClient": "client",
    "TimelineClient": "client",
    "evaluate": "evaluation",
    "load_metric": "metric",
}

__all__ = [
    "Code",
    "ConnectionFailedError",
    "EventError",
    "EventOrderWarning",
    "ExpressionError",
    "HistoryError",
    "Metric",
    "MetricError",
    "QuestionError",
    "Result",
    "Source",
    "StateError",
    "SyncTimelineClient",
    "TimelineClient",
    "TimelineError",
    "UnknownNameError",
    "evaluate",
    "load_metric",
]


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("timeline-workers")
    except PackageNotFoundError:  # a source tree that is not installed
        return "0+unknown"


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return globals().setdefault(name, _version())
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f".{_LAZY[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY, "__version__"})
