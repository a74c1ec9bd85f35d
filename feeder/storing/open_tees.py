"""``open_tees``: the tees of a feeder process, which share the history store that the settings name."""

from __future__ import annotations

import structlog

from feeder.source.begin import Begin
from feeder.source.partitioned_source import PartitionedSource, Run
from timeline_workers.errors import HistoryError
from timeline_workers.history.store import HistoryStore
from timeline_workers.servers.embedded.history_address import history_address
from timeline_workers.settings.history_settings import OFF, HistorySettings, shown_address

from .history_tee import HistoryTee
from .history_thread import HistoryThread
from .tee import NoTee, Tee

log = structlog.get_logger("feeder")


class Tees:
    """Makes the tee of each topic. ``thread``: of the store, None where there is none; ``shown``: where it
    is, for people; ``patience``: in seconds.
    """

    def __init__(self, thread: HistoryThread | None, shown: str, patience: float) -> None:
        self._thread, self.shown, self._patience = thread, shown, patience

    def tee(self, source: PartitionedSource, run: Run, *, at_once: int, begin: Begin | None) -> Tee:
        """The tee of a feeder of ``source``."""
        if self._thread is None:
            return NoTee(source)
        return HistoryTee(source, self._thread, run, patience=self._patience, at_once=at_once, begin=begin)

    async def close(self) -> None:
        """Let go of the store."""
        if self._thread is not None:
            await self._thread.close()


async def open_tees() -> Tees:
    """Those of the store that the settings name. Raises SettingsError; a store that does not answer is waited
    for when there is something to store.
    """
    settings = HistorySettings.from_env()
    address = history_address(settings)
    if address is None:
        return Tees(None, OFF, 0.0)
    thread = HistoryThread(address)

    async def opened(store: HistoryStore) -> None:
        """It is open: nothing more is asked of it."""

    try:
        await thread.call(opened)
    except HistoryError as error:
        log.warning("history store does not answer; events wait for it in the broker", error=str(error))
    except BaseException:
        await thread.close()
        raise
    return Tees(thread, shown_address(address), settings.history_patience)
