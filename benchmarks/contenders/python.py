"""A loop over tuples and a dict of sessions; from JSON lines with the standard library's decoder."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from .byhand import SESSIONS
from .job import Collect, Job, Run, main, names, number_of


def tuples(job: Job) -> list[tuple[str, int, tuple[Any, ...]]]:
    """The events as (key, time, the columns that the metric reads)."""
    known = names(job.keys)
    columns = [job.texts(name) for name in SESSIONS[job.metric].columns]
    keys = [known[number] for number in job.key]
    return list(zip(keys, job.time.tolist(), zip(*columns, strict=True), strict=True))


def parse(line: bytes, columns: tuple[str, ...]) -> tuple[str, int, tuple[Any, ...]]:
    """One JSON line as such a tuple."""
    event = json.loads(line)
    get = event.get
    return event["key"], event["time"], tuple([get(name) for name in columns])


def prepare(job: Job) -> tuple[Run, Collect]:
    make, horizon = SESSIONS[job.metric], job.horizon
    if job.options["form"] == "jsonl":
        lines = job.lines()
    else:
        items = tuples(job)

    def run() -> dict[str, Any]:
        found: Iterable[tuple[str, int, tuple[Any, ...]]]
        if job.options["form"] == "jsonl":
            columns = make.columns
            found = (parse(line, columns) for line in lines)
        else:
            found = items
        sessions: dict[str, Any] = {}
        for key, now, event in found:
            session = sessions.get(key)
            if session is None:
                session = sessions[key] = make()
            session.hear(now, event)
        for session in sessions.values():
            session.advance(horizon)
        return sessions

    return run, lambda sessions: ((number_of(k), s.duration) for k, s in sessions.items())


if __name__ == "__main__":
    main(prepare)
