"""Source files, and metric files that name a source."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from timeline_workers.cli.main import build
from timeline_workers.errors import MetricError, UnknownNameError
from timeline_workers.metric.load import is_source_file, load_metric, load_source
from timeline_workers.metric.model import Metric, SourceVersion, StoredSource
from timeline_workers.plan.physical import plan

SOURCE = """
kind: source
name: chargers
source:
  topic: chargers
  key: id
  time: t
  columns: {status: string}
  allowed_lateness: 1m
"""
METRIC = """
name: charging
source: chargers
expression: latest_event_to_state(status) == "on"
"""


def find(name: str) -> StoredSource:
    if name != "chargers":
        raise UnknownNameError(f"there is no source {name!r}; did you mean 'chargers'?")
    return StoredSource(definition=load_source(SOURCE), version=3)


def test_a_named_source_is_taken_whole_with_version() -> None:
    """A metric that names a source has all of it and which version it was."""
    metric = load_metric(METRIC, find)
    assert metric.source == load_source(SOURCE).source
    assert metric.named_source == SourceVersion(name="chargers", version=3)
    assert Metric.model_validate_json(metric.model_dump_json()) == metric
    written = Metric(name="charging", source=metric.source, expression=metric.expression)
    assert plan(written).nodes == plan(metric).nodes
    assert "named_source" not in written.model_dump_json()


def test_a_source_is_told_from_a_metric() -> None:
    assert is_source_file(SOURCE)
    assert not is_source_file(METRIC)
    with pytest.raises(MetricError, match="it is a source file"):
        load_metric(SOURCE)
    with pytest.raises(MetricError, match="kind: source"):
        load_source(METRIC)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("  topic: chargers\n", ""), "source.topic: this field is missing"),
        (("allowed_lateness", "alowed_lateness"), "did you mean allowed_lateness"),
        (("name: chargers", "nme: chargers"), "did you mean name"),
        (("1m", "60"), "write 60s"),
        (("1m", "99999999d"), "longer than 10,000 years"),
        (("name: chargers", "name: 1 2"), "is not a name"),
    ],
)
def test_mistakes_in_a_source_file_are_named(change: tuple[str, str], said: str) -> None:
    with pytest.raises(MetricError, match=said):
        load_source(SOURCE.replace(*change))


@pytest.mark.parametrize("field", ["naming: 1", "named_source: {name: chargers, version: 3}"])
def test_fields_of_programs_are_refused_in_a_file(field: str) -> None:
    """What only programs say of a metric is refused in a file."""
    with pytest.raises(MetricError, match="there is no such field"):
        load_metric(f"{METRIC}{field}\n", find)


def test_a_named_source_needs_a_lookup() -> None:
    """Without a way to look it up a named source is refused."""
    with pytest.raises(MetricError, match="'chargers' is the name of a stored source"):
        load_metric(METRIC)
    with pytest.raises(UnknownNameError, match="did you mean 'chargers'"):
        load_metric(METRIC.replace("source: chargers", "source: charger"), find)


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "source.yaml").write_text(SOURCE)
    (tmp_path / "metric.yaml").write_text(METRIC)
    (tmp_path / "odd.yaml").write_text(METRIC.replace("source: chargers", "source: chargrs"))
    return tmp_path


def test_the_command_line_takes_source_files(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEMPORAL_ADDRESS", "127.0.0.1:1")

    def run(*arguments: str) -> tuple[int, str]:
        result = CliRunner().invoke(build(), list(arguments))
        return result.exit_code, result.output + repr(result.exception)

    source, metric, odd = (str(files / f"{name}.yaml") for name in ("source", "metric", "odd"))
    assert run("validate", source)[1].startswith(f"{source}: source chargers is valid")
    assert run("validate", metric, "--source", source)[0] == 0
    assert "did you mean 'chargers'" in run("validate", odd, "--source", source)[1]
    assert "--source" in run("validate", metric)[1]
    code, drawn = run("graph", metric, "--source", source)
    assert code == 0
    assert "metric charging" in drawn
