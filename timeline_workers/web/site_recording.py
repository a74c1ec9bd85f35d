"""SiteRecording: the player's recording over the history of a site, whose store may still be opened."""

from __future__ import annotations

from collections.abc import Sequence

from timeline_workers.playback.history_recording import HistoryRecording, MetricNames
from timeline_workers.playback.items import View
from timeline_workers.playback.reads import LookAnswer
from timeline_workers.playback.recording import ChannelReader
from timeline_workers.playback.requests import Channel

from .site import Site


class SiteRecording:
    """Until the store of ``site`` is open, every call raises HistoryError: the player says store-down."""

    def __init__(self, site: Site, names: MetricNames) -> None:
        self._site, self._names = site, names
        self._recording: HistoryRecording | None = None

    def _now(self) -> HistoryRecording:
        store = self._site.history()
        if self._recording is None:
            self._recording = HistoryRecording(store, self._names)
        return self._recording

    async def open(self, channel: Channel, view: View) -> ChannelReader:
        """See ``Recording``."""
        return await self._now().open(channel, view)

    async def seq(self) -> int:
        """See ``Recording``."""
        return await self._now().seq()

    async def look(
        self, readers: Sequence[ChannelReader], view: View, since: int | None, upto: int | None
    ) -> LookAnswer:
        """See ``Recording``."""
        return await self._now().look(readers, view, since, upto)
