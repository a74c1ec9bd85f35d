"""The exit code of `timeline get`, for scripts."""

from __future__ import annotations

from typing import Any

import pytest
from typer.testing import CliRunner

from timeline_workers.cli import overview_command
from timeline_workers.cli.main import build


def row(state: str) -> dict[str, Any]:
    return {"metric": state.replace(" ", "-"), "state": state, "cause": None, "causes": []}


@pytest.mark.parametrize("form", ["table", "wide", "json"])
@pytest.mark.parametrize(
    ("states", "nobody", "code"),
    [
        ((), None, 0),
        (("ok", "waiting for keys"), None, 0),
        (("ok", "lagging"), None, 5),
        (("busy",), None, 5),
        (("down",), "no worker process answers", 4),
    ],
)
def test_the_exit_code_says_whether_all_is_well(
    states: tuple[str, ...], nobody: str | None, code: int, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is listed is printed all the same."""
    seen = [row(state) for state in states], nobody
    monkeypatch.setattr(overview_command, "with_client", lambda *_: seen)
    done = CliRunner().invoke(build("get"), ["get", "-o", form])
    assert done.exit_code == code
    assert all(state in done.stdout for state in states)
