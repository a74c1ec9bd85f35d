"""Calls of declared functions, and the lease that they are made under, on a virtual clock."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from pydantic import BaseModel

from tests.feeder.virtual_time import run
from timeline_workers.errors import Code, ReconcilerError
from timeline_workers.reconcilers import Context, Level, PermanentError, RetryAfter, reconciler
from timeline_workers.reconcilers.calls import Batch, Call, Outcome, State
from timeline_workers.reconcilers.lease import Gone, Lease
from timeline_workers.reconcilers.making_calls import make_calls
from timeline_workers.reconcilers.reconciler_declaration import Reconciler, declared, per_second


class Card(BaseModel):
    frozen: bool | None = None


class Heard:
    """The other side of a lease: when it was told that this one lives; it stops hearing at ``until``."""

    def __init__(self, until: float = 1e9) -> None:
        self.until, self.at = until, list[float]()

    async def beat(self) -> None:
        now = asyncio.get_running_loop().time()
        if now >= self.until:
            await asyncio.sleep(1e6)  # cut off: nothing comes back
        self.at.append(now)


async def nobody(key: object, input: object) -> None:
    raise AssertionError("nobody was to be told")


def call(key: str = "a", value: object = True, **more: Any) -> Call:
    return Call(key, State(value, 1_000_000, None, True), None, 7, 1, **more)


def outcomes(
    declared: Reconciler, *calls: Call, heard: Heard | None = None, parallel: int = 100
) -> list[Outcome]:
    async def made() -> list[Outcome]:
        lease = Lease(8.0, (heard or Heard()).beat)
        return await make_calls(declared, Batch(1, list(calls), parallel), lease, nobody)

    return run(made())


def declare(function: Callable[..., Awaitable[Any]], **options: Any) -> Reconciler:
    return reconciler("tried", cache=Card, **options)(function)


def test_what_a_function_returns_and_raises() -> None:
    async def freeze(context: Context[Card], desired: Level[Any]) -> Any:
        match desired.value:
            case "fails":
                raise ValueError("no bank")
            case "later":
                context.observe(Card(frozen=True))
                raise RetryAfter("10s")
            case "never":
                raise PermanentError("no such card")
            case "again":
                return context.again("5m", Card(frozen=True))
            case "wrong":
                return 7
            case "nothing":
                return None
        return Card(frozen=desired.value)

    values = [True, "fails", "later", "never", "again", "wrong", "nothing"]
    found = outcomes(declare(freeze), *(call(f"k{n}", value) for n, value in enumerate(values)))
    assert [(one.ending, one.cache, one.after) for one in found] == [
        ("done", b'{"frozen":true}', 0),
        ("failed", None, 0),
        ("retry_after", b'{"frozen":true}', 10_000_000),
        ("stalled", None, 0),
        ("again", b'{"frozen":true}', 300_000_000),
        ("failed", None, 0),
        ("done", b'{"frozen":null}', 0),
    ]
    assert [one.error for one in found if one.ending == "failed"] == [
        "ValueError: no bank",
        "the function returned a int; it returns its cache, a Card",
    ]


def test_what_a_function_is_told() -> None:
    seen = []

    async def freeze(context: Context[Card], desired: Level[bool]) -> None:
        seen.append((context.key, context.cache, context.token, context.attempt, desired))

    lost = Call("a", State(True, 1_500_000, 3_000_000, True, 9), b"not a card", 7, 2)
    outcomes(declare(freeze), lost)
    assert seen == [("a", Card(), 7, 2, Level(True, 1.5, 3, True, 9))]


def test_a_finalizer_is_called_without_a_state() -> None:
    async def freeze(context: Context[Card], desired: Level[bool]) -> None:
        raise AssertionError("the key leaves")

    declared_one = declare(freeze)
    left = []

    @declared_one.finalizer
    def thaw(context: Context[Card]) -> None:  # not async: on a thread
        left.append(context.key)

    assert declared_one.definition.finalizes
    (found,) = asyncio.run(_on_a_real_clock(declared_one, call(finalize=True)))
    assert (found.ending, left) == ("done", ["a"])


async def _on_a_real_clock(declared_one: Reconciler, one: Call) -> list[Outcome]:
    return await make_calls(declared_one, Batch(1, [one], 1), Lease(8.0, Heard().beat), nobody)


def test_r7_a_call_is_cancelled_after_half_a_lease() -> None:
    """Cut off at 10 s, with a lease of 8: the server gives up at 16, the calls end at 12."""
    ended = []

    async def slow(context: Context[Card], desired: Level[bool]) -> None:
        try:
            await asyncio.sleep(100)
        finally:
            ended.append(asyncio.get_running_loop().time())

    heard = Heard(until=10)
    found = outcomes(declare(slow), call("a"), call("b"), heard=heard)
    assert {one.ending for one in found} == {"cut_off"}
    assert heard.at == [0, 2, 4, 6, 8]
    assert ended == [12, 12]
    assert max(ended) < heard.at[-1] + 8 - 3
    assert "nobody has taken a heartbeat for 4 s" in found[0].error


def test_r8_a_call_that_swallows_cancellation_is_waited_for() -> None:
    async def stubborn(context: Context[Card], desired: Level[bool]) -> Card:
        for _ in range(20):
            try:
                await asyncio.sleep(1)
            except asyncio.CancelledError:
                continue
        return Card(frozen=True)

    (found,) = outcomes(declare(stubborn), call(), heard=Heard(until=3))
    assert found.ending == "done"  # whoever asked has given it up: its token is too small by then


def test_no_call_begins_without_a_lease() -> None:
    began = []

    async def freeze(context: Context[Card], desired: Level[bool]) -> None:
        began.append(context.key)
        await asyncio.sleep(3.5)

    found = outcomes(declare(freeze), call("a"), call("b"), heard=Heard(until=0))
    assert (began, {one.ending for one in found}) == ([], {"cut_off"})
    found = outcomes(declare(freeze), *(call(key) for key in "abcdef"), heard=Heard(until=3), parallel=1)
    assert began == ["a", "b"]  # the second began at 3.5, and was cancelled at 6
    assert [one.ending for one in found] == ["done", *["cut_off"] * 5]


def test_a_lease_that_was_ended_is_lost_at_once() -> None:
    async def gone() -> None:
        raise Gone("somebody has asked for the call to end")

    async def kept() -> str:
        lease = Lease(8.0, gone)
        assert not await lease.begin()
        return lease.why

    assert run(kept()) == "somebody has asked for the call to end"


def test_a_server_that_fails_for_a_while_costs_nothing() -> None:
    failing = iter([False, True, True, True, False, False])

    async def beat() -> None:
        if next(failing, False):
            raise ConnectionError("refused")

    async def freeze(context: Context[Card], desired: Level[bool]) -> None:
        await asyncio.sleep(20)

    async def made() -> list[Outcome]:
        return await make_calls(declare(freeze), Batch(1, [call()], 1), Lease(8.0, beat), nobody)

    assert run(made())[0].ending == "done"


def test_declarations_that_break_a_rule_are_refused() -> None:
    with pytest.raises(ReconcilerError, match="each of 4 partitions needs a call of its own") as caught:
        reconciler("few", partitions=4, max_running=2)
    assert caught.value.code is Code.WRONG_RECONCILER
    with pytest.raises(ReconcilerError, match="the first pause is longer"):
        reconciler("back", backoff=("5m", "1s"))
    with pytest.raises(ReconcilerError, match=r"lease: .* not 1000"):
        reconciler("short", lease="1ms")
    with pytest.raises(ReconcilerError, match="no reconciler 'nobody-has' is declared here"):
        declared("nobody-has")
    with pytest.raises(ReconcilerError, match="write one as 10/s"):
        per_second("fast")
    assert [per_second(rate) for rate in ("10/s", "600/m", 2.5, None)] == [10, 10, 2.5, None]

    async def local(context: Context[Card], desired: Level[bool]) -> None: ...

    with pytest.raises(ReconcilerError, match="declare it at the top of a module"):
        reconciler("own", process=True)(local)
