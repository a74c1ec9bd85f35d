"""Errors about a metric file name it, and the place in it."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from timeline_workers.cli.main import build

HEAD = "name: m\n# a comment\nsource: {topic: t, key: k, time: t, columns: {x: int}}\n"
COMMANDS = (
    ["validate"],
    ["apply", "--dry-run"],
    ["graph"],
    ["capacity", "--sessions", "1", "--events-per-second", "1"],
    ["eval", "--events", "-", "--at", "1", "--metric"],
)


def mistake(text: str, directory: Path, command: list[str]) -> tuple[Path, str]:
    """The file with ``text``, and the error that ``command`` ends with when it is given that."""
    file = directory / "metric.yaml"
    file.write_text(text, encoding="utf-8")
    done = CliRunner().invoke(build(command[0]), [*command, str(file)], input="")
    assert done.exception is not None
    return file, str(done.exception)


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
def test_every_command_names_file_and_line(command: list[str], tmp_path: Path) -> None:
    """The line and column are those of the file, not of the expression in it; the caret is below them."""
    text = f"{HEAD}expression: |\n  has_existed(x == 1)\n\n    && has_existd(x == 2)\n"
    file, said = mistake(text, tmp_path, command)
    assert said.splitlines()[:3] == [
        f"{file}, line 7, column 8: there is no function `has_existd`",
        "    && has_existd(x == 2)",
        "       ^^^^^^^^^^",
    ]


@pytest.mark.parametrize(
    ("written", "place"),
    [
        ("has_existd(x == 1)", ", line 4, column 13: "),
        ("'has_existd(x == 1)'", ", line 4, column 14: "),
        ("|-\n      has_existd(x == 1)", ", line 5, column 7: "),
        ('"has_\\x65xistd(x == 1)"', ": line 1, column 1 of its expression: "),
        (">\n  has_existed(x == 1) &&\n  has_existd(x == 1)", ": line 1, column 24 of its expression: "),
    ],
)
def test_a_place_may_be_that_in_the_expression(written: str, place: str, tmp_path: Path) -> None:
    """Where the file has other characters the place is that in the expression."""
    file, said = mistake(f"{HEAD}expression: {written}\n", tmp_path, ["validate"])
    assert said.startswith(f"{file}{place}there is no function `has_existd`")


@pytest.mark.parametrize(
    "text",
    [
        HEAD.replace("x: int", "x: itn") + "expression: has_existed(x == 1)\n",
        f"{HEAD}description: {'x' * 5_000}\nexpression: has_existed(x == 1)\n",
        f"kind: source\n{HEAD}".replace("key: k", f"key: {'k' * 300}"),
        HEAD.replace("time: t", "time: t, partitions: per-key")
        + "expression: event_count(x == 1) | aggregate(group_by(x), count)\n",
    ],
    ids=["field", "size", "source", "plan"],
)
def test_other_mistakes_name_the_file_once_a_line(text: str, tmp_path: Path) -> None:
    file, said = mistake(text, tmp_path, ["validate"])
    assert [line.count(str(file)) for line in said.splitlines()] == [1] * len(said.splitlines())
    assert said.startswith(f"{file}: ")
