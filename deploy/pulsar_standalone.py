"""A real Apache Pulsar broker on this machine: ``python -m deploy.pulsar_standalone [--data DIR]``.

The standalone broker of the Apache distribution (broker, storage and metadata in one Java process), bound to
127.0.0.1, with its data in one directory. ``standalone`` is the same for programs::

    with standalone(Path("data")) as broker:
        broker.create_topic("events", partitions=4)
        pulsar.Client(broker.url)
        broker.kill()   # kill -9
        broker.start()  # the same data on the same ports

Everything that is published is kept (``KEPT``): the default of Pulsar is to delete what every subscription
has acknowledged. The broker is stopped with the process that started it, also when that is killed.

Layout of the directory: ``lock  ports.json  standalone.conf  pulsar.log  metadata/  bookkeeper/  logs/``.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Annotated, Any

import typer
from tenacity import Retrying, retry_if_result, stop_after_delay, wait_fixed

from deploy.pulsar_archive import PulsarUnavailableError, distribution, java
from timeline_workers.errors import TimelineError
from timeline_workers.servers.embedded.embedded_servers import guarded

HOST = "127.0.0.1"
PORT, ADMIN_PORT = 6650, 8080
READY_SECONDS = 120.0
STORES_SECONDS = 20.0  # for so long one that serves may take until it stores
_STARTS = 4
_OFTEN = 50
STOP_SECONDS = 30.0
KEPT = {
    "defaultRetentionTimeInMinutes": "-1",
    "defaultRetentionSizeInMB": "-1",
    "brokerDeleteInactiveTopicsEnabled": "false",
}
# Small and quick to start rather than fast at its peak: two thirds less memory, and half the time to start.
_JAVA = {
    "PULSAR_MEM": "-Xms256m -Xmx1g -XX:MaxDirectMemorySize=1g",
    "PULSAR_GC": "-XX:+UseSerialGC -XX:TieredStopAtLevel=1",
    "PULSAR_GC_LOG": " ",
    "PULSAR_LOG_LEVEL": "warn",
}


class BrokerError(TimelineError):
    """The broker does not start, or refuses an administrative request: the message has its words."""


class Broker:
    """One standalone broker; made by ``standalone``.

    ``url`` is for clients, ``admin_url`` for the admin API; ``data`` its directory, ``log`` its output. All
    stay the same when it is killed and started again.
    """

    def __init__(self, data: Path, port: int, admin_port: int, token: str | None = None) -> None:
        self.data = data
        self.url = f"pulsar://{HOST}:{port}"
        self.admin_url = f"http://{HOST}:{admin_port}"
        self.log = data / "pulsar.log"
        self._token = token
        self._process: subprocess.Popen[bytes] | None = None
        self._killed = False

    @property
    def process(self) -> subprocess.Popen[bytes] | None:
        """The process that was started last, which is also its process group; None before the first."""
        return self._process

    @property
    def pid(self) -> int | None:
        """The id of the broker's process group; None while it does not run."""
        return None if self._process is None or self._process.poll() is not None else self._process.pid

    def launch(self) -> subprocess.Popen[bytes]:
        """Start the broker's process, and return at once. Raises BrokerError when it runs already."""
        if self.pid is not None:
            raise BrokerError(f"the broker at {self.url} runs already, as process {self.pid}")
        home = distribution()
        command = [str(home / "bin" / "pulsar"), "standalone", "--no-functions-worker", "--no-stream-storage"]
        command += ["--advertised-address", HOST, "--metadata-dir", str(self.data / "metadata")]
        command += ["--bookkeeper-dir", str(self.data / "bookkeeper")]
        ours = {"PULSAR_STANDALONE_CONF": str(self.data / "standalone.conf")}
        ours["PULSAR_LOG_DIR"] = str(self.data / "logs")
        ours["JAVA_HOME"] = str(java().resolve().parent.parent)
        with self.log.open("ab") as out:
            # A session of its own: Ctrl-C reaches us first, and a kill reaches guard and broker at once.
            self._process = subprocess.Popen(
                guarded(command, STOP_SECONDS - 5),
                env={**_JAVA, **os.environ, **ours},
                stdin=subprocess.PIPE,
                stdout=out,
                stderr=subprocess.STDOUT,
                cwd=self.data,
                start_new_session=True,
            )
        return self._process

    def start(self) -> None:
        """Start the broker, and return when it serves and stores. Raises BrokerError if it does not.

        One that was killed finds the registration of its storage that the killed process has left. It may
        take that one's end for the end of its own, or register again and again without end, so that its
        storage is missing at times. Then it is started again.
        """
        for _ in range(_STARTS):
            self._serve()
            if not self._stores():
                self.kill()
            elif self._killed and self._registers_again():
                self.stop()
            else:
                self._killed = False
                return
        raise BrokerError(
            f"the broker does not store messages, {_STARTS} times started; its log is {self.log}"
        )

    def _serve(self) -> None:
        self.launch()
        outcome = Retrying(
            retry=retry_if_result(lambda found: found == "starting"),
            wait=wait_fixed(0.1),
            stop=stop_after_delay(READY_SECONDS),
            retry_error_callback=lambda _: "silent",
        )(self._state)
        if outcome != "ready":
            self.stop()
            last = "\n".join(self.log.read_text(errors="replace").splitlines()[-5:])
            what = "ended at once" if outcome == "gone" else f"did not serve within {READY_SECONDS:.0f} s"
            raise BrokerError(f"the broker {what}; its log is {self.log} and ends with:\n{last}")

    def _stores(self) -> bool:
        """Whether a message can be stored and read, as the broker's own check of its health does."""
        return bool(
            Retrying(
                retry=retry_if_result(lambda healthy: not healthy),
                wait=wait_fixed(0.2),
                stop=stop_after_delay(STORES_SECONDS),
                retry_error_callback=lambda _: False,
            )(self._healthy)
        )

    def _registers_again(self) -> bool:
        """Whether the registration of the storage comes and goes: the log then says so all the time."""
        size = self.log.stat().st_size
        time.sleep(1.0)
        with self.log.open("rb") as log:
            log.seek(size)
            return log.read().count(b"Failed to resolve network location") > _OFTEN

    def _healthy(self) -> bool:
        if self.pid is None:
            return False
        try:
            with urllib.request.urlopen(self._request("GET", "brokers/health"), timeout=10) as answer:
                return bool(answer.read() == b"ok")
        except OSError:
            return False

    def _request(self, method: str, path: str, data: bytes | None = None) -> urllib.request.Request:
        headers = {"Content-Type": "application/json"}
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        return urllib.request.Request(
            f"{self.admin_url}/admin/v2/{path}", method=method, headers=headers, data=data
        )

    def stop(self) -> None:
        """Stop the broker as an operator would (SIGTERM); nothing when it does not run."""
        process = self._process
        if process is None:
            return
        if process.stdin:
            process.stdin.close()  # the guard's sign to stop it
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """End the broker at once, as kill -9 does; what it had not written is gone."""
        process = self._process
        if process is None or process.poll() is not None:
            return
        self._killed = True
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        if process.stdin:
            process.stdin.close()
        # Its port must be free before anyone looks for it again: the guard is our child, the broker is not.
        Retrying(retry=retry_if_result(bool), wait=wait_fixed(0.02), stop=stop_after_delay(STOP_SECONDS))(
            _listens, self.url
        )

    def admin(self, method: str, path: str, body: Any = None) -> Any:
        """Send one request to the admin API, such as ``("GET", "persistent/public/default")``; return what it
        says, decoded from JSON. Raises BrokerError with the broker's reason.
        """
        request = self._request(method, path, None if body is None else json.dumps(body).encode())
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                text = answer.read()
        except urllib.error.HTTPError as error:
            with error:
                said = error.read().decode(errors="replace")
            raise BrokerError(f"{method} {path}: {error.code} {said}") from None
        except OSError as error:
            raise BrokerError(f"{method} {path}: {error}") from None
        return json.loads(text) if text else None

    def create_topic(self, topic: str, partitions: int = 0) -> None:
        """Create ``topic`` (a bare name is one of ``public/default``) with so many partitions; 0: none.

        Raises BrokerError, also when it exists.
        """
        path = _path(topic)
        self.admin("PUT", f"{path}/partitions" if partitions else path, partitions or None)

    def delete_topics(self) -> None:
        """Delete every topic of ``public/default``, also those in use. Raises BrokerError."""
        for topic in self.admin("GET", "persistent/public/default/partitioned"):
            self.admin("DELETE", f"{_path(topic)}/partitions?force=true")
        for topic in self.admin("GET", "persistent/public/default"):
            self.admin("DELETE", f"{_path(topic)}?force=true")

    def serves(self) -> bool:
        """Whether the broker runs and answers; may block for a moment."""
        return self._state() == "ready"

    def _state(self) -> str:
        if self.pid is None:
            return "gone"
        with suppress(BrokerError):
            if "public/default" in self.admin("GET", "namespaces/public"):
                return "ready"
        return "starting"


