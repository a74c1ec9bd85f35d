"""Podman in namespaces of its own: mounts, processes and the network.

Containers publish the very ports that a compose file names and disturb nothing outside; when the owner ends,
however it ends, all of them end too. Images stay in the user's cache directory, for the next time.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tenacity import Retrying, retry_if_result, stop_after_delay, wait_fixed

PROGRAMS = ("podman", "crun", "conmon", "iptables", "ip", "unshare", "nsenter", "setpriv")
SERVES_SECONDS = 60.0
# They end with their owner, however it ends.
_ENTER = [
    *("setpriv", "--pdeathsig", "KILL"),
    *("unshare", "-m", "-n", "-p", "--fork", "--kill-child", "--mount-proc"),
]
# /run: what podman notes there about running containers and networks is of these namespaces. A host with both
# versions of control groups mounts the second one where crun would take it for the only one. No server for
# names outside is there: one is named that nobody has, and is not waited for long.
_SETUP = """
mount -t tmpfs tmpfs /run
ip link set lo up
if mountpoint -q /sys/fs/cgroup/unified; then umount /sys/fs/cgroup/unified; fi
mount --bind "$2" /etc/resolv.conf
exec podman system service --time 0 "unix://$1"
"""
_STORAGE = """
[storage]
driver = "overlay"
graphroot = "{home}/storage"
runroot = "/run/containers/storage"
"""
# Limits below those that a process inherits can be set without CAP_SYS_RESOURCE. Names of images mean what
# is in the storage: no registry is ever asked.
_CONTAINERS = """
[containers]
default_ulimits = ["nofile=16384:16384", "nproc=16384:16384"]
dns_options = ["timeout:1", "attempts:1"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "crun"
compat_api_enforce_docker_hub = false
[network]
network_backend = "netavark"
network_config_dir = "{directory}/networks"
"""


class PodmanError(Exception):
    """A command failed: the message has its last words."""


def missing() -> str | None:
    """What keeps podman from running here, in one line; None when nothing does."""
    if os.geteuid() != 0:
        return "containers are run as root"
    absent = [name for name in PROGRAMS if shutil.which(name) is None]
    if not any(Path(folder, "podman/netavark").exists() for folder in ("/usr/lib", "/usr/libexec")):
        absent.append("netavark")
    return f"{', '.join(absent)} not found" if absent else None


def cache() -> Path:
    """Where images and what they are made of are kept."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "timeline-workers"


class Podman:
    """Podman's service and its namespaces; made by ``podman``.

    ``environment`` is for programs that are to talk to it, also those made for Docker.
    """

    def __init__(self, pid: int, environment: dict[str, str]) -> None:
        self._pid = pid
        self.environment = environment

    def run(self, *arguments: str, check: bool = True) -> str:
        """Run one podman command, and return what it prints. Raises PodmanError unless ``check`` is false."""
        done = subprocess.run(
            [*self._entered("-m", "-p"), "podman", *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if check and done.returncode:
            last = "\n".join((done.stdout + done.stderr).strip().splitlines()[-10:])
            raise PodmanError(f"podman {' '.join(arguments)} ended with {done.returncode}:\n{last}")
        return done.stdout

    def in_network(self, command: Sequence[str], environment: dict[str, str]) -> list[str]:
        """``command`` made one that sees the published ports, on 127.0.0.1, and nothing else."""
        return [
            *self._entered(),
            "env",
            *(f"{name}={value}" for name, value in environment.items()),
            *command,
        ]

    def _entered(self, *also: str) -> list[str]:
        return ["nsenter", "-t", str(self._pid), "-n", *also, "--"]

    @contextmanager
    def checking_health(self, seconds: float) -> Iterator[None]:
        """Run the containers' health checks, which podman leaves to systemd, so many seconds apart."""
        done = threading.Event()

        def check() -> None:
            while not done.wait(seconds):
                for name in self.run("ps", "--format", "{{.Names}}").split():
                    self.run("healthcheck", "run", name, check=False)

        thread = threading.Thread(target=check, daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()


@contextmanager
def podman() -> Iterator[Podman]:
    """Run podman for the length of the ``with`` block, one at a time for this user.

    Raises PodmanError when it does not serve. No container of an earlier time is left.
    """
    home = cache() / "containers"
    home.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="podman-") as made, (home / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        directory = Path(made)
        (directory / "storage.conf").write_text(_STORAGE.format(home=home))
        (directory / "containers.conf").write_text(_CONTAINERS.format(directory=directory))
        (directory / "registries.conf").write_text("unqualified-search-registries = []\n")
        (directory / "resolv.conf").write_text("nameserver 192.0.2.1\n")
        socket = directory / "podman.sock"
        environment = {
            **os.environ,
            "CONTAINERS_CONF": str(directory / "containers.conf"),
            "CONTAINERS_STORAGE_CONF": str(directory / "storage.conf"),
            "CONTAINERS_REGISTRIES_CONF": str(directory / "registries.conf"),
            "DISABLE_HC_SYSTEMD": "true",
            "DOCKER_HOST": f"unix://{socket}",
        }
        log = directory / "podman.log"
        with log.open("w") as out:
            process = subprocess.Popen(
                [*_ENTER, "sh", "-ec", _SETUP, "sh", str(socket), str(directory / "resolv.conf")],
                env=environment,
                stdout=out,
                stderr=subprocess.STDOUT,
            )
        try:
            serves = Retrying(
                retry=retry_if_result(lambda found: not found),
                wait=wait_fixed(0.1),
                stop=stop_after_delay(SERVES_SECONDS),
                retry_error_callback=lambda _: False,
            )(lambda: process.poll() is not None or socket.exists())
            if not serves or process.poll() is not None:
                raise PodmanError(f"podman's service does not start:\n{log.read_text()[-2000:]}")
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
            started = Podman(int(children[0]), environment)
            started.run("rm", "--all", "--force", "--volumes")
            started.run("volume", "prune", "--force")
            yield started
            started.run("rm", "--all", "--force", "--time", "2", "--volumes")
            started.run("volume", "prune", "--force")
        finally:
            process.kill()
            process.wait()
