"""The README's walk on durable workers, as it is printed, from top to bottom."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from time import monotonic

import pytest

from tests.integration.stack import DEADLINE, eventually, running_stack
from tests.test_docs import TOP, blocks, commands, plain
from timeline_workers.cli.dev import environment_of
from workflows.client.client_errors import has_workers

pytestmark = pytest.mark.integration

SECTION = re.compile(r"^## On durable workers.*?(?=^\*\*For months)", re.MULTILINE | re.DOTALL)
# What differs each time: how fast it went, and when a dead letter was written (event times are of 1970).
CHANGING = ((re.compile(r"\d+\.\d s \([\d,]+/s\)"), "… s (…/s)"), (re.compile(r"20\d\d-[-\dT:.]+Z"), "…"))
# Whoever reads takes a moment between two commands, in which events arrive; so these are asked again.
ASKING = ("timeline query ", "timeline get", "timeline deadletter ", "temporal ")


# What Pulsar's client library logs of a connection that was lost and is there again, on a busy machine.
LIBRARY = re.compile(r"^[0-9-]{10} [0-9:.]{12} (?:WARN|ERROR) +\[\d+\] \w+:\d+ \| .*\n", re.MULTILINE)


def steady(output: str) -> list[str]:
    output = LIBRARY.sub("", output)
    for pattern, stands in CHANGING:
        output = pattern.sub(stands, output)
    return plain(output)


async def test_the_walk_prints_what_the_readme_says(tmp_path: Path) -> None:
    """Every command of the second and the third terminal; the first, `timeline dev`, is what runs here."""
    text = SECTION.search((TOP / "README.md").read_text(encoding="utf-8"))
    assert text is not None
    (tmp_path / "walk.md").write_text(text.group(), encoding="utf-8")
    walk = [pair for block in blocks(tmp_path / "walk.md", "console") for pair in commands(block)]
    assert walk[0][0] == "timeline dev"
    with running_stack(tmp_path / "data") as stack:
        stack.start_worker()
        stack.start_feeder()
        client = await stack.temporal()
        await eventually(lambda: has_workers(client, "timeline"))
        script = f'timeline() {{ "{sys.executable}" -m timeline_workers "$@"; }}\n'
        script += f'python() {{ "{sys.executable}" "$@"; }}\n'
        environment = {**os.environ, **environment_of(stack.addresses), "NO_COLOR": "1", "COLUMNS": "80"}

        def run(command: str) -> list[str]:
            done = subprocess.run(
                ["bash", "-c", script + command],
                cwd=TOP,
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=DEADLINE,
                check=False,
            )
            return steady(done.stdout)

        for command, output in walk[1:]:
            expected, printed = steady(output), run(command)
            assert expected, command
            deadline = monotonic() + DEADLINE
            while printed != expected and command.startswith(ASKING) and monotonic() < deadline:
                printed = run(command)
            assert printed == expected, command