@contextmanager
def standalone(
    data: Path,
    *,
    port: int | None = None,
    admin_port: int | None = None,
    settings: Mapping[str, str] | None = None,
    token: str | None = None,
) -> Iterator[Broker]:
    """Run a broker for the length of the ``with`` block; it serves when the block is entered.

    Without a port, those of the last time in this directory are used, or any free ones. ``settings`` are
    laid over the distribution's ``standalone.conf``; ``token`` is for the admin API where they ask for one.
    Raises PulsarUnavailableError when Java or the distribution cannot be had, BrokerError when the directory
    is in use or the broker does not come up.
    """
    java()
    home = distribution()
    data = data.absolute()
    (data / "logs").mkdir(parents=True, exist_ok=True)
    with (data / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise BrokerError(f"a broker runs in {data} already; use it, or give another directory") from None
        ports = _ports(data, port, admin_port)
        _configure(home, data, ports, settings or {})
        broker = Broker(data, *ports, token)
        try:
            broker.start()
            yield broker
        finally:
            broker.stop()


def _ports(data: Path, port: int | None, admin_port: int | None) -> tuple[int, int]:
    """Ports of the broker and its admin API, which are written down for the next start."""
    record = data / "ports.json"
    known: list[int | None] = json.loads(record.read_text()) if record.exists() else [None, None]
    with ExitStack() as held:
        chosen: list[int] = []
        for given, before in zip((port, admin_port), known, strict=True):
            wanted = given or before or 0
            probe = held.enter_context(socket.socket())
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, wanted))
            except OSError as error:
                raise BrokerError(f"port {wanted} on {HOST} cannot be used: {error.strerror}") from None
            chosen.append(probe.getsockname()[1])
    record.write_text(json.dumps(chosen))
    broker, admin = chosen
    return broker, admin


