"""A PostgreSQL server of its own in one directory, listening on 127.0.0.1 only.

PostgreSQL refuses to run as root. Started by root it therefore runs as the account ``postgres`` or
``nobody``, to which its directory is given; that account must be able to reach the directory.
"""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import subprocess
from pathlib import Path

from deploy.cluster_server import ClusterUnavailableError
from timeline_workers.servers.embedded.embedded_servers import HOST

USER = "temporal"
_ACCOUNTS = ("postgres", "nobody")


class Postgres:
    """``prepare`` it once, then run ``command`` for as long as it should serve.

    ``port`` and ``password`` (of the user ``temporal``) are for clients. What is committed is on disk:
    nothing of PostgreSQL's own care is turned off.
    """

    def __init__(self, directory: Path, port: int) -> None:
        self._directory = directory
        self._data = directory / "data"
        self._programs = _programs()
        self._as_user = _as_user()
        self.port = port
        self.password = ""

    def prepare(self) -> None:
        """Make the database cluster, unless it is there. Raises ClusterUnavailableError."""
        self._directory.mkdir(parents=True, exist_ok=True)
        kept = self._directory / "password"
        if not kept.exists():
            kept.touch(mode=0o600)
            kept.write_text(secrets.token_urlsafe(24))
        self.password = kept.read_text()
        if self._as_user:
            account = pwd.getpwnam(_account())
            os.chown(self._directory, account.pw_uid, account.pw_gid)
            os.chown(kept, account.pw_uid, account.pw_gid)
        if (self._data / "PG_VERSION").exists():
            return
        command = [str(self._programs / "initdb"), "--pgdata", str(self._data), "--username", USER]
        command += ["--pwfile", str(kept), "--auth", "scram-sha-256", "--encoding", "UTF8", "--locale", "C"]
        done = subprocess.run(
            [*self._as_user, *command], capture_output=True, text=True, cwd="/", check=False
        )
        if done.returncode:
            shutil.rmtree(self._data, ignore_errors=True)
            said = " ".join(done.stderr.strip().splitlines()[-1:])
            hint = ""
            if self._as_user:
                hint = f"; the account {_account()} must reach the directory (chmod o+x on all above it)"
            raise ClusterUnavailableError(f"PostgreSQL cannot be set up in {self._directory}: {said}{hint}")

    @property
    def command(self) -> list[str]:
        """The command that serves until it is stopped."""
        settings = {
            "port": str(self.port),
            "listen_addresses": HOST,
            "unix_socket_directories": "",
            "max_connections": "200",
        }
        command = [str(self._programs / "postgres"), "-D", str(self._data)]
        return [*self._as_user, *command, *(p for n, v in settings.items() for p in ("-c", f"{n}={v}"))]

    def serves(self) -> bool:
        """Whether it takes connections, and is not still recovering."""
        asked = [str(self._programs / "pg_isready"), "-q", "-h", HOST, "-p", str(self.port)]
        return subprocess.run(asked, check=False).returncode == 0


def _programs() -> Path:
    """The directory of PostgreSQL's programs: that of ``postgres`` on the path, or Debian's newest."""
    found = shutil.which("postgres")
    if found:
        return Path(found).resolve().parent
    installed = Path("/usr/lib/postgresql").glob("*/bin/postgres")
    newest = max(installed, key=lambda path: int(path.parts[-3].partition(".")[0]), default=None)
    if newest is None:
        raise ClusterUnavailableError("PostgreSQL's server was not found; on Debian: apt install postgresql")
    return newest.parent


def _account() -> str:
    for name in _ACCOUNTS:
        try:
            pwd.getpwnam(name)
        except KeyError:
            continue
        return name
    raise ClusterUnavailableError(f"PostgreSQL does not run as root, and there is no account {_ACCOUNTS}")


def _as_user() -> list[str]:
    """What stands before a command so that it does not run as root."""
    if os.geteuid() != 0:
        return []
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        raise ClusterUnavailableError("PostgreSQL does not run as root, and setpriv (util-linux) is missing")
    name = _account()
    group = str(pwd.getpwnam(name).pw_gid)
    return [setpriv, "--reuid", name, "--regid", group, "--clear-groups", "--"]
