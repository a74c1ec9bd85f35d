"""A reconciler against its guarantees, whatever happens: calls fail, are cut off, processes die, states come
late and in any order, runs continue as new.

The model is the world: per key the greatest token that it has seen, and what was last set with one that was
not smaller. A call that was cut off may still have reached the world.
"""

from __future__ import annotations

from typing import Any

from hypothesis import settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from timeline_workers.reconcilers.calls import Batch, Call, Outcome, State, pack_batch, unpack_batch
from timeline_workers.reconcilers.key_group import SECOND, KeyGroup, Policy

KEYS = st.sampled_from(["a", "b", "c", 4])
VALUES = st.integers(0, 3)
FINALIZED = "finalized"


class Reconciling(RuleBasedStateMachine):
    @initialize(
        isolated=st.booleans(),
        max_running=st.sampled_from([None, 1, 3]),
        resync=st.sampled_from([None, 20 * SECOND]),
        finalizes=st.booleans(),
    )
    def begin(self, isolated: bool, max_running: int | None, resync: int | None, finalizes: bool) -> None:
        self.policy = Policy(resync, SECOND, 8 * SECOND, max_running, isolated, finalizes)
        self.group = KeyGroup("model", self.policy)
        self.now = 1_000 * SECOND
        self.stamp = 0
        self.flights: list[Batch] = []
        self.world: dict[Any, Any] = {}
        self.tokens: dict[Any, int] = {}
        self.newest: dict[Any, tuple[int, Any]] = {}
        self.stalled: set[Any] = set()

    # What happens outside.

    @rule(key=KEYS, value=VALUES)
    def a_state_comes(self, key: Any, value: int) -> None:
        self.stamp += 1
        self._want(key, value, self.stamp)

    @rule(key=KEYS, value=VALUES, back=st.integers(0, 3))
    def an_older_state_comes(self, key: Any, value: int, back: int) -> None:
        self._want(key, value, max(self.stamp - back, 0))

    def _want(self, key: Any, value: int, stamp: int) -> None:
        known = self.newest.get(key)
        if known is not None and stamp < known[0]:
            self.group.want(key, State(value, stamp=stamp), self.now)
            return
        if known is None or known[1] != value:
            self.stalled.discard(key)
        self.newest[key] = (stamp, value)
        self.group.want(key, State(value, stamp=stamp), self.now)

    @rule(key=KEYS, force=st.booleans())
    def a_key_leaves(self, key: Any, force: bool) -> None:
        if key not in self.newest:
            return
        del self.newest[key]
        self.stalled.discard(key)
        self.group.leave(key, self.now, force=force)
        if force or not self.policy.finalizes:
            self.world.pop(key, None)

    @rule(key=KEYS)
    def a_key_matters(self, key: Any) -> None:
        if key in self.newest:
            self.group.matter(key, self.now)

    @rule(key=KEYS)
    def a_key_is_retried(self, key: Any) -> None:
        if self.group.retry(key, self.now):
            self.stalled.discard(key)

    @rule(key=KEYS, paused=st.booleans())
    def a_key_is_paused(self, key: Any, paused: bool) -> None:
        self.group.pause(key, self.now, paused)

    @rule(key=KEYS, value=VALUES)
    def the_world_is_changed_and_seen(self, key: Any, value: int) -> None:
        if key in self.newest:
            self.world[key] = value
            self.group.observe(key, str(value).encode(), self.now)

    @rule(seconds=st.integers(0, 30))
    def time_passes(self, seconds: int) -> None:
        self.now += seconds * SECOND

    # What calls do.

    @rule()
    def a_batch_is_taken(self) -> None:
        batch = self.group.take(self.now)
        if batch is None:
            return
        under_way = {call.key for one in self.flights for call in one.calls}
        for call in batch.calls:
            assert call.key not in under_way, "two calls of a key at once"
            assert call.token > self.tokens.get(call.key, 0), "a token that does not grow"
            self.tokens[call.key] = call.token
            if not call.finalize and call.key in self.newest:
                assert call.desired is not None
                assert call.desired.value == self.newest[call.key][1], "not the newest state"
        self.flights.append(unpack_batch(pack_batch(batch)))
        allowed = self.policy.max_running
        assert allowed is None or sum(one.parallel for one in self.flights) <= allowed
        if self.policy.isolated:
            assert len(batch.calls) == 1

    def _reach(self, call: Call) -> None:
        self.world[call.key] = FINALIZED if call.finalize else call.desired and call.desired.value

    @rule(data=st.data())
    def a_batch_ends(self, data: st.DataObject) -> None:
        if not self.flights:
            return
        batch = self.flights.pop(data.draw(st.integers(0, len(self.flights) - 1)))
        outcomes = []
        for call in batch.calls:
            ending = data.draw(st.sampled_from(["done", "done", "again", "failed", "retry_after", "stalled"]))
            if ending in ("done", "again") or data.draw(st.booleans()):
                self._reach(call)
            cache = str(self.world.get(call.key)).encode() if ending in ("done", "again") else None
            outcomes.append(Outcome(call.key, call.token, ending, cache, 3 * SECOND, ending))
            held = self.group.state(call.key)
            if ending == "stalled" and held is not None and held.generation == held.running:
                self.stalled.add(call.key)
        self.group.ended(batch.number, outcomes, self.now)

    @rule(data=st.data())
    def a_process_dies_or_is_cut_off(self, data: st.DataObject) -> None:
        if not self.flights:
            return
        batch = self.flights.pop(data.draw(st.integers(0, len(self.flights) - 1)))
        for call in batch.calls:
            if data.draw(st.booleans()):
                self._reach(call)
        self.group.ended(batch.number, [], self.now, "killed")

    @rule(data=st.data())
    def nobody_takes_a_batch(self, data: st.DataObject) -> None:
        if self.flights:
            batch = self.flights.pop(data.draw(st.integers(0, len(self.flights) - 1)))
            self.group.not_begun(batch.number, self.now, "nobody")

    @rule()
    def the_run_continues_as_new(self) -> None:
        if not self.flights:
            self.group = KeyGroup.restore("model", self.policy, self.group.snapshot(), self.now)

    @invariant()
    def what_is_wanted_is_known(self) -> None:
        if hasattr(self, "group"):
            assert all(key in self.group for key in self.newest)

    def teardown(self) -> None:
        """From now on nothing fails: the world comes to agree with the newest states, and nothing is lost."""
        if not hasattr(self, "group"):
            return
        for key in list(self.newest):
            self.group.pause(key, self.now, paused=False)
        self.a_settled_world()
        for key, (_, value) in self.newest.items():
            held = self.group.state(key)
            assert held is not None
            if key in self.stalled or held.stalled:
                continue
            assert self.world.get(key) == value, (key, held)
            assert (held.observed, held.dirty) == (held.generation, False)
        for key, held in self.group.states():
            assert key in self.newest or held.stalled, "a key that left is not forgotten"

    def a_settled_world(self) -> None:
        for _ in range(400):
            while (batch := self.group.take(self.now)) is not None or self.flights:
                if batch is not None:
                    self.flights.append(batch)
                ended = self.flights.pop(0)
                for call in ended.calls:
                    self._reach(call)
                outcomes = [
                    Outcome(c.key, c.token, "done", str(self.world.get(c.key)).encode()) for c in ended.calls
                ]
                self.group.ended(ended.number, outcomes, self.now)
            if not any(held.dirty and not held.stalled for _, held in self.group.states()):
                return
            due = self.group.next_time()
            self.now = max(self.now, due) if due is not None else self.now
        raise AssertionError("it does not come to rest")


Reconciling.TestCase.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)
TestReconciling = Reconciling.TestCase
