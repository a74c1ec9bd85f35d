"""A changelog evaluated in process, and by ``timeline eval``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from timeline_workers.cli.main import build
from timeline_workers.errors import ExpressionError, QuestionError
from timeline_workers.evaluation import Result, evaluate

MESSAGES: list[dict[str, Any]] = [
    {"metric": "m", "key": "a", "from": 10, "until": 20, "value": True, "final": False, "revision": 1},
    {"metric": "m", "key": "a", "from": 20, "until": None, "value": False, "final": False, "revision": 2},
    {"metric": "m", "partition": "p0", "partitions": 1, "watermark": 5, "revision": 3},
    {"metric": "m", "key": "a", "from": 16, "until": 20, "value": False, "final": False, "revision": 4},
]
METRIC = """
name: n
source: {topic: o, changelog: true}
expression: duration_where(changelog(boolean))
"""


def test_a_file_of_a_changelog_is_evaluated(tmp_path: Path) -> None:
    """A correction counts, a watermark is no bad event, and a bad message is named by its line."""
    (tmp_path / "metric.yaml").write_text(METRIC)
    bad = [*MESSAGES, {"metric": "m", "key": "a", "from": 1, "value": "x", "revision": 9}]
    for messages, code in ((MESSAGES, 0), (bad, 3)):
        (tmp_path / "o.jsonl").write_text("".join(json.dumps(one) + "\n" for one in messages))
        said = [
            "eval",
            "-f",
            str(tmp_path / "metric.yaml"),
            "--events",
            str(tmp_path / "o.jsonl"),
            "--at",
            "30",
        ]
        found = CliRunner().invoke(build("eval"), said)
        assert json.loads(found.stdout)["value"] == 6
        assert (found.exit_code == 0) == (code == 0)
    assert "line 5: wrong-type" in found.stderr


def test_messages_are_evaluated_as_mappings() -> None:
    result = evaluate("changelog(boolean)", MESSAGES, key="key", time="from", changelog=True)
    assert result.rejected == []
    assert (result.seen, result.accepted) == (4, 3)
    assert [result.value_at("a", at).value for at in (12, 17, 25)] == [True, False, False]


def test_messages_say_by_what_they_are_read() -> None:
    """What would be computed otherwise is refused with the fix; those of release 0.5.0 do not say it."""
    said = {"metric": "m", "key": "a", "from": 10, "until": None, "value": 0.1, "slope": 0, "revision": 1}
    for kind, refused in (("number", 1), ("numeric", 0), ("state", 1), ("", 0)):
        about = {"kind": kind, "before": 0} if kind else {}
        result = evaluate("changelog(numeric) + 0.2", [said | about], key="key", time="from", changelog=True)
        assert len(result.rejected) == refused
        if refused:
            assert f"write changelog({kind}) in the expression" in result.rejected[0].message
        else:
            assert result.change("a", 10, 20).change == (0.1 if kind else 0)


def test_events_are_no_changelog() -> None:
    with pytest.raises(ExpressionError, match="'changelog: true'"):
        Result("changelog(boolean)", key="key", time="t")
    with pytest.raises(ExpressionError, match="have no columns"):
        Result("has_existed(x == 1)", key="key", time="t", changelog=True)
    with pytest.raises(QuestionError, match="in which it was written"):
        Result("changelog(boolean)", key="key", time="t", changelog=True, newest_first=True)
