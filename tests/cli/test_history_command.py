"""``timeline history``: the page's examples as they are printed, and what is refused."""

from __future__ import annotations

import re
import shlex
import shutil
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.test_docs import TOP, blocks, commands, plain
from timeline_workers.cli.main import build
from timeline_workers.errors import NoHistoryError, QuestionError, SettingsError
from timeline_workers.settings.history_settings import HistorySettings

# What differs each time: when the store was told, and how many pages it has.
CHANGING = ((re.compile(r"20\d\d-[-\dT:.]+Z"), "…"), (re.compile(r"[\d.]+ KiB"), "… KiB"))


EXAMPLE = TOP / "docs/history-example"


def steady(output: str) -> list[str]:
    for pattern, stands in CHANGING:
        output = pattern.sub(stands, output)
    return plain(output)


def test_the_page_prints_what_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One command after the other, in a folder with the example; no line is longer than 80."""
    shutil.copytree(TOP / "docs/history-example", tmp_path / "docs/history-example")
    monkeypatch.chdir(tmp_path)
    pairs = [pair for block in blocks(TOP / "docs/history.md", "console") for pair in commands(block)]
    assert {shlex.split(command)[2] for command, _ in pairs} == {"import", "status", "export", "forget"}
    for command, output in pairs:
        done = CliRunner().invoke(build("history"), shlex.split(command)[1:], catch_exceptions=False)
        assert steady(done.stdout) == steady(output)
        assert all(len(line) <= 80 for line in done.stdout.splitlines())


@pytest.mark.parametrize("before", ["15", "1970-01-01T00:00:15Z", "1970-01-01T01:00:15+01:00"])
def test_times_are_seconds_or_iso(tmp_path: Path, before: str) -> None:
    store = ["--history", f"sqlite:{tmp_path / 'h.db'}"]
    CliRunner().invoke(build("history"), ["history", "import", str(EXAMPLE), *store], catch_exceptions=False)
    done = CliRunner().invoke(
        build("history"), ["history", "forget", "--before", before, *store], catch_exceptions=False
    )
    assert done.stdout == "forgotten: 6 events, 6 verdicts, 2 change points\n"


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (["forget", "--before", "soon"], "'soon': write ISO 8601, such as "),
        (["forget"], "either --before TIME or --older-than DURATION"),
        (["export", "x", "--format", "csv"], "write parquet or jsonl"),
    ],
)
def test_a_wrong_option_is_refused_and_named(said: list[str], words: str) -> None:
    with pytest.raises(QuestionError, match=words):
        CliRunner().invoke(
            build("history"), ["history", *said, "--history", "sqlite:x"], catch_exceptions=False
        )


@pytest.mark.parametrize(
    "said", [["status"], ["export", "x"], ["forget", "--before", "1"], ["rebuild"]], ids=lambda said: said[0]
)
def test_who_asks_makes_no_store(said: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for address, error, words in (
        ("foo", SettingsError, "'foo': it names no kind of a history; write sqlite:PATH"),
        ("sqlite:new/foo.db", NoHistoryError, "no history at new/foo.db; name where there is one"),
    ):
        with pytest.raises(error, match=words):
            CliRunner().invoke(
                build("history"), ["history", *said, "--history", address], catch_exceptions=False
            )
    assert not list(tmp_path.iterdir())


def test_parquet_without_pyarrow_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, folder = ["--history", f"sqlite:{tmp_path / 'h.db'}"], tmp_path / "exported"
    done = CliRunner().invoke(build("history"), ["history", "import", str(EXAMPLE), *store])
    assert done.exit_code == 0
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(SettingsError, match=r"pip install 'timeline-workers\[frames\]', or .*--format jsonl"):
        CliRunner().invoke(
            build("history"), ["history", "export", str(folder), *store], catch_exceptions=False
        )
    assert not folder.exists()


def test_what_is_no_export_makes_no_store(tmp_path: Path) -> None:
    store = tmp_path / "h.db"
    with pytest.raises(QuestionError, match=r"nothing is no exported history: .*; name a folder that"):
        CliRunner().invoke(
            build("history"),
            ["history", "import", str(tmp_path / "nothing"), "--history", f"sqlite:{store}"],
            catch_exceptions=False,
        )
    assert not store.exists()


def test_no_store_is_known_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(HistorySettings.variable("history"), "off")
    with pytest.raises(SettingsError, match="set TIMELINE_HISTORY, or say --history"):
        CliRunner().invoke(build("history"), ["history", "status"], catch_exceptions=False)
