"""The table of `timeline get` on a terminal of 80 columns."""

from __future__ import annotations

from typing import Any

import pytest

from timeline_workers.cli.get_table import table

ROW: dict[str, Any] = {
    "metric": "slow-charging", "state": "ok", "workers": "12/12", "watermark": "2026-11-29T23:04:47.580647Z",
    "lag": 0.0, "keys": 200, "archived": 0, "change_points": 81_234, "bytes": 4_194_304, "late": 529,
    "refused": 4, "answerable_from": None, "partitions": 4, "topic": "chargers", "cause": None, "causes": [],
}  # fmt: skip


def test_a_usual_table_fits_into_80_columns() -> None:
    lines = table([ROW, {**ROW, "metric": "cirr", "watermark": None, "lag": None}], wide=False).splitlines()
    assert lines[0].split() == ["NAME", "STATE", "WORKERS", "LAG", "KEYS", "LATE", "REFUSED", "WATERMARK"]
    watermark = "2026-11-29T23:04:47Z"
    assert lines[1].split() == ["slow-charging", "ok", "12/12", "0.0", "200", "529", "4", watermark]
    assert lines[2].split() == ["cirr", "ok", "12/12", "-", "200", "529", "4", "-"]
    assert max(map(len, lines)) <= 80
    assert len(lines) == 3


def test_a_long_name_is_whole_above_its_causes() -> None:
    """A long name is whole and causes stand below one a line."""
    name = "a" * 64
    causes = ["unreachable: the broker does not answer", "down: w.p0: not started"]
    said = table([{**ROW, "metric": name, "causes": causes}], wide=False).splitlines()
    assert said[1].startswith(f"{name}  ok")
    assert said[2:] == ["", f"{name}: {causes[0]}", f"{name}: {causes[1]}"]


def test_wide_has_every_field_but_causes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "400")
    header, line = table([ROW], wide=True).splitlines()
    assert set(header.lower().split()) == ROW.keys() - {"metric", "cause", "causes"} | {"name"}
    assert "4194304" in line


def test_rows_that_say_little_are_shown() -> None:
    row = {"metric": "m", "state": "down", "workers": "0/3", "cause": "c", "causes": ["down: c"]}
    assert table([row], wide=False).splitlines()[1].split() == ["m", "down", "0/3", "-", "-", "-", "-", "-"]
