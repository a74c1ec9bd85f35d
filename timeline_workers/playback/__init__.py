"""Playback: recorded events and timelines under one playhead, as a DVR plays them.

``requests`` and ``replies`` are the messages of the protocol ``timeline.dvr.v1``, ``player`` the state
machine that answers the one with the other, ``recording`` what it reads from. ``DvrClient`` and
``SyncDvrClient`` are clients of a server that speaks it.
"""

from .dvr_client import DvrClient as DvrClient
from .requests import (
    AggregateChannel as AggregateChannel,
    EventsChannel as EventsChannel,
    HealthChannel as HealthChannel,
    LettersChannel as LettersChannel,
    TimelinesChannel as TimelinesChannel,
    WhatIfChannel as WhatIfChannel,
)
from .sync_dvr_client import SyncDvrClient as SyncDvrClient
