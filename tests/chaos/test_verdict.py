"""The verdict on `timeline get`: lies are found, and what is no lie is not."""

from __future__ import annotations

from tests.chaos.verdict import Fact, Shown, verdict

METRIC = "m"


def shown(states: str, first: float = 0.0) -> list[Shown]:
    """One `get` a second; o: ok, d: down, e: no answer at all."""
    names = {"o": {METRIC: "ok"}, "d": {METRIC: "down"}, "e": {}}
    return [
        Shown(first + at, first + at + 0.5, names[state], error="none" if state == "e" else None)
        for at, state in enumerate(states)
    ]


def facts(old: range, upto: int) -> list[Fact]:
    """One look a second; a message waits from the beginning of ``old`` to its end."""
    return [
        Fact(at + 0.2, {METRIC: old.start + 0.0 if at in old else None}, {METRIC: at + 0.1})
        for at in range(upto)
    ]


def test_an_answer_old_for_a_moment_is_no_spell() -> None:
    """An answer that is old for a moment is no spell."""
    found = verdict(shown("o" * 20), facts(range(5, 8), 20))
    assert found.true
    assert found.spells == []
    assert found.noticed is found.again is None


def test_ok_over_old_answers_becomes_a_lie() -> None:
    """Ok for ten seconds of old answers is allowed and then it is a lie."""
    old = facts(range(5, 30), 40)
    assert verdict(shown("o" * 15 + "d" * 15 + "o" * 10), old).true
    late = verdict(shown("o" * 18 + "d" * 12 + "o" * 10), old)
    assert [lie.after for lie in late.lies] == [11.0, 12.0]
    never = verdict(shown("o" * 40), old)
    assert [lie.after for lie in never.lies] == [11.0 + n for n in range(13)]
    assert never.noticed is None


def test_both_delays_are_measured() -> None:
    found = verdict(shown("o" * 8 + "d" * 27 + "o" * 5), facts(range(5, 30), 40))
    assert found.noticed == 3.5
    assert found.again == 6.3
    assert found.true
    assert found.oldest == 24.2


def test_no_answer_at_all_is_not_ok() -> None:
    assert verdict(shown("o" * 6 + "e" * 24 + "o" * 10), facts(range(5, 30), 40)).true


def test_what_stays_ill_though_all_is_right_is_late() -> None:
    old = facts(range(5, 15), 40)
    assert verdict(shown("o" * 8 + "d" * 20 + "o" * 12), old).late == ["m: ok 14.3 s after all was right"]
    assert verdict(shown("o" * 8 + "d" * 32), old).late == ["m: not ok again"]
    assert verdict(shown("o" * 8 + "d" * 32), old, ends_ill=True).true


def test_only_what_a_worker_says_afterwards_proves_a_lie() -> None:
    """One that has not been heard since may have gone on meanwhile; one that lacks younger ones only did."""
    silent = [Fact(at + 0.2, {METRIC: 5.0}, {METRIC: 6.0}) for at in range(40)]
    assert verdict(shown("o" * 40), silent).lies == []
    young = [Fact(at + 0.2, {METRIC: at - 8.0}, {METRIC: at + 0.1}) for at in range(40)]
    found = verdict(shown("o" * 40), young)
    assert found.lies == []
    assert found.oldest == 8.2
