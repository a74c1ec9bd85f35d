"""``timeline capacity``: the model at the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from timeline_workers.cli.main import build
from timeline_workers.errors import MetricError

TOP = Path(__file__).parents[2]
LOAD = ["--sessions", "10000000", "--events-per-second", "580000"]


def run(*arguments: str) -> str:
    found = CliRunner().invoke(
        build("capacity"), ["capacity", str(TOP / "docs/scale.yaml"), *arguments], catch_exceptions=False
    )
    assert found.exit_code == 0, found.output
    return found.stdout


def test_a_table_says_what_is_needed_and_what_limits() -> None:
    text = run(*LOAD)
    for word in ("feeders", "history shards", "cores, busy", "Temporal Cloud", "the largest state", "used"):
        assert word in text
    assert "does not fit" not in text


def test_one_topic_does_not_fit_and_is_shown() -> None:
    """One topic does not fit and the table says so."""
    assert "It does not fit" in run(*LOAD, "--topics", "1")


def test_json_is_one_object_with_every_figure_and_limit() -> None:
    found = json.loads(run(*LOAD, "-o", "json"))
    assert found["fits"] is True
    assert found["fuse"] is True
    assert found["load"]["sessions"] == 10_000_000
    assert {"name", "need", "most"} <= found["limits"][0].keys()


def test_what_is_given_is_kept() -> None:
    given = ("--topics", "3", "--partitions", "5", "--feeders", "2", "--batch", "100", "--gather-ms", "500")
    found = json.loads(run(*LOAD, *given, "--no-fuse", "-o", "json"))
    assert found["layout"] == {"topics": 3, "partitions": 5, "feeders": 2, "batch": 100, "wait": 0.5}
    assert found["fuse"] is False


def test_costs_of_ones_own(tmp_path: Path) -> None:
    costs = json.loads((TOP / "timeline_workers/capacity/measured.json").read_text())
    costs["fused"]["work"]["server_per_task"] *= 10
    (tmp_path / "costs.json").write_text(json.dumps(costs))
    dear = json.loads(run(*LOAD, "--costs", str(tmp_path / "costs.json"), "-o", "json"))
    usual = json.loads(run(*LOAD, "-o", "json"))
    assert dear["server_cores"] == pytest.approx(10 * usual["server_cores"])


def test_costs_that_are_none_are_refused(tmp_path: Path) -> None:
    (tmp_path / "costs.json").write_text("{}")
    with pytest.raises(MetricError, match=r"costs\.json is not what `python -m benchmarks constants` writes"):
        run(*LOAD, "--costs", str(tmp_path / "costs.json"))


def test_a_tree_for_each_key_has_no_model(tmp_path: Path) -> None:
    text = (TOP / "docs/scale.yaml").read_text().replace("partitions: 16", "partitions: per-key")
    (tmp_path / "metric.yaml").write_text(text)
    with pytest.raises(MetricError, match="per-key"):
        CliRunner().invoke(
            build("capacity"), ["capacity", str(tmp_path / "metric.yaml"), *LOAD], catch_exceptions=False
        )
