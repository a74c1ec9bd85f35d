"""The examples run as their READMEs print them."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from timeline_workers.cli.main import build
from timeline_workers.metric.load import load_metric
from timeline_workers.plan.physical import plan

TOP = Path(__file__).parents[1]
EXAMPLES = sorted(path.parent for path in TOP.glob("examples/*/metric.yaml"))
BLOCK = re.compile(r"```console\n(.*?)```", re.DOTALL)


def commands(readme: str) -> list[tuple[list[str], str]]:
    """Each ``$ timeline eval`` of a README with the output printed below it."""
    found = []
    for block in BLOCK.findall(readme):
        if block.startswith("$ timeline eval"):
            joined = block.replace("\\\n", " ")
            command, _, output = joined.partition("\n")
            found.append((shlex.split(command[2:])[1:], output))
    return found


@pytest.mark.parametrize("folder", EXAMPLES, ids=lambda path: path.name)
def test_the_commands_of_a_readme_give_the_printed_output(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(TOP)
    printed = commands((folder / "README.md").read_text())
    assert printed
    for arguments, output in printed:
        result = CliRunner().invoke(build(arguments[0]), arguments)
        assert result.exit_code == 0, result.output
        assert result.stdout == output


@pytest.mark.parametrize("folder", EXAMPLES, ids=lambda path: path.name)
def test_the_metric_of_an_example_can_be_planned(folder: Path) -> None:
    planned = plan(load_metric(folder / "metric.yaml"))
    assert planned.result.name
    assert f"timeline apply examples/{folder.name}/metric.yaml" in (folder / "README.md").read_text()
