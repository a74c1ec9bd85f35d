"""The types of the library as a user's ``mypy --strict`` sees them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

USE = """
from timeline_workers import evaluate

result = evaluate('has_existed(v == 1)', [{"id": "a", "t": 0, "v": 1}], key="id", time="t")
reveal_type(result)
wrong: int = result.keys()
"""


def test_a_user_gets_the_types_of_evaluate(tmp_path: Path) -> None:
    """The result has its class, and what is wrong with its use is found."""
    (tmp_path / "use.py").write_text(USE)
    command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path / "cache"), "use.py"]
    said = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True).stdout
    assert 'Revealed type is "timeline_workers.evaluation.Result"' in said
    assert "Incompatible types in assignment" in said
    assert "Found 1 error" in said


USE_OF_THE_CLIENT = """
import asyncio

from timeline_workers import Code, SyncTimelineClient, TimelineClient, UnknownNameError
from timeline_workers.client import Question


async def use() -> None:
    client = await TimelineClient.connect()
    reveal_type(await client.value_at("m", "k", 1))
    reveal_type(await client.changes("m", 0, 1, every="1m"))
    reveal_type(await client.health("m"))
    async for answer in client.watch("m", at=1):
        reveal_type(answer)
    wrong: int = await client.delete("m")


with SyncTimelineClient.connect() as client:
    reveal_type(client.spans("m", "k", 0, 1))
    try:
        reveal_type([one for one in client.ask("m", Question(kind="value_at", at=1))])
    except UnknownNameError as error:
        reveal_type(error.code)
        assert error.code is Code.UNKNOWN_KEY
asyncio.run(use())
"""


def test_a_user_gets_the_types_of_the_client(tmp_path: Path) -> None:
    """Answers and errors have their classes in both faces, and what is wrong with their use is found."""
    (tmp_path / "use.py").write_text(USE_OF_THE_CLIENT)
    command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path / "cache"), "use.py"]
    said = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True).stdout
    answers = "timeline_workers.answers.answer_models"
    for revealed in (
        f"{answers}.ValueAt",
        f"list[{answers}.Change]",
        "list[workflows.client.conditions.condition.MetricHealth]",
        f"{answers}.ValueAt | {answers}.Spans | {answers}.Change",
        f"{answers}.Spans",
        f"list[{answers}.ValueAt | {answers}.Spans | {answers}.Change]",
        "timeline_workers.errors.Code",
    ):
        assert f'Revealed type is "{revealed}"' in said
    assert "Incompatible types in assignment" in said
    assert "Found 1 error" in said
