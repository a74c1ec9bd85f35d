"""Jobs for contenders and their answers. Standard library only.

A job file names a folder of data (``workloads.Data.write``), how many of its events to take, and options. A
contender's module gives ``prepare(job)``, which loads the events in the form that suits it and returns what
is then timed; its result goes through ``collect`` afterwards.
"""

from __future__ import annotations

import gc
import json
import os
import resource
import sys
import time
from array import array
from collections.abc import Callable, Iterable
from itertools import islice
from pathlib import Path
from typing import Any

SECOND = 1_000_000
REHEARSAL = 5_000


class Job:
    """The first ``events`` of the events in ``folder``; see ``workloads`` for what is there."""

    def __init__(self, folder: Path, events: int, options: dict[str, Any]) -> None:
        meta = json.loads((folder / "meta.json").read_text())
        self.folder, self.options = folder, options
        self.events = min(events, meta["events"])
        self.whole = self.events == meta["events"]
        self.metric: str = meta["metric"]
        self.expression: str = meta["expression"]
        self.keys: int = meta["keys"]
        self.horizon: int = meta["horizon"]
        self.values: dict[str, list[str]] = meta["columns"]

    def _read(self, name: str, code: str) -> array[Any]:
        data = array(code)
        with (self.folder / f"{name}.bin").open("rb") as file:
            data.fromfile(file, self.events)
        return data

    @property
    def key(self) -> array[int]:
        """The number of each event's key."""
        return self._read("key", "i")

    @property
    def time(self) -> array[int]:
        """Each event's time in microseconds, ascending."""
        return self._read("time", "q")

    def column(self, name: str) -> array[Any]:
        """Codes into ``values[name]`` (-1 is missing), or floats where that is empty."""
        return self._read(name, "b" if self.values[name] else "d")

    def texts(self, name: str) -> list[Any]:
        """The values themselves, None for a missing one."""
        data = self.column(name)
        if not self.values[name]:
            return data.tolist()
        said = [*self.values[name], None]
        return [said[code] for code in data]

    def lines(self) -> list[bytes]:
        """The events as JSON lines."""
        with (self.folder / "events.jsonl").open("rb") as file:
            return list(islice(file, self.events))

    def lines_file(self) -> Path:
        """A file of exactly these JSON lines."""
        if self.whole:
            return self.folder / "events.jsonl"
        path = self.folder / f"events-{self.events}-{os.getpid()}.jsonl"
        path.write_bytes(b"".join(self.lines()))
        return path


def names(keys: int) -> list[str]:
    """The names of the keys, by number."""
    return [f"session-{number:07d}" for number in range(keys)]


def number_of(name: str) -> int:
    """The number of the key of that name."""
    return int(name[len("session-") :])


Run = Callable[[], Any]
Collect = Callable[[Any], Iterable[tuple[int, int]]]
Prepare = Callable[[Job], tuple[Run, Collect]]
NOTES: dict[str, float] = {}  # what else a run has measured
FIRST = "seconds until the first result"
AT_END: list[Callable[[], object]] = []  # called last first, when the answers are written


def main(prepare: Prepare, *, rehearse: bool = True) -> None:
    """Do the job in the file that the command line names, once, after a short rehearsal and, with the option
    ``warm``, once over all of it.

    Leaves ``outcome.json`` (seconds, processor seconds of all threads and of child processes) and
    ``answers.bin`` (microseconds per key, -1 for a key that is not there) in the folder the job names.
    """
    asked = json.loads(Path(sys.argv[1]).read_text())
    if (core := asked["core"]) is not None:
        os.sched_setaffinity(0, {core})
    folder, options = Path(asked["folder"]), asked["options"]
    if rehearse:
        # Imports, allocators and caches: no contender pays for its first call.
        prepare(Job(folder, REHEARSAL, options))[0]()
    job = Job(folder, asked["events"], options)
    run, collect = prepare(job)
    if options.get("warm"):
        run()
    gc.collect()
    began, cpu = time.perf_counter(), _processor_seconds()
    result = run()
    seconds, cpu_seconds = time.perf_counter() - began, _processor_seconds() - cpu
    if FIRST in NOTES:
        NOTES["events a second after that"] = job.events / max(seconds - NOTES[FIRST], 1e-6)
    answers = array("q", [-1]) * job.keys
    for number, value in collect(result):
        answers[number] = value
    out = Path(asked["out"])
    (out / "answers.bin").write_bytes(answers.tobytes())
    (out / "outcome.json").write_text(
        json.dumps({"events": job.events, "seconds": seconds, "cpu_seconds": cpu_seconds, "notes": NOTES})
    )
    while AT_END:
        AT_END.pop()()
    sys.stdout.flush()
    os._exit(0)  # some libraries' threads do not survive an orderly exit


def _processor_seconds() -> float:
    """Of this process, of children that have ended, and of all that descend from it and run."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used) + descendants_seconds()


def descendants_seconds() -> float:
    """Processor seconds of everything that descends from this process and runs; 0 without /proc."""
    parents, ticks = {}, {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it has just ended
        parents[int(stat.parent.name)] = int(fields[1])
        ticks[int(stat.parent.name)] = sum(map(int, fields[11:15]))
    ours, total = {os.getpid()}, 0
    while found := {pid for pid, parent in parents.items() if parent in ours} - ours:
        ours |= found
        total += sum(ticks[pid] for pid in found)
    return total / os.sysconf("SC_CLK_TCK")
