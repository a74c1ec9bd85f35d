"""docker-compose.yml: as it is written, and run by Docker Compose on podman when asked to.

The run needs root and several programs, builds images and takes minutes, so it happens only where
TIMELINE_TEST_CONTAINERS is set.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.containers import images, podman
from tests.containers.topic import MESSAGES

VARIABLE = "TIMELINE_TEST_CONTAINERS"
ROOT = Path(__file__).parents[2]
FILE = ROOT / "docker-compose.yml"
PULSAR, DEV_SERVER, CLUSTER = "pulsar://127.0.0.1:6650", "127.0.0.1:7233", "127.0.0.1:7234"
UP_SECONDS = 600
CHECK_SECONDS = 5
ONE_SHOTS = {"temporal-schema", "temporal-namespace"}


def services() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = yaml.safe_load(FILE.read_text())["services"]
    return found


def test_every_image_has_the_tested_version() -> None:
    """Every image has the version that the project builds and tests."""
    named = dict(service["image"].split(":") for service in services().values())
    del named["postgres"]
    assert named == images.versions()


def test_up_wait_knows_of_every_service() -> None:
    """Of those that end, somebody must wait for the end: "up --wait" may take it for a failure otherwise."""
    awaited = {
        name
        for service in services().values()
        for name, how in service.get("depends_on", {}).items()
        if how["condition"] == "service_completed_successfully"
    }
    checks = {
        name: service["healthcheck"] for name, service in services().items() if "healthcheck" in service
    }
    assert awaited == ONE_SHOTS
    assert set(checks) == set(services()) - ONE_SHOTS
    assert {check["interval"] for check in checks.values()} == {f"{CHECK_SECONDS}s"}


@pytest.fixture(scope="module")
def engine() -> Iterator[podman.Podman]:
    """Podman with the images of the compose file, and somebody who runs their health checks."""
    if not os.environ.get(VARIABLE):
        pytest.skip(f"builds and runs containers, for minutes: only where {VARIABLE} is set")
    if reason := podman.missing() or images.missing():
        pytest.skip(f"containers cannot be run here: {reason}")
    with podman.podman() as started:
        images.build(started, {service["image"] for service in services().values()})
        with started.checking_health(CHECK_SECONDS):
            yield started


@pytest.fixture
def compose(engine: podman.Podman) -> Iterator[Callable[..., str]]:
    """Run one command of Docker Compose on the project's file; it must end with 0."""
    command = [*images.compose(), "--file", str(FILE)]

    def run(*arguments: str) -> str:
        done = subprocess.run(
            [*command, *arguments],
            env=engine.environment,
            capture_output=True,
            text=True,
            timeout=UP_SECONDS,
            check=False,
        )
        if done.returncode:
            print(engine.run("ps", "--all"), file=sys.stderr)
            for name in services():
                log = engine.run("logs", "--tail", "15", f"timeline-{name}-1", check=False)
                print(name, log, sep="\n", file=sys.stderr)
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout

    try:
        yield run
    finally:
        run("--profile", "cluster", "down", "--volumes")


def inside(engine: podman.Podman, *command: str, **environment: str) -> str:
    done = subprocess.run(
        engine.in_network(command, environment),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=UP_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def quick_test(engine: podman.Podman, temporal: str) -> str:
    return inside(
        engine,
        *(sys.executable, "-m", "deploy.quick_test"),
        TEMPORAL_ADDRESS=temporal,
        TIMELINE_PULSAR_URL=PULSAR,
    )


def topic(engine: podman.Podman, what: str) -> str:
    return inside(engine, sys.executable, "-m", "tests.containers.topic", what, PULSAR, "kept")


@pytest.mark.integration
def test_both_profiles_serve_and_keep_their_data(engine: podman.Podman, compose: Callable[..., str]) -> None:
    """Both profiles come up serve and keep what they have."""
    compose("up", "--wait")
    assert "Quick test passed." in quick_test(engine, DEV_SERVER)

    compose("--profile", "cluster", "up", "--wait")
    assert "Quick test passed." in quick_test(engine, CLUSTER)
    listed = json.loads(inside(engine, "curl", "-fsS", "http://127.0.0.1:8234/api/v1/namespaces"))
    assert "default" in {found["namespaceInfo"]["name"] for found in listed["namespaces"]}

    # What every subscription has acknowledged goes when a broker without retention starts anew.
    topic(engine, "publish")
    compose("--profile", "cluster", "down")
    compose("--profile", "cluster", "up", "--wait")
    assert topic(engine, "read").strip() == str(MESSAGES)
    assert "Quick test passed." in quick_test(engine, CLUSTER)
