"""Producers whose clock jumps: publish times are theirs."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path

from tests.chaos.scene import Act, Course, Scene, SceneError, Step
from tests.chaos.traffic import EPOCH

HOUR, DAY = 3_600.0, 86_400.0
# The client library asks for the time by clock_gettime, which a library loaded before it can answer.
_SHIM = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <time.h>
int clock_gettime(clockid_t id, struct timespec *at) {
  static int (*real)(clockid_t, struct timespec *);
  if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
  int result = real(id, at);
  if (result == 0 && id == CLOCK_REALTIME) at->tv_sec += atol(getenv("CHAOS_CLOCK_OFFSET"));
  return result;
}
"""


def _shim(directory: Path) -> Path:
    compiler = shutil.which("cc")
    if compiler is None:
        raise SceneError("a C compiler, cc, is needed to set a producer's clock")
    source, library = directory / "clock.c", directory / "clock.so"
    source.write_text(_SHIM)
    command = [compiler, "-shared", "-fPIC", "-O2", "-o", str(library), str(source), "-ldl"]
    subprocess.run(command, check=True)
    return library


async def _publish(course: Course, offset: float, count: int, rate: float) -> None:
    """Fine events of now, from a producer whose clock is ``offset`` seconds from ours."""
    shim = _shim(course.stack.directory)
    stream = await course.stream(
        rate,
        count=count,
        later=course.event_time,
        stands=True,
        environment={"LD_PRELOAD": str(shim), "CHAOS_CLOCK_OFFSET": str(int(offset))},
    )
    await course.finished(stream)


def by(seconds: float) -> Step:
    """A producer's clock is so many seconds from ours."""

    async def inflict(course: Course) -> None:
        await _publish(course, seconds, 600, 60)

    return inflict


def behind_events(seconds: float, rate: float = 60) -> Step:
    """A producer's clock is so many seconds behind the times of its events."""

    async def inflict(course: Course) -> None:
        events = EPOCH + course.event_time
        await _publish(course, events - seconds - time.time(), int(rate * 12), rate)

    return inflict


async def only_refused(course: Course) -> None:
    """All others are silent meanwhile."""
    for pid in course.streams[0].processes:
        os.kill(pid, 19)
    await behind_events(2 * DAY)(course)


async def others_again(course: Course) -> None:
    """The other producer goes on."""
    course.streams[0].thaw()


SCENE = Scene(
    name="clock",
    about="clock jumps of publish time, which is the producer's clock",
    acts=(
        Act("hour-back", "a producer's clock is an hour behind", by(-HOUR), hold=4),
        Act("hour-ahead", "a producer's clock is an hour ahead", by(HOUR), hold=4),
        Act("day-ahead", "a producer's clock is a day ahead", by(DAY), hold=4),
        Act(
            "ahead",
            "events are ten minutes ahead of the clock that publishes them",
            behind_events(600),
            hold=4,
            operator="set the clock of that producer or device",
        ),
        Act(
            "implausible",
            "every event is two days ahead of the clock that publishes it",
            only_refused,
            others_again,
            hold=4,
            operator="set the clock, then `timeline deadletter replay`",
            lost="nothing: they are dead letters",
        ),
    ),
)
