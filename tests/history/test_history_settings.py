"""Settings of the history: what is said of them, and the store of a running ``timeline dev``."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from timeline_workers.errors import SettingsError
from timeline_workers.servers.embedded import history_address as module
from timeline_workers.servers.embedded.embedded_addresses import Addresses
from timeline_workers.servers.embedded.history_address import history_address
from timeline_workers.settings.history_settings import HistorySettings, shown_address, sqlite_address

POSTGRES = "postgresql://me:do-not-tell@db.example.com:5432/history"


def test_addresses_are_shown_without_their_password() -> None:
    assert shown_address(POSTGRES) == "postgresql://me@db.example.com:5432/history"
    assert shown_address(sqlite_address(Path("/data/history.db"))) == "/data/history.db"
    assert "do-not-tell" not in repr(HistorySettings.from_env({"TIMELINE_HISTORY": POSTGRES}))


@pytest.mark.parametrize("value", ["mysql://me:do-not-tell@db/history", "do-not-tell", "sqlite:", "postgres"])
def test_a_wrong_address_says_what_is_one(value: str) -> None:
    with pytest.raises(SettingsError, match=r"^TIMELINE_HISTORY: .*write sqlite:PATH") as refused:
        HistorySettings.from_env({"TIMELINE_HISTORY": value})
    assert "do-not-tell" not in str(refused.value)


def test_a_wrong_patience_names_the_variable() -> None:
    with pytest.raises(SettingsError, match="TIMELINE_HISTORY_PATIENCE='-1'"):
        HistorySettings.from_env({"TIMELINE_HISTORY_PATIENCE": "-1"})


def test_the_history_goes_with_the_broker(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without a setting it is that of the running servers, unless another broker is used."""
    servers = Addresses(
        temporal="h:1",
        pulsar="pulsar://h:2",
        ui="",
        pid=os.getpid(),
        data_dir=tmp_path,
        history="sqlite:/h.db",
    )
    monkeypatch.setattr(module, "running_addresses", lambda: servers)
    for name in ("TIMELINE_HISTORY", "TIMELINE_PULSAR_URL"):
        monkeypatch.delenv(name, raising=False)
    assert history_address() == "sqlite:/h.db"
    monkeypatch.setenv("TIMELINE_PULSAR_URL", "pulsar://h:2")
    assert history_address() == "sqlite:/h.db"
    monkeypatch.setenv("TIMELINE_PULSAR_URL", "pulsar://elsewhere:2")
    assert history_address() is None
    monkeypatch.setenv("TIMELINE_HISTORY", POSTGRES)
    assert history_address() == POSTGRES
    monkeypatch.setenv("TIMELINE_HISTORY", "off")
    assert history_address() is None
