"""A production-shaped Temporal cluster on this machine: ``python -m deploy.cluster [--data DIR]``.

Temporal's four services, each a process of its own, over PostgreSQL, all on 127.0.0.1, with their data in one
directory. ``prepare`` is the same for programs that start and kill the services by themselves; ``cluster`` is
a context manager that runs them::

    with cluster(Path("data")) as running:
        await Client.connect(running.address)

Layout of the directory: ``lock  ports.json  server.yaml  dynamic.yaml  logs/  postgres/``.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml
from tenacity import Retrying, retry_if_result, stop_after_delay, wait_fixed

from deploy.cluster_ports import free_ports
from deploy.cluster_postgres import USER, Postgres
from deploy.cluster_server import Binaries, ClusterUnavailableError, binaries
from timeline_workers.errors import TimelineError
from timeline_workers.process.supervisor import Job, Supervisor
from timeline_workers.servers.embedded.embedded_servers import HOST, _accepts, _temporal_binary

# In the order to start them. The history service goes first, and alone: it writes what a new cluster is.
SERVICES = ("history", "matching", "frontend", "worker")
HISTORY_SHARDS = 8
READY_SECONDS = 120.0
NAMESPACE = "default"
RETENTION = "72h"
_DATABASES = {"temporal": "temporal", "temporal_visibility": "visibility"}


# A service ends where PostgreSQL does not answer yet, as after a crash of both.
PATIENCE_SECONDS = 120.0


class ClusterError(TimelineError):
    """The cluster does not come up: the message says which part, and where its log is."""


@dataclass(frozen=True, slots=True)
class Service:
    """One process of the cluster. ``ready`` asks, and may block for a moment, whether it serves."""

    name: str
    command: Sequence[str]
    log: Path
    ready: Callable[[], bool]


@dataclass(frozen=True, slots=True)
class Cluster:
    """What ``prepare`` gives: ``services`` in the order to start them, each to be ready before the next.

    ``address``: the frontend's, for clients. Between PostgreSQL (the first service) and the others,
    ``create_schemas`` must have been called once; after all of them ``create_namespace``. Both do nothing
    when there is nothing to do.
    """

    address: str
    services: tuple[Service, ...]
    create_schemas: Callable[[], None]
    create_namespace: Callable[[], None]


def prepare(directory: Path) -> Cluster:
    """Make ready what the services need in ``directory``; starts nothing that stays.

    Ports are chosen the first time and kept. Raises ClusterUnavailableError when Go or PostgreSQL is missing.
    """
    programs = binaries()
    directory = directory.absolute()
    logs = directory / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    ports = _ports(directory)
    postgres = Postgres(directory / "postgres", ports["postgres"])
    postgres.prepare()
    config = directory / "server.yaml"
    shutil.copyfile(Path(__file__).with_name("temporal_dynamic.yaml"), directory / "dynamic.yaml")
    config.touch(mode=0o600)
    config.write_text(yaml.safe_dump(_config(directory, ports, postgres), sort_keys=False))

    def service(name: str) -> Service:
        command = [str(programs.server), "--config-file", str(config), "--allow-no-auth", "start"]
        ready = (
            (lambda: _healthy(ports["frontend"])) if name == "frontend" else (lambda: _accepts(ports[name]))
        )
        return Service(name, [*command, "--service", name], logs / f"{name}.log", ready)

    database = Service("postgres", postgres.command, logs / "postgres.log", postgres.serves)
    return Cluster(
        f"{HOST}:{ports['frontend']}",
        (database, *map(service, SERVICES)),
        lambda: _create_schemas(programs, postgres, directory / "schemas.done"),
        lambda: _create_namespace(ports["frontend"]),
    )


@contextmanager
def cluster(directory: Path) -> Iterator[Cluster]:
    """Run a cluster for the length of the ``with`` block; it serves when the block is entered.

    A service that ends is started again. Raises ClusterUnavailableError, or ClusterError when the directory
    is in use or a service does not come up.
    """
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ClusterError(
                f"a cluster runs in {directory} already; use it, or another directory"
            ) from None
        made = prepare(directory)
        supervisor = Supervisor(tell=lambda line: typer.echo(line, err=True), patience=PATIENCE_SECONDS)
        try:
            for service in made.services:
                supervisor.start(Job(service.name, service.command, service.log))
                _wait(service, supervisor)
                if service.name == "postgres":
                    made.create_schemas()
            made.create_namespace()
            yield made
        finally:
            supervisor.stop()


def _wait(service: Service, supervisor: Supervisor) -> None:
    ready = Retrying(
        retry=retry_if_result(lambda found: not found and not supervisor.ended.is_set()),
        wait=wait_fixed(0.1),
        stop=stop_after_delay(READY_SECONDS),
        retry_error_callback=lambda _: False,
    )(service.ready)
    if not ready:
        raise ClusterError(f"the cluster's {service.name} does not come up; its log is {service.log}")


def _ports(directory: Path) -> dict[str, int]:
    record = directory / "ports.json"
    if record.exists():
        known: dict[str, int] = json.loads(record.read_text())
        return known
    names = ["postgres", *SERVICES, *(f"{name}-membership" for name in SERVICES)]
    chosen = dict(zip(names, free_ports(len(names)), strict=True))
    record.write_text(json.dumps(chosen))
    return chosen


def _config(directory: Path, ports: dict[str, int], postgres: Postgres) -> dict[str, Any]:
    def store(database: str, connections: int) -> dict[str, Any]:
        return {
            "sql": {
                "pluginName": "postgres12",
                "databaseName": database,
                "connectAddr": f"{HOST}:{postgres.port}",
                "connectProtocol": "tcp",
                "user": USER,
                "password": postgres.password,
                "maxConns": connections,
                "maxIdleConns": connections,
                "maxConnLifetime": "1h",
            }
        }

    def service(name: str) -> dict[str, Any]:
        membership = ports[f"{name}-membership"]
        return {"rpc": {"grpcPort": ports[name], "membershipPort": membership, "bindOnLocalHost": True}}

    frontend = f"{HOST}:{ports['frontend']}"
    return {
        "log": {"stdout": True, "level": "warn"},
        "persistence": {
            "defaultStore": "default",
            "visibilityStore": "visibility",
            "numHistoryShards": HISTORY_SHARDS,
            "datastores": {"default": store("temporal", 20), "visibility": store("temporal_visibility", 5)},
        },
        "global": {"membership": {"maxJoinDuration": "30s", "broadcastAddress": HOST}},
        "services": {name: service(name) for name in SERVICES},
        "clusterMetadata": {
            "enableGlobalNamespace": False,
            "failoverVersionIncrement": 10,
            "masterClusterName": "active",
            "currentClusterName": "active",
            "clusterInformation": {
                "active": {
                    "enabled": True,
                    "initialFailoverVersion": 1,
                    "rpcName": "frontend",
                    "rpcAddress": frontend,
                }
            },
        },
        "dcRedirectionPolicy": {"policy": "noop"},
        "publicClient": {"hostPort": frontend},
        "dynamicConfigClient": {"filepath": str(directory / "dynamic.yaml"), "pollInterval": "60s"},
    }


def _create_schemas(programs: Binaries, postgres: Postgres, done: Path) -> None:
    if done.exists():
        return
    environment = {
        "SQL_PLUGIN": "postgres12",
        "SQL_HOST": HOST,
        "SQL_PORT": str(postgres.port),
        "SQL_USER": USER,
        "SQL_PASSWORD": postgres.password,
    }
    for database, schema in _DATABASES.items():
        versions = str(programs.schema / schema / "versioned")
        for arguments in (["create"], ["setup-schema", "-v", "0.0"], ["update-schema", "-d", versions]):
            _run([str(programs.sql), "--database", database, *arguments], environment)
    done.touch()


def _create_namespace(port: int) -> None:
    address = ["--address", f"{HOST}:{port}", "-n", NAMESPACE]
    # A frontend knows a new namespace only after a while; describing one does not ask what it knows.
    listed = [_temporal_binary(), "workflow", "list", *address]
    created = [_temporal_binary(), "operator", "namespace", "create", "--retention", RETENTION, *address]

    def there() -> bool:
        if _quietly(listed):
            return True
        _quietly(created)
        return False

    found = Retrying(
        retry=retry_if_result(lambda found: not found),
        wait=wait_fixed(0.2),
        stop=stop_after_delay(READY_SECONDS),
        retry_error_callback=lambda _: False,
    )(there)
    if not found:
        raise ClusterError(f"the namespace {NAMESPACE!r} could not be created at {HOST}:{port}")


def _healthy(port: int) -> bool:
    asked = [_temporal_binary(), "operator", "cluster", "health", "--address", f"{HOST}:{port}"]
    return _accepts(port) and _quietly(asked)


def _quietly(command: list[str]) -> bool:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TEMPORAL_")}
    try:
        done = subprocess.run(command, env=environment, capture_output=True, timeout=15, check=False)
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0


def _run(command: list[str], environment: dict[str, str]) -> None:
    done = subprocess.run(
        command, env={**os.environ, **environment}, capture_output=True, text=True, timeout=300, check=False
    )
    if done.returncode:
        last = "\n".join((done.stdout + done.stderr).strip().splitlines()[-5:])
        raise ClusterError(f"{' '.join(command[-4:])} failed with code {done.returncode}:\n{last}")


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def main(
    data: Annotated[
        Path | None,
        typer.Option(help="Keep data here, and find it again.", show_default="a temporary directory"),
    ] = None,
) -> None:
    """Run Temporal's four services over PostgreSQL on 127.0.0.1 until Ctrl-C.

    Needs PostgreSQL's server and, the first time, Go to build Temporal's.
    """
    asked = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: asked.set())
    try:
        with ExitStack() as stack:
            where = data
            if where is None:
                where = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="timeline-cluster-")))
                where.chmod(0o755)  # PostgreSQL may run under another account
            running = stack.enter_context(cluster(where))
            typer.echo(f"Temporal  {running.address}\ndata      {where}\nCtrl-C stops it.", err=True)
            asked.wait()
            typer.echo("stopping …", err=True)
    except (ClusterUnavailableError, ClusterError) as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    app()
