"""The benchmarks of the player and of event tables: a day is played on a real uvicorn, nothing is lost."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import event_tables, player

pytest.importorskip("duckdb", reason="duckdb is not here: pip install -e '.[dev]'")
pytest.importorskip("uvicorn", reason="uvicorn is not here: pip install -e '.[dev]'")


@pytest.mark.parametrize(
    ("events", "seconds"), [(2_000, 0.5), pytest.param(1_000_000, 60, marks=pytest.mark.long)]
)
def test_day_is_played_whole_in_flat_memory(events: int, seconds: float, tmp_path: Path) -> None:
    """Counts add up, or the benchmark fails; frames are at most 100 a second of the clock."""
    [played] = player.run(
        stores=["jsonl"],
        events=events,
        keys=100,
        day_seconds=seconds,
        short_seconds=0,
        seed=7,
        tell=lambda line: None,
        json_file=tmp_path / "player.json",
    )
    assert played.events == events
    assert played.seconds >= seconds - 0.02  # its first message is some time under way
    assert played.frames <= 100 * played.seconds + 2
    assert played.memory_most - played.memory_begin < 64
    assert (tmp_path / "player.json").exists()


def test_tables_are_asked_while_rows_are_appended() -> None:
    [found] = event_tables.run(
        kinds=["jsonl"], rows=1_000, keys=10, seconds=0.0, seed=7, tell=lambda line: None
    )
    assert found.appended >= event_tables.PULSE
    assert all(found.windows.values())
    assert found.lanes > 0
