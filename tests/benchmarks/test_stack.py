"""The programs of a benchmark end with the benchmark, however that ends."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from tenacity import Retrying, retry_if_result, stop_after_delay, wait_fixed

pytestmark = pytest.mark.integration

PROGRAM = """
import sys
from benchmarks import stack
system = stack.Stack()
started = [*system.start_workers(), system.start_feeder()]
while not all(stack.children(process.pid) for process in started):
    pass  # a guard starts its program in a moment
print(*(pid for process in started for pid in (process.pid, *stack.children(process.pid))), flush=True)
sys.stdin.read()
"""


def test_programs_end_when_the_benchmark_is_killed() -> None:
    top = Path(__file__).parents[2]
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=top
    ) as benchmark:
        assert benchmark.stdout is not None
        started = [int(pid) for pid in benchmark.stdout.readline().split()]
        assert started
        benchmark.kill()
    running = Retrying(
        retry=retry_if_result(bool),
        wait=wait_fixed(0.1),
        stop=stop_after_delay(90),
        retry_error_callback=lambda state: state.outcome.result() if state.outcome else None,
    )(lambda: [pid for pid in started if Path(f"/proc/{pid}/cmdline").exists()])
    assert running == []
