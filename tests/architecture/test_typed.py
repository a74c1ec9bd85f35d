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
