"""A call in a process of its own, which ends when the call does, when the lease is lost, or with its parent.

A function that swallows cancellation, or blocks a thread, cannot be stopped; its process can be killed. The
process hears of every renewal of the lease and ends by itself when half a lease has passed without one: also
when its parent was stopped, or killed.
"""

from __future__ import annotations

import asyncio
import importlib
import multiprocessing
import os
import sys
import threading
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

from pydantic import BaseModel

from timeline_workers.columns.key_table import Key
from timeline_workers.errors import ReconcilerError
from timeline_workers.metric.model import TimeUnit

from .calls import Call, Outcome, pack_outcomes, unpack_outcomes
from .making_calls import make_call
from .reconciler_declaration import Notify, Reconciler, declared

CUT_OFF = 75


class OwnProcesses:
    """Makes calls in processes of their own. ``renewed``: to be called when the lease was renewed."""

    def __init__(self, lease: float) -> None:
        self._lease = lease
        self._pipes: set[Connection] = set()

    def renewed(self) -> None:
        """Tell the processes that the lease goes on."""
        for pipe in list(self._pipes):
            try:
                pipe.send_bytes(b"+")
            except OSError:
                self._pipes.discard(pipe)

    async def call(self, reconciler: Reconciler, call: Call, notify: Notify) -> Outcome:
        """As ``make_call``; the process is killed when the task is cancelled."""
        context = multiprocessing.get_context("spawn")
        mine, its = context.Pipe()
        module, unit = reconciler.function.__module__, reconciler.definition.unit
        process: BaseProcess = context.Process(
            target=_child, args=(its, module, unit, reconciler.name, call, self._lease), daemon=True
        )
        await asyncio.to_thread(process.start)
        its.close()
        self._pipes.add(mine)
        try:
            return await self._heard(mine, process, call, notify)
        finally:
            self._pipes.discard(mine)
            process.kill()
            await asyncio.shield(asyncio.to_thread(process.join))
            mine.close()

    async def _heard(self, pipe: Connection, process: BaseProcess, call: Call, notify: Notify) -> Outcome:
        loop = asyncio.get_running_loop()
        ready = asyncio.Event()
        loop.add_reader(pipe.fileno(), ready.set)
        try:
            while True:
                await ready.wait()
                ready.clear()
                while pipe.poll():
                    try:
                        kind, *said = pipe.recv()
                    except (EOFError, OSError):
                        await asyncio.to_thread(process.join)
                        return _ended(call, process.exitcode)
                    if kind == "outcome":
                        return unpack_outcomes(said[0])[0]
                    await notify(*said)
        finally:
            loop.remove_reader(pipe.fileno())


def _ended(call: Call, code: int | None) -> Outcome:
    if code == CUT_OFF:
        return Outcome(call.key, call.token, "cut_off", error="its process had heard of no heartbeat")
    return Outcome(call.key, call.token, "failed", error=f"its process ended with exit code {code}")


def _child(pipe: Connection, module: str, unit: TimeUnit, name: str, call: Call, lease: float) -> None:
    threading.Thread(target=_watch, args=(pipe, lease / 2), daemon=True).start()
    lock = threading.Lock()

    def say(*what: Any) -> None:
        with lock:
            pipe.send(what)

    async def notify(key: Key, input: Any) -> None:
        say("notify", key, input.model_dump(mode="json") if isinstance(input, BaseModel) else input)

    try:
        importlib.import_module("__mp_main__" if module == "__main__" else module)
        (found,) = declared(name)
        found.learn_unit(unit)
        outcome = asyncio.run(make_call(found, call, notify))
    except (ImportError, ReconcilerError) as error:
        outcome = Outcome(call.key, call.token, "failed", error=f"{type(error).__name__}: {error}")
    say("outcome", pack_outcomes([outcome]))
    pipe.close()
    sys.stdout.flush()
    os._exit(0)


def _watch(pipe: Connection, seconds: float) -> None:
    try:
        while pipe.poll(seconds):
            pipe.recv_bytes()
    except (EOFError, OSError):
        pass
    os._exit(CUT_OFF)
