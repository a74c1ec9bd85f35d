"""``history_address``: where the history store is, for every program."""

from __future__ import annotations

from timeline_workers.settings.credentials import PulsarAccess
from timeline_workers.settings.history_settings import OFF, HistorySettings

from .embedded_addresses import running_addresses


def history_address(settings: HistorySettings | None = None) -> str | None:
    """The address of the history store, as ``open_history`` takes it; None where there is none.

    It is what ``TIMELINE_HISTORY`` says (``off``: none), else the one of the running ``timeline dev``, for
    whoever uses its broker, too: what other servers are fed is no history of these. Raises SettingsError.
    """
    said = (settings or HistorySettings.from_env()).history
    if said is not None:
        address = said.get_secret_value()
        return None if address == OFF else address
    running = running_addresses()
    if running is None or PulsarAccess.from_env().url not in (None, running.pulsar):
        return None
    return running.history
