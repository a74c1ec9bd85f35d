"""The keys of a reconciler on a virtual clock: who is called when."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from timeline_workers.columns.key_table import Key
from timeline_workers.errors import StateError
from timeline_workers.reconcilers.calls import Batch, Call, Ending, Outcome, State
from timeline_workers.reconcilers.key_group import SECOND, KeyGroup, Policy
from timeline_workers.reconcilers.reconciled_key import conditions, finalizer_waits

DONE: Callable[[Call], Outcome] = lambda call: answer(call)  # noqa: E731


def answer(call: Call, ending: Ending = "done", **more: Any) -> Outcome:
    return Outcome(call.key, call.token, ending, **more)


def state(value: object, stamp: int = 0) -> State:
    return State(value, stamp=stamp)


def end(group: KeyGroup, batch: Batch | None, now: int, how: Callable[[Call], Outcome] = DONE) -> None:
    assert batch is not None
    group.ended(batch.number, [how(call) for call in batch.calls], now)


def called(batch: Batch | None) -> list[tuple[Key, Any]]:
    return [] if batch is None else [(c.key, c.desired and c.desired.value) for c in batch.calls]


def held_conditions(group: KeyGroup, key: Key) -> dict[str, str]:
    held = group.state(key)
    assert held is not None
    return {one.type: one.reason for one in conditions(held, group.paused) if one.holds}


def test_r1_only_the_newest_is_called_next() -> None:
    group = KeyGroup("r", Policy())
    group.want("a", state("v1", 1), 0)
    first = group.take(0)
    for number in range(2, 11):
        group.want("a", state(f"v{number}", number), number)
    assert called(first) == [("a", "v1")]
    assert group.take(11) is None
    end(group, first, 12)
    second = group.take(12)
    assert called(second) == [("a", "v10")]
    end(group, second, 13)
    assert group.take(14) is None
    assert held_conditions(group, "a") == {"Ready": "Succeeded"}


def test_r2_same_and_older_states_are_not_called() -> None:
    group = KeyGroup("r", Policy())
    group.want("a", state(True, 5), 0)
    end(group, group.take(0), 1)
    assert not group.want("a", state(True, 6), 2)
    assert not group.want("a", state(False, 4), 2)
    assert group.take(3) is None
    assert group.want("a", state(1, 7), 4)  # 1 is not True


def test_r3_pauses_double_between_failures() -> None:
    group = KeyGroup("r", Policy(first_pause=1 * SECOND, longest_pause=3 * SECOND))
    group.want("a", state(1), 0)
    now, begun = 0, []
    for _ in range(3):
        batch = group.take(now)
        begun.append(now)
        end(group, batch, now, lambda call: answer(call, "failed", error="no"))
        assert group.take(now) is None
        due = group.next_time()
        assert due is not None
        now = due
    assert begun == [0, 1 * SECOND, 3 * SECOND]
    batch = group.take(now)
    assert now == 6 * SECOND  # 4 s, but for the longest pause
    assert batch is not None
    assert batch.calls[0].attempt == 4
    end(group, batch, now)
    held = group.state("a")
    assert held is not None
    assert (held.failures, held.error, group.next_time()) == (0, "", None)


def test_r4_a_newer_state_ends_the_back_off() -> None:
    group = KeyGroup("r", Policy(first_pause=100 * SECOND))
    group.want("a", state(1), 0)
    end(group, group.take(0), 0, lambda call: answer(call, "failed"))
    assert group.take(1) is None
    group.want("a", state(2), 2)
    assert called(group.take(2)) == [("a", 2)]


def test_r4_older_failures_are_no_reason_to_wait() -> None:
    group = KeyGroup("r", Policy(first_pause=100 * SECOND))
    group.want("a", state(1), 0)
    batch = group.take(0)
    group.want("a", state(2), 1)
    end(group, batch, 2, lambda call: answer(call, "failed"))
    assert called(group.take(2)) == [("a", 2)]


def test_r5_one_call_a_key_and_two_keys_together() -> None:
    group = KeyGroup("r", Policy(isolated=True))
    group.want("a", state(1), 0)
    group.want("b", state(1), 0)
    assert (called(group.take(0)), called(group.take(0))) == ([("a", 1)], [("b", 1)])
    group.want("a", state(2), 1)
    group.matter("b", 1)
    assert group.take(1) is None


def test_r8_tokens_only_grow_also_of_forgotten_keys() -> None:
    group = KeyGroup("r", Policy())
    tokens = []
    for now in (1_000, 1_000, 500):  # a clock that goes back
        group.want("a", state(1), now)
        batch = group.take(now)
        assert batch is not None
        tokens.append(batch.calls[0].token)
        end(group, batch, now)
        group.leave("a", now)
        assert "a" not in group
        group = KeyGroup.restore("r", Policy(), group.snapshot(), now)
    assert tokens == sorted(set(tokens))


def test_r9_a_permanent_error_waits_for_another_state() -> None:
    group = KeyGroup("r", Policy(resync=10 * SECOND))
    group.want("a", state(1), 0)
    end(group, group.take(0), 0, lambda call: answer(call, "stalled", error="no such card"))
    assert group.next_time() is None
    group.matter("a", 1)
    assert group.take(1_000 * SECOND) is None
    assert held_conditions(group, "a") == {"Stalled": "PermanentError"}
    group.want("a", state(2), 5)
    assert called(group.take(5)) == [("a", 2)]


def test_r10_retry_after_is_honoured_and_no_failure() -> None:
    group = KeyGroup("r", Policy())
    group.want("a", state(1), 0)
    for now in (0, 10 * SECOND, 20 * SECOND):
        end(group, group.take(now), now, lambda call: answer(call, "retry_after", after=10 * SECOND))
        assert group.take(now + 10 * SECOND - 1) is None
    held = group.state("a")
    assert held is not None
    assert held.failures == 0
    assert held_conditions(group, "a") == {"Reconciling": "RetryAfter"}


def test_r11_again_and_resync_call_though_nothing_has_changed() -> None:
    group = KeyGroup("r", Policy(resync=600 * SECOND))
    keys = [f"k{n}" for n in range(1_000)]
    for key in keys:
        group.want(key, state(1), 0)
    while (batch := group.take(0)) is not None:
        end(group, batch, 0, lambda call: answer(call, "again", after=300 * SECOND))
    due = group.next_time()
    assert due is not None
    assert 300 * SECOND <= due < 302 * SECOND
    assert group.take(331 * SECOND) is not None
    group = KeyGroup("r", Policy(resync=600 * SECOND))
    for key in keys:
        group.want(key, state(1), 0)
    while (batch := group.take(0)) is not None:
        end(group, batch, 0)
    times = {}
    while (due := group.next_time()) is not None and len(times) < len(keys):
        batch = group.take(due)
        assert batch is not None
        times.update({call.key: due for call in batch.calls})
        end(group, batch, due)
    assert min(times.values()) >= 300 * SECOND
    assert max(times.values()) <= 903 * SECOND
    assert len(set(times.values())) > 190  # spread over the period


def test_r11_a_change_does_not_wait_for_again() -> None:
    group = KeyGroup("r", Policy())
    group.want("a", state(1), 0)
    end(group, group.take(0), 0, lambda call: answer(call, "again", after=300 * SECOND))
    group.want("a", state(2), 1)
    assert called(group.take(1)) == [("a", 2)]


def test_r13_a_lost_cache_costs_a_call() -> None:
    group = KeyGroup("r", Policy())
    group.want("a", state(1), 0)
    end(group, group.take(0), 0, lambda call: answer(call, cache=b'{"v":1}'))
    assert not group.observe("a", b'{"v":1}', 1)
    assert group.observe("a", b'{"v":0}', 1)
    batch = group.take(1)
    assert batch is not None
    assert batch.calls[0].cache == b'{"v":0}'
    group.observe("a", b'{"v":2}', 2)  # seen while a call is under way: counts after it
    end(group, batch, 3, lambda call: answer(call, cache=b'{"v":1}'))
    batch = group.take(3)
    assert batch is not None
    assert batch.calls[0].cache == b'{"v":2}'


def test_r15_never_more_than_max_running_and_changes_first() -> None:
    policy = Policy(resync=600 * SECOND, max_running=20)
    group = KeyGroup("r", policy)
    for number in range(10_000):
        group.want(f"k{number}", state(1), 0)
    flights, done, most = [], 0, 0
    while True:
        while (batch := group.take(0)) is not None:
            flights.append(batch)
        if not flights:
            break
        most = max(most, sum(one.parallel for one in flights))
        batch = flights.pop(0)
        done += len(batch.calls)
        end(group, batch, 0)
    assert (done, most) == (10_000, 20)
    now = 900 * SECOND  # every key is due for a resync, and a hundred have changed
    for number in range(9_900, 10_000):
        group.want(f"k{number}", state(2), now)
    batch = group.take(now)
    assert batch is not None
    late = {c.key for c in batch.calls if c.desired is not None and c.desired.value == 1}
    assert not late or all((held := group.state(key)) and held.wake is not None for key in late)


def test_a_resync_waits_for_changes_but_not_for_ever() -> None:
    policy = Policy(resync=600 * SECOND, isolated=True, max_running=1)
    group = KeyGroup("r", policy)
    group.want("quiet", state(1), 0)
    end(group, group.take(0), 0)
    wake = group.next_time()
    assert wake is not None
    now, value, quiet_at = wake, 0, None
    while quiet_at is None:  # another key changes all the time
        value += 1
        group.want("busy", state(value), now)
        batch = group.take(now)
        if called(batch)[0][0] == "quiet":
            quiet_at = now
        end(group, batch, now)
        now += SECOND
    assert quiet_at == wake + 600 * SECOND


def test_r16_a_key_that_fails_holds_up_only_itself() -> None:
    group = KeyGroup("r", Policy())
    for number in range(100):
        group.want(number, state(1), 0)
    batch = group.take(0)
    assert batch is not None
    assert len(batch.calls) == 100
    end(group, batch, 0, lambda call: answer(call, "failed" if call.key == 7 else "done"))
    late = [key for key, held in group.states() if held.observed < held.generation]
    assert late == [7]


def test_a_key_that_kills_its_process_is_called_alone() -> None:
    group = KeyGroup("r", Policy())
    for number in range(100):
        group.want(number, state(1), 0)
    batch = group.take(0)
    assert batch is not None
    group.ended(batch.number, [], 0, "the process was lost")
    again = group.take(0)  # at once, all of them
    assert again is not None
    assert len(again.calls) == 100
    group.ended(again.number, [], 0, "the process was lost")
    assert group.take(0) is None
    alone = group.take(SECOND)
    assert alone is not None
    assert len(alone.calls) == 1


def test_a_finalizer_is_called_when_a_key_leaves() -> None:
    group = KeyGroup("r", Policy(finalizes=True))
    group.want("a", state(1), 0)
    end(group, group.take(0), 0)
    group.leave("a", 1)
    batch = group.take(1)
    assert batch is not None
    assert batch.calls[0].finalize
    end(group, batch, 1, lambda call: answer(call, "failed", error="bank is closed"))
    held = group.state("a")
    assert held is not None
    assert finalizer_waits(held) == "its finalizer fails and is tried again: bank is closed"
    end(group, group.take(2 * SECOND), 2 * SECOND)
    assert "a" not in group


def test_a_paused_key_is_not_called_but_can_leave() -> None:
    group = KeyGroup("r", Policy(finalizes=True))
    group.want("a", state(1), 0)
    group.pause("a", 0)
    assert group.take(0) is None
    assert held_conditions(group, "a") == {"Reconciling": "Pending", "Paused": "Paused"}
    group.leave("a", 1)
    batch = group.take(1)
    assert batch is not None
    assert batch.calls[0].finalize
    group.pause(None, 2)
    end(group, batch, 2)
    group.want("b", state(1), 3)
    assert group.take(3) is None
    group.leave("b", 4)
    assert group.take(4) is not None


def test_forced_leaving_skips_the_finalizer_and_is_noted() -> None:
    group = KeyGroup("r", Policy(finalizes=True))
    group.want("a", state(1), 0)
    group.want("b", state(1), 0)
    group.pause("b", 0)
    batch = group.take(0)
    assert group.leave("a", 1, force=True)  # a call is under way: whoever asks cancels it
    assert not group.leave("b", 1, force=True)
    assert "b" not in group
    assert "a" in group  # until the call has ended, so that no other begins meanwhile
    end(group, batch, 2, lambda call: answer(call, "cut_off"))
    assert ("a" in group, group.forced) == (False, ["a", "b"])


def test_a_key_is_wanted_again_while_its_finalizer_runs() -> None:
    group = KeyGroup("r", Policy(finalizes=True))
    group.want("a", state(1), 0)
    end(group, group.take(0), 0, lambda call: answer(call, cache=b"1"))
    group.leave("a", 1)
    batch = group.take(1)
    group.want("a", state(1), 2)
    end(group, batch, 3)
    batch = group.take(3)
    assert batch is not None
    assert (batch.calls[0].finalize, batch.calls[0].cache) == (False, None)


def test_calls_that_nobody_takes_are_no_failures() -> None:
    group = KeyGroup("r", Policy())
    group.want("a", state(1), 0)
    for now in range(5):
        batch = group.take(now)
        assert batch is not None
        assert batch.calls[0].attempt == 1
        group.not_begun(batch.number, now, "no process")
    held = group.state("a")
    assert held is not None
    assert (held.failures, held.lost, held.waits, held.error) == (0, 0, "NobodyCalls", "no process")


def test_retry_calls_keys_that_stall_or_back_off() -> None:
    group = KeyGroup("r", Policy())
    group.want("a", state(1), 0)
    end(group, group.take(0), 0, lambda call: answer(call, "stalled", error="x"))
    assert group.retry("a", 1)
    end(group, group.take(1), 1, lambda call: answer(call, "failed", error="x"))
    group.retry("a", 2)
    assert called(group.take(2)) == [("a", 1)]
    assert not group.retry("nobody", 2)


def test_what_is_no_snapshot_is_refused() -> None:
    group = KeyGroup("r", Policy())
    group.want("a", state(1), 0)
    with pytest.raises(StateError, match="no state of a reconciler"):
        KeyGroup.restore("r", Policy(), b"\x93", 0)
    group.take(0)
    with pytest.raises(ValueError, match="under way"):
        group.snapshot()