def _configure(home: Path, data: Path, ports: tuple[int, int], settings: Mapping[str, str]) -> None:
    wanted = {
        "bindAddress": HOST,
        "advertisedAddress": HOST,
        "brokerServicePort": str(ports[0]),
        "webServicePort": str(ports[1]),
        # The storage would listen on every interface otherwise, on any free port.
        "listeningInterface": _loopback(),
        "webSocketServiceEnabled": "false",
        **KEPT,
        **settings,
    }
    lines = (home / "conf" / "standalone.conf").read_text().splitlines()
    kept = [line for line in lines if line.partition("=")[0].strip() not in wanted]
    text = "\n".join([*kept, *(f"{name}={value}" for name, value in wanted.items())])
    (data / "standalone.conf").write_text(text + "\n")


def _loopback() -> str:
    """The name of the loopback interface: lo on Linux, lo0 on others."""
    return next(name for _, name in socket.if_nameindex() if name.startswith("lo"))


def _path(topic: str) -> str:
    parts = topic.removeprefix("persistent://").split("/")
    full = parts if len(parts) == 3 else ["public", "default", topic]
    return "persistent/" + "/".join(urllib.parse.quote(part, safe="") for part in full)


def _listens(url: str) -> bool:
    _, _, port = url.rpartition(":")
    with socket.socket() as probe:
        return probe.connect_ex((HOST, int(port))) == 0


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def main(
    data: Annotated[
        Path | None,
        typer.Option(help="Keep data here, and find it again.", show_default="a temporary directory"),
    ] = None,
    port: Annotated[int, typer.Option(min=0, max=65_535, help="Port for clients; 0: any free one.")] = PORT,
    admin_port: Annotated[
        int, typer.Option("--admin-port", min=0, max=65_535, help="Port of the admin API.")
    ] = ADMIN_PORT,
) -> None:
    """Run a standalone Apache Pulsar broker on 127.0.0.1 until Ctrl-C.

    Needs Java, and the first time Maven to download it.
    """
    asked = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: asked.set())
    try:
        with ExitStack() as stack:
            where = data or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="timeline-pulsar-")))
            broker = stack.enter_context(standalone(where, port=port or None, admin_port=admin_port or None))
            typer.echo(f"Pulsar  {broker.url}   admin {broker.admin_url}\ndata    {broker.data}", err=True)
            typer.echo("Ctrl-C stops it.", err=True)
            asked.wait()
            typer.echo("stopping …", err=True)
    except (PulsarUnavailableError, BrokerError) as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    app()
