"""`timeline dev` as a user runs it, and the commands in other terminals that find it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from urllib.request import urlopen

import pytest

pytestmark = pytest.mark.integration

TOP = Path(__file__).parents[2]
PORTS = ["--temporal-port", "0", "--ui-port", "0", "--pulsar-port", "0", "--page-port", "0"]


def environment(home: Path) -> dict[str, str]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("TEMPORAL_", "TIMELINE_"))}
    return {**clean, "TIMELINE_DATA_DIR": str(home / "data"), "PYTHONPATH": str(TOP)}


def run(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run ``python -m ARGUMENTS`` as in another terminal."""
    return subprocess.run(
        [sys.executable, "-m", *arguments],
        env=environment(home),
        cwd=TOP,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@contextmanager
def gone_in_the_end(program: subprocess.Popen[str]) -> Iterator[None]:
    """Kill ``program`` where a check has failed: nobody would end it."""
    try:
        yield
    finally:
        if program.poll() is None:
            program.kill()


def test_everything_runs_from_one_command_and_stops_with_it(tmp_path: Path) -> None:
    """Apply, produce and query from other terminals, and over HTTP; answers are there again after a restart;
    Ctrl-C and --stop stop all.
    """
    question = ["timeline_workers", "query", "cirr", "--key", "s1", "--at", "22"]
    answer = None
    for first in (True, False):
        with (
            subprocess.Popen(
                [sys.executable, "-m", "timeline_workers", "dev", *PORTS],
                env=environment(tmp_path),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
            ) as dev,
            gone_in_the_end(dev),
        ):
            assert dev.stderr is not None
            said = []
            for line in dev.stderr:
                said.append(line)
                if line.startswith("Ctrl-C"):
                    break
            status = run(tmp_path, "timeline_workers", "dev", "--status")
            assert status.returncode == 0, status.stderr  # what it says is running is
            assert json.loads(status.stdout)["pid"] == dev.pid
            again = run(tmp_path, "timeline_workers", "dev")
            assert again.returncode == 1
            assert f"process {dev.pid}" in again.stderr
            if first:
                applied = run(tmp_path, "timeline_workers", "apply", "examples/cirr/metric.yaml")
                assert applied.returncode == 0, applied.stderr
                sent = run(tmp_path, "producer", "worked-example")
                assert sent.returncode == 0, sent.stderr
                deadline = monotonic() + 60
                while answer is None:
                    assert monotonic() < deadline, "the worked example was never answered for"
                    asked = run(tmp_path, *question)
                    if asked.returncode == 0 and json.loads(asked.stdout)["value"] == 7:
                        answer = asked.stdout
                page = said[0].split()[-1]
                with urlopen(f"{page}/api/metrics/cirr/query?key=s1&at=22", timeout=60) as found:
                    assert json.load(found)["answers"] == [json.loads(answer)]
            else:
                asked = run(tmp_path, *question)
                assert asked.stdout == answer, asked.stderr
            if first:
                dev.send_signal(signal.SIGINT)
            else:
                stopped = run(tmp_path, "timeline_workers", "dev", "--stop")
                assert "stopped what ran in" in stopped.stderr
            dev.stderr.read()
            assert dev.wait(60) == 0
    gone = run(tmp_path, "timeline_workers", "dev", "--status")
    assert gone.returncode == 1
    assert "timeline dev" in gone.stderr


def test_programs_without_servers_say_how_to_start_them(tmp_path: Path) -> None:
    """A feeder or producer without servers says how to start them."""
    for arguments in (["feeder"], ["producer", "worked-example"]):
        failed = run(tmp_path, *arguments)
        assert failed.returncode == 4
        assert "timeline dev" in failed.stderr
        assert "Traceback" not in failed.stderr


def test_the_quick_test_fails_with_a_clear_line(tmp_path: Path) -> None:
    """Run on a copy whose metric measures something else."""
    copy = tmp_path / "copy"
    for name in ("deploy", "examples"):
        shutil.copytree(TOP / name, copy / name)
    metric = copy / "examples" / "cirr" / "metric.yaml"
    metric.write_text(metric.read_text().replace('"CDN1"', '"CDN9"'))
    failed = subprocess.run(
        [sys.executable, str(copy / "deploy" / "quick_test.py")],
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert failed.returncode == 1
    last = failed.stdout.strip().splitlines()[-1]
    assert last.startswith("Quick test FAILED: the result worker answers 0 instead of 4 at 14")


def test_the_quick_test_passes(tmp_path: Path) -> None:
    passed = subprocess.run(
        [sys.executable, "deploy/quick_test.py"],
        env=environment(tmp_path),
        cwd=TOP,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert passed.returncode == 0, passed.stdout + passed.stderr
    lines = passed.stdout.strip().splitlines()
    assert "A sample invocation succeeded!" in lines
    assert lines[-1] == "Quick test passed."
