"""Using metrics from Python: applying them, asking their workers, how they are, watching them."""

from .client import TimelineClient as TimelineClient
from .models import (
    DeadLetter as DeadLetter,
    DeadLetterCount as DeadLetterCount,
    MetricDescription as MetricDescription,
    Question as Question,
    Replayed as Replayed,
    Written as Written,
)
from .sync import SyncTimelineClient as SyncTimelineClient
