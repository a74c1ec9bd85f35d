"""`timeline serve` as a program: what it says, that it serves while parts are down, and how it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

pytest.importorskip("fastapi")
from timeline_workers.cli import serve_command
from timeline_workers.cli.serve_command import _opens as opens
from timeline_workers.client import TimelineClient
from timeline_workers.errors import ConnectionFailedError, HistoryError
from timeline_workers.history.open import open_history
from timeline_workers.history.store import HistoryStore
from timeline_workers.settings.history_settings import sqlite_address
from timeline_workers.web.access import Access
from timeline_workers.web.server import bind
from timeline_workers.web.site import Site

TOP = Path(__file__).parents[2]
COMMAND = [sys.executable, "-m", "timeline_workers", "serve"]


def environment(home: Path, **settings: str) -> dict[str, str]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("TEMPORAL_", "TIMELINE_"))}
    return {**clean, "TIMELINE_DATA_DIR": str(home / "data"), "PYTHONPATH": str(TOP), **settings}


def status_of(address: str) -> tuple[int, str]:
    """The status of an address, and the code of the failure that it answers with."""
    try:
        with urlopen(address, timeout=60) as found:
            return found.status, ""
    except HTTPError as error:
        return error.code, json.load(error)["code"]


def test_it_serves_while_its_servers_are_down(tmp_path: Path) -> None:
    """Neither Temporal nor the history's PostgreSQL is there; each question says what is missing."""
    with bind("127.0.0.1", 0) as nobody:
        port = nobody.getsockname()[1]
    settings = environment(
        tmp_path,
        TIMELINE_HISTORY=f"postgresql://someone:hidden@127.0.0.1:{port}/none",
        TEMPORAL_ADDRESS=f"127.0.0.1:{port}",
    )
    with subprocess.Popen([*COMMAND, "--port", "0"], env=settings, stderr=subprocess.PIPE, text=True) as runs:
        try:
            assert runs.stderr is not None
            said = []
            for line in runs.stderr:
                said.append(line)
                if line.startswith("Ctrl-C"):
                    break
            page = next(line.split()[1] for line in said if line.startswith("page "))
            assert status_of(f"{page}/api/server") == (200, "")
            assert status_of(f"{page}/api/metrics") == (503, "unreachable")
            assert status_of(f"{page}/api/history/status") == (503, "store-down")
            assert status_of(f"{page}/") == (200, "")
            runs.send_signal(signal.SIGTERM)
            rest = runs.stderr.read()
            assert runs.wait(60) == 0
        finally:
            if runs.poll() is None:
                runs.kill()
    text = "".join(said) + rest
    assert "the history is served once it answers" in text
    assert "hidden" not in text
    assert "Traceback" not in text


async def test_a_store_that_is_made_later_opens(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async def nobody() -> TimelineClient:
        raise ConnectionFailedError("nobody is there")

    site, address = Site(nobody, Access()), sqlite_address(tmp_path / "history.db")
    assert not await opens(site, address)
    assert "warning: no history at" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
    await (await open_history(address)).close()
    assert await opens(site, address)
    assert site.store is not None
    await site.store.close()


@pytest.mark.parametrize("case", ["address", "port"])
def test_what_cannot_be_served_is_refused(tmp_path: Path, case: str) -> None:
    with bind("127.0.0.1", 0) as taken:
        port = str(taken.getsockname()[1])
        arguments = ["--host", "0.0.0.0", "--port", "0"] if case == "address" else ["--port", port]
        done = subprocess.run(
            [*COMMAND, *arguments], env=environment(tmp_path), capture_output=True, text=True, check=False
        )
    assert done.returncode == 2
    assert ("TIMELINE_WEB_TOKEN" if case == "address" else "--port") in done.stderr
    assert "Traceback" not in done.stderr


async def test_a_store_that_cannot_be_read_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Found when it answers at last; all but the history is served on."""
    answers = [HistoryError("nobody is there", may_pass=True), HistoryError("it is of a later release")]

    async def fails(*_: object, **__: object) -> HistoryStore:
        raise answers.pop(0)

    monkeypatch.setattr(serve_command, "open_history", fails)
    monkeypatch.setattr(serve_command, "RETRY_SECONDS", 0)
    site = Site(TimelineClient.connect, Access())
    await serve_command._open_later(site, "sqlite:///x")
    assert "it is of a later release; the history is not served" in capsys.readouterr().err
    with pytest.raises(HistoryError, match="it is of a later release"):
        site.history()
