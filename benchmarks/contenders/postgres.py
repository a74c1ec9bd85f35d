"""PostgreSQL: a server of its own on 127.0.0.1, in a temporary directory, bound to the same core.

The table is loaded, analysed and in memory before; nothing runs in parallel, and sorts have the memory they
want. Its time covers the query as `COPY … TO STDOUT` by psql, which starts and connects within it.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path

from tenacity import Retrying, retry_if_result, stop_after_delay, wait_fixed

from deploy.cluster_ports import free_ports
from deploy.cluster_postgres import USER, Postgres
from timeline_workers.servers.embedded.embedded_servers import guarded

from .job import AT_END, Collect, Job, Run, main
from .sql import query

_SETTINGS = {"shared_buffers": "1GB", "work_mem": "2GB", "max_parallel_workers_per_gather": "0"}
_READY_SECONDS = 120


def prepare(job: Job) -> tuple[Run, Collect]:
    postgres = _serve()
    _psql(postgres, ["".join(_load(job))])
    asked = f"COPY ({query(job.metric, job.horizon)}) TO STDOUT"

    def run() -> bytes:
        return _psql(postgres, [asked])

    def collect(rows: bytes) -> Iterable[tuple[int, int]]:
        for line in rows.splitlines():
            key, duration = line.split(b"\t")
            yield int(key), int(duration)

    run()  # the table is in memory then, and the query's code
    return run, collect


def _serve() -> Postgres:
    stack = ExitStack()
    AT_END.append(stack.close)
    home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="timeline-postgres-")))
    home.chmod(0o755)  # PostgreSQL may run under another account
    postgres = Postgres(home / "postgres", free_ports(1)[0])
    postgres.prepare()
    command = [
        *postgres.command,
        *(part for name, value in _SETTINGS.items() for part in ("-c", f"{name}={value}")),
    ]
    with (home / "log").open("wb") as log:
        server = subprocess.Popen(guarded(command, 20), stdin=subprocess.PIPE, stdout=log, stderr=log)

    def stop() -> None:
        assert server.stdin is not None
        server.stdin.close()  # the guard's sign
        server.wait(60)

    stack.callback(stop)
    ready = Retrying(
        retry=retry_if_result(lambda serves: not serves),
        wait=wait_fixed(0.1),
        stop=stop_after_delay(_READY_SECONDS),
        retry_error_callback=lambda _: False,
    )(postgres.serves)
    if not ready:
        raise RuntimeError(f"PostgreSQL does not come up: {(home / 'log').read_text()[-300:]}")
    return postgres


def _psql(postgres: Postgres, commands: list[str]) -> bytes:
    command = ["psql", "-X", "-q", "-h", "127.0.0.1", "-p", str(postgres.port), "-U", USER, "-d", "postgres"]
    return subprocess.run(
        [*command, "-v", "ON_ERROR_STOP=1"],
        input="\n".join(commands).encode(),
        env={**os.environ, "PGPASSWORD": postgres.password},
        stdout=subprocess.PIPE,
        check=True,
    ).stdout


def _load(job: Job) -> Iterable[str]:
    for name, values in job.values.items():
        listed = ", ".join(f"'{value}'" for value in values)
        yield f"CREATE TYPE of_{name} AS ENUM ({listed});\n"
    columns = ", ".join(f"{name} of_{name}" for name in job.values)
    yield f"CREATE UNLOGGED TABLE events (key int, time bigint, {columns});\nCOPY events FROM STDIN;\n"
    texts = [[text or "\\N" for text in job.texts(name)] for name in job.values]
    for row in zip(map(str, job.key), map(str, job.time), *texts, strict=True):
        yield "\t".join(row) + "\n"
    yield "\\.\nVACUUM ANALYZE events;\n"


if __name__ == "__main__":
    main(prepare, rehearse=False)
