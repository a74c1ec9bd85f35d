"""Using metrics from Python: applying them, asking their workers, how they are, watching them."""

from .models import (
    DeadLetter as DeadLetter,
    DeadLetterCount as DeadLetterCount,
    DriverResult as DriverResult,
    MetricDescription as MetricDescription,
    MetricHealth as MetricHealth,
    Moved as Moved,
    Notice as Notice,
    Question as Question,
    RemoveResult as RemoveResult,
    Replayed as Replayed,
    SourceResult as SourceResult,
    Written as Written,
)
from .running_rules import (
    AlertEpisode as AlertEpisode,
    AlertMessage as AlertMessage,
    AlertsSeen as AlertsSeen,
    RuleDescription as RuleDescription,
)
from .sync import SyncTimelineClient as SyncTimelineClient
from .timeline_client import TimelineClient as TimelineClient
