"""``KeyGroup``: the keys of one partition of a reconciler, and which of them is called when.

Pure and deterministic: it hears of states, of the ends of calls, and what time it is, and hands out batches
of calls. Of a key at most one call is under way. What is owed to a key is never forgotten: a call that nobody
hears of again is made again.

A key is called when it is *dirty*: its desired state has changed, a call has failed, somebody asks for it.
Without that it is called now and then all the same (``resync``), after what is dirty, but not later than one
such period; when exactly depends on the key, so that not all are called at once. Instants and durations are
microseconds.
"""

from __future__ import annotations

import heapq
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import msgspec

from timeline_workers.columns.key_table import Key
from timeline_workers.errors import StateError

from .calls import Batch, Call, Outcome, State
from .reconciled_key import KeyState

VERSION: Final = 1
SECOND: Final = 1_000_000
BATCH: Final = 100
FLIGHTS: Final = 4
UNBOUNDED: Final = 100
"""How many isolated calls are under way where nothing else is said."""
_ERROR_LENGTH: Final = 500
_BATCH_BYTES: Final = 512 * 1024
_TICKS: Final = 200
"""At how many instants of a period there are calls though nothing has changed: one timer for all of each."""


@dataclass(frozen=True, slots=True)
class Policy:
    """How a reconciler calls. ``resync``: the period in which a key is called though nothing has changed,
    None: never; ``first_pause``, ``longest_pause``: after failures, the first and what it doubles up to;
    ``max_running``: how many calls may be under way; ``isolated``: one key a batch; ``finalizes``: a key that
    leaves has its finalizer called.
    """

    resync: int | None = None
    first_pause: int = 1 * SECOND
    longest_pause: int = 300 * SECOND
    max_running: int | None = None
    isolated: bool = False
    finalizes: bool = False

    def pause(self, failures: int) -> int:
        """How long to wait after the failure number ``failures``, from 1."""
        return min(self.first_pause << min(failures - 1, 40), self.longest_pause)

    @property
    def flights(self) -> int:
        """How many batches may be under way."""
        most = self.max_running or UNBOUNDED
        return most if self.isolated else min(FLIGHTS, most)

    def parallel(self, calls: int) -> int:
        """How many of a batch of ``calls`` are made at a time: all batches keep to ``max_running``."""
        return calls if self.max_running is None else min(calls, max(1, self.max_running // self.flights))


class _Carried(msgspec.Struct):
    version: int
    token: int
    number: int
    paused: bool
    removed: list[str]
    keys: list[tuple[Key, KeyState]]


class KeyGroup:
    """``name``: of the reconciler; ``paused``: no key is called but those that leave.

    ``forced``: keys that were forgotten without their finalizer, the last of them, for people.
    """

    def __init__(self, name: str, policy: Policy) -> None:
        self.name, self.policy = name, policy
        self.paused = False
        self.forced: list[str] = []
        self.calls_made = 0
        self._keys: dict[Key, KeyState] = {}
        self._token = 0
        self._number = 0
        self._flights: dict[int, dict[Key, Call]] = {}
        self._leaving: dict[Key, None] = {}
        self._changed: dict[Key, None] = {}
        self._idle: dict[Key, None] = {}  # to be called though nothing has changed, the longest due first
        self._times: list[tuple[int, int, Key]] = []
        self._pushed = 0

    def __len__(self) -> int:
        return len(self._keys)

    def __contains__(self, key: Key) -> bool:
        return key in self._keys

    def state(self, key: Key) -> KeyState | None:
        """What is known of a key; it is not to be changed."""
        return self._keys.get(key)

    def states(self) -> Iterator[tuple[Key, KeyState]]:
        """All keys and what is known of them, as they came."""
        return iter(self._keys.items())

    @property
    def in_flight(self) -> int:
        """How many batches are under way."""
        return len(self._flights)

    @property
    def running(self) -> int:
        """How many calls may be under way at most."""
        return sum(self.policy.parallel(len(calls)) for calls in self._flights.values())

    @property
    def waiting(self) -> int:
        """How many keys could be called now."""
        return len(self._leaving) + len(self._changed) + len(self._idle)

    # What is heard.

    def want(self, key: Key, desired: State, now: int) -> bool:
        """The state of ``key`` is to be ``desired``. An older one than it had, and the same, change nothing.

        Returns whether it is new.
        """
        held = self._keys.setdefault(key, KeyState())
        if held.desired is not None and not held.leaving:
            if desired.stamp < held.desired.stamp:
                return False
            if _same(desired.value, held.desired.value):
                held.desired = desired
                return False
        held.desired = desired
        held.leaving = held.forced = False
        self._renew(held, now)
        self._place(key, held, now)
        return True

    def matter(self, key: Key, now: int) -> None:
        """Call ``key`` though nothing has changed; after the call that is under way, if there is one."""
        held = self._keys.get(key)
        if held is None:
            held = self._keys[key] = KeyState()
            self._renew(held, now)
        elif held.running_since is not None:
            held.again = True
        else:
            self._owe(held, now)
        self._place(key, held, now)

    def observe(self, key: Key, report: bytes, now: int) -> bool:
        """The world looks like ``report``: it is the cache from now on, and where that was another the key is
        called. Returns whether it was."""
        held = self._keys.setdefault(key, KeyState())
        if held.running_since is not None:
            held.report = report
            return True
        if held.cache == report:
            return False
        held.cache = report
        self._owe(held, now)
        self._place(key, held, now)
        return True

    def leave(self, key: Key, now: int, *, force: bool = False) -> bool:
        """Forget ``key`` once its finalizer has succeeded; ``force``: without it, once no call is under way.

        Returns whether a call is under way that somebody should cancel.
        """
        held = self._keys.get(key)
        if held is None:
            return False
        if force:
            held.leaving = held.forced = True
            self.forced = [*self.forced[-99:], str(key)]
            if held.running_since is None:
                self._forget(key)
                return False
            return True
        if not held.leaving:
            held.leaving = True
            self._renew(held, now)
        if not self.policy.finalizes and held.running_since is None:
            self._forget(key)
        else:
            self._place(key, held, now)
        return False

    def pause(self, key: Key | None, now: int, paused: bool = True) -> bool:
        """Call ``key`` no more, or (``paused`` False) again; None: all of them. Returns whether there is
        such a key."""
        if key is None:
            self.paused = paused
            return True
        held = self._keys.get(key)
        if held is None:
            return False
        held.paused = paused
        self._place(key, held, now)
        return True

    def retry(self, key: Key, now: int) -> bool:
        """Call ``key`` now, whatever it waits for, also where it is stalled. Returns whether there is one."""
        held = self._keys.get(key)
        if held is None:
            return False
        held.stalled = False
        if held.running_since is not None:
            held.again = True
        self._owe(held, now)
        self._place(key, held, now)
        return True

    # Calls.

    def take(self, now: int) -> Batch | None:
        """The next batch to be called at ``now``; it is under way until ``ended``. None: there is none."""
        self._advance(now)
        if len(self._flights) >= self.policy.flights:
            return None
        calls: dict[Key, Call] = {}
        size = 0
        most = 1 if self.policy.isolated else BATCH
        for key in list(self._next(most, now)):
            held = self._keys[key]
            alone = held.lost > 1  # it may have taken its process with it
            size += _size(held)
            if calls and (alone or size > _BATCH_BYTES):
                break
            calls[key] = self._call(key, held, now)
            if alone:
                break
        if not calls:
            return None
        self._number += 1
        self._flights[self._number] = calls
        return Batch(self._number, list(calls.values()), self.policy.parallel(len(calls)))

    def next_time(self) -> int | None:
        """The instant at which there is more to ``take`` though nothing is heard; None: never."""
        while self._times and not self._is_set(self._times[0]):
            heapq.heappop(self._times)
        return self._times[0][0] if self._times else None

    def not_begun(self, number: int, now: int, why: str) -> None:
        """Batch ``number`` was given back before a call was made, and is owed again; nobody has failed."""
        for key, call in self._flights.pop(number, {}).items():
            held = self._keys.get(key)
            if held is None or held.token != call.token:
                continue
            held.running_since, held.finalizing = None, False
            held.attempt = max(held.attempt - 1, 0)
            if held.forced or (held.leaving and not self.policy.finalizes):
                self._forget(key)
                continue
            self._owe(held, now)
            held.waits, held.error = "NobodyCalls", why[:_ERROR_LENGTH]
            self._place(key, held, now)

    def ended(self, number: int, outcomes: Iterable[Outcome], now: int, why: str = "") -> None:
        """Batch ``number`` is over. ``why``: why nothing was heard of those calls that have no outcome."""
        calls = self._flights.pop(number, {})
        found: Mapping[Key, Outcome] = {one.key: one for one in outcomes}
        for key, call in calls.items():
            held = self._keys.get(key)
            if held is None or held.token != call.token:
                continue
            outcome = found.get(key)
            if outcome is None or outcome.token != call.token:
                outcome = Outcome(key, call.token, "cut_off", error=why or "nothing was heard of the call")
            held.running_since, was_final = None, held.finalizing
            held.finalizing = False
            self._apply(key, held, outcome, was_final, now)

    def under_way(self, key: Key) -> int | None:
        """The batch in which ``key`` is being called; None: it is not."""
        return next((number for number, calls in self._flights.items() if key in calls), None)

    # From run to run.

    def snapshot(self) -> bytes:
        """Everything that it must carry. Raises ValueError while a call is under way."""
        if self._flights:
            raise ValueError(f"{len(self._flights)} batches are under way; wait until they have ended")
        carried = _Carried(
            VERSION, self._token, self._number, self.paused, self.forced, list(self._keys.items())
        )
        return msgspec.msgpack.encode(carried)

    @staticmethod
    def restore(name: str, policy: Policy, data: bytes, now: int) -> KeyGroup:
        """Reverse ``snapshot``; the policy may be another than it was. Raises StateError for other bytes."""
        try:
            carried = msgspec.msgpack.decode(data, type=_Carried)
        except msgspec.MsgspecError as error:
            raise StateError(f"{len(data)} bytes are no state of a reconciler: {error}") from error
        if carried.version != VERSION:
            raise StateError(
                f"state of a reconciler has version {carried.version}, and {VERSION} is known here"
            )
        made = KeyGroup(name, policy)
        made._token, made._number, made.paused = carried.token, carried.number, carried.paused
        made.forced = carried.removed
        for key, held in carried.keys:
            made._keys[key] = held
            if held.wake is None and not held.dirty:
                made._sleep(key, held, now)
            made._place(key, held, now)
        return made

    # How it is done.

    def _renew(self, held: KeyState, now: int) -> None:
        held.generation += 1
        held.failures = held.lost = held.attempt = 0
        held.stalled = False
        held.error = ""
        self._owe(held, now)

    def _owe(self, held: KeyState, now: int) -> None:
        held.dirty, held.due, held.waits = True, now, ""

    def _apply(self, key: Key, held: KeyState, outcome: Outcome, was_final: bool, now: int) -> None:
        if outcome.cache is not None:
            held.cache = outcome.cache
        if held.forced:
            self._forget(key)
            return
        ok = outcome.ending in ("done", "again")
        if was_final and held.leaving and ok:
            self._forget(key)
            return
        if was_final and not held.leaving:
            held.cache = None  # it is wanted again: nothing is known of the world any more
        newer = held.generation > held.running
        if held.leaving and not was_final and not self.policy.finalizes:
            self._forget(key)
            return
        if ok and not was_final:
            held.observed = max(held.observed, held.running)
        if newer:
            self._owe(held, now)
        elif ok:
            self._succeeded(key, held, outcome, now)
        else:
            self._failed(held, outcome, now)
        if held.again:
            held.again, held.stalled = False, False
            self._owe(held, now)
        if held.report is not None:
            report, held.report = held.report, None
            if report != held.cache:
                held.cache = report
                self._owe(held, now)
        self._place(key, held, now)

    def _succeeded(self, key: Key, held: KeyState, outcome: Outcome, now: int) -> None:
        held.failures = held.lost = held.attempt = 0
        held.dirty, held.error, held.waits = False, "", ""
        if outcome.ending == "again":
            held.wake = now + outcome.after + outcome.after * (self._spread(key) % 100) // 1000
            held.patience = outcome.after
        else:
            self._sleep(key, held, now)

    def _failed(self, held: KeyState, outcome: Outcome, now: int) -> None:
        held.error = outcome.error[:_ERROR_LENGTH]
        if outcome.ending == "stalled":
            held.stalled, held.dirty, held.waits = True, False, ""
            return
        held.dirty = True
        if outcome.ending == "retry_after":
            held.due, held.waits = now + outcome.after, "RetryAfter"
            return
        if outcome.ending == "cut_off":
            held.lost += 1
            held.due, held.waits = now, "LeaseLost"
            if held.lost == 1:
                return
        held.failures += 1
        held.due, held.waits = now + self.policy.pause(held.failures), held.waits or "BackOff"
        held.waits = "BackOff" if outcome.ending == "failed" else held.waits

    def _sleep(self, key: Key, held: KeyState, now: int) -> None:
        """Set when ``key`` is called next though nothing changes: between half a period and one and a half
        from now on, at the same place of the period each time."""
        period = self.policy.resync
        if period is None:
            held.wake = None
            return
        soonest, tick = now + period // 2, max(period // _TICKS, 1)
        wake = soonest + (self._spread(key) - soonest) % period
        held.wake = -(-wake // tick) * tick
        held.patience = period

    def _spread(self, key: Key) -> int:
        # Not Python's own hash, which is another in every process.
        digest = zlib.crc32(repr((self.name, key)).encode())
        return digest * 2_654_435_761 % (1 << 48)

    def _forget(self, key: Key) -> None:
        self._keys.pop(key, None)
        for queue in (self._leaving, self._changed, self._idle):
            queue.pop(key, None)

    def _place(self, key: Key, held: KeyState, now: int) -> None:
        if not held.may_run:
            for queue in (self._leaving, self._changed, self._idle):
                queue.pop(key, None)
            return
        at = held.due if held.dirty else held.wake
        if at is not None and at <= now:
            self._ready(key, held)
            return
        for queue in (self._leaving, self._changed, self._idle):
            queue.pop(key, None)
        if at is not None:
            self._pushed += 1
            heapq.heappush(self._times, (at, self._pushed, key))

    def _ready(self, key: Key, held: KeyState) -> None:
        wanted = self._leaving if held.leaving else self._changed if held.dirty else self._idle
        for queue in (self._leaving, self._changed, self._idle):
            if queue is not wanted:
                queue.pop(key, None)
        wanted.setdefault(key)

    def _is_set(self, entry: tuple[int, int, Key]) -> bool:
        at, _, key = entry
        held = self._keys.get(key)
        if held is None or not held.may_run:
            return False
        return at == (held.due if held.dirty else held.wake)

    def _advance(self, now: int) -> None:
        while self._times and self._times[0][0] <= now:
            entry = heapq.heappop(self._times)
            if self._is_set(entry):
                self._ready(entry[2], self._keys[entry[2]])

    def _next(self, most: int, now: int) -> Iterator[Key]:
        """The keys to be called next, at most so many: those that leave, those that were passed over for a
        whole period, those that have changed, the others."""
        sources: list[Iterator[Key]] = [iter(self._leaving)]
        if not self.paused:
            late = [key for key in _first(self._idle, most) if self._overdue(self._keys[key], now)]
            sources += [iter(late), iter(self._changed), iter(self._idle)]
        seen: dict[Key, None] = {}
        for source in sources:
            for key in source:
                if len(seen) >= most:
                    break
                seen.setdefault(key)
        return iter(seen)

    @staticmethod
    def _overdue(held: KeyState, now: int) -> bool:
        return held.wake is not None and now - held.wake >= held.patience

    def _call(self, key: Key, held: KeyState, now: int) -> Call:
        for queue in (self._leaving, self._changed, self._idle):
            queue.pop(key, None)
        self._token = max(self._token + 1, now)
        self.calls_made += 1
        held.token = self._token
        held.running_since, held.running = now, held.generation
        held.finalizing = held.leaving
        held.attempt += 1
        return Call(key, held.desired, held.cache, held.token, held.attempt, held.leaving)


def _first(keys: Iterable[Key], most: int) -> Iterator[Key]:
    for _, key in zip(range(most), keys, strict=False):
        yield key


def _size(held: KeyState) -> int:
    """About how many bytes a call takes."""
    value = None if held.desired is None else held.desired.value
    said = len(msgspec.msgpack.encode(value)) if isinstance(value, str | dict | list) else 8
    return len(held.cache or b"") + said + 64


def _same(one: object, other: object) -> bool:
    """Whether two values are the same; True and 1 are not."""
    return type(one) is type(other) and one == other
