"""``reconciler``: declares a function that makes the world agree with a state.

Example::

    class Card(BaseModel):
        frozen: bool | None = None

    @reconciler("freeze-card", follow="card-outlier", when="final", cache=Card, resync="10m")
    async def freeze(ctx: Context[Card], desired: Level[bool]) -> Card:
        if ctx.cache.frozen != desired.value:
            await bank.set_frozen(ctx.key, desired.value, fence=ctx.token)
        return Card(frozen=desired.value)

The function is called until it returns, with the newest state only, and of a key once at a time. It returns
its cache: what it believes of the world. A cache that is lost, or that it cannot read any more, is that of a
new key: one call too many, and never a wrong end.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Generic, Literal as Choice, TypeAlias, TypeVar, cast

from pydantic import BaseModel, ValidationError

from timeline_workers.columns.key_table import Key
from timeline_workers.errors import ReconcilerError
from timeline_workers.language.durations import parse_duration
from timeline_workers.metric.model import TimeUnit

from .definition import Definition
from .levels import When

Value = TypeVar("Value")
Cache = TypeVar("Cache", bound=BaseModel)
Duration: TypeAlias = str | int | float | timedelta
Notify: TypeAlias = Callable[[Key, Any], Awaitable[None]]


class Nothing(BaseModel):
    """The cache of a reconciler that keeps none."""


class RetryAfter(Exception):
    """Raised by a function: try again after ``after``; it is no failure."""

    def __init__(self, after: Duration, message: str = "") -> None:
        self.after = microseconds(after)
        super().__init__(message or f"wants to be called again after {after}")


class PermanentError(Exception):
    """Raised by a function: trying again is of no use before the desired state is another."""


@dataclass(frozen=True, slots=True)
class Level(Generic[Value]):
    """A state: ``value`` holds from ``since`` until ``until``, in the unit of the source, as far as is known;
    None: from the beginning, or without an end. ``final``: no event changes that any more. ``stamp``: grows
    from state to state of a key.
    """

    value: Value
    since: int | float | str | None = None
    until: int | float | str | None = None
    final: bool = False
    stamp: int = 0


@dataclass(frozen=True, slots=True)
class Again:
    """What ``Context.again`` returns: it has succeeded; another call is wanted ``after``, microseconds."""

    after: int
    cache: BaseModel | None


class Context(Generic[Cache]):
    """What a call knows: its ``key``, the ``cache`` that the one before returned, and a ``token`` that is
    greater than that of every earlier call of the key: a resource that refuses smaller ones is safe from
    calls that were given up and go on. ``attempt``: which call this is for the same state, from 1.
    """

    def __init__(self, key: Key, cache: Cache, token: int, attempt: int, notify: Notify) -> None:
        self.key, self.cache, self.token, self.attempt = key, cache, token, attempt
        self.observed = False
        self._notify = notify

    def again(self, after: Duration, cache: Cache | None = None) -> Cache:
        """To be returned: the call has succeeded, and wants to be made again after so long."""
        return cast(Cache, Again(microseconds(after), self.cache if cache is None else cache))

    def observe(self, report: Cache) -> None:
        """The world looks like this: it is the cache from now on, also if the call fails afterwards."""
        self.cache, self.observed = report, True

    async def notify(self, key: Key, input: Any = None) -> None:
        """Have another key called: of a bucket with the state ``input``; None: with the one that it has."""
        await self._notify(key, input)


Function: TypeAlias = Callable[[Context[Any], Level[Any]], Any]
Finalizer: TypeAlias = Callable[[Context[Any]], Any]


class Reconciler:
    """A declared reconciler: its ``definition``, ``function``, ``cache`` and, of a bucket, the model that
    states are read as (``input``), and its ``finalize`` function."""

    def __init__(
        self,
        definition: Definition,
        function: Function,
        cache: type[BaseModel] = Nothing,
        input: type[BaseModel] | None = None,
    ) -> None:
        self._definition, self.function, self.cache, self.input = definition, function, cache, input
        self.finalize: Finalizer | None = None

    @property
    def name(self) -> str:
        """Its name."""
        return self._definition.name

    @property
    def definition(self) -> Definition:
        """What a cluster is to know of it."""
        return self._definition.model_copy(update={"finalizes": self.finalize is not None})

    def learn_unit(self, unit: TimeUnit) -> None:
        """The unit of the source of what it follows, which a declaration does not say."""
        self._definition = self._definition.model_copy(update={"unit": unit})

    def finalizer(self, function: Finalizer) -> Finalizer:
        """Declare what undoes it: called until it succeeds for a key that leaves, which is forgotten then."""
        self.finalize = function
        return function

    def believed(self, cache: bytes | None) -> BaseModel:
        """The cache that is written so; the default one where it cannot be read."""
        if cache is not None:
            try:
                return self.cache.model_validate_json(cache)
            except ValidationError:
                pass
        return self.cache()


_declared: dict[str, Reconciler] = {}


def declared(*names: str) -> list[Reconciler]:
    """The reconcilers that this process has declared, or those with these names.

    Raises ReconcilerError for one that it has not.
    """
    for name in names:
        if name not in _declared:
            known = ", ".join(sorted(_declared)) or "none: import the module that declares it"
            raise ReconcilerError(f"no reconciler {name!r} is declared here; there are: {known}")
    return [_declared[name] for name in names or sorted(_declared)]


def reconciler(
    name: str,
    *,
    follow: str | None = None,
    function: str = "",
    when: When = "provisional",
    cache: type[BaseModel] = Nothing,
    input: type[BaseModel] | None = None,
    resync: Duration | None = None,
    backoff: tuple[Duration, Duration] = ("1s", "5m"),
    lease: Duration = "30s",
    max_running: int | None = None,
    rate: str | float | None = None,
    isolated: bool = False,
    process: bool = False,
    partitions: int | Choice["per-key"] = 1,
) -> Callable[[Function], Reconciler]:
    """Declare the function as the reconciler ``name``; see ``Definition``, and docs/reconcilers.md.

    Durations as in ``"10m"``, or seconds; ``rate`` as in ``"10/s"``. Raises ReconcilerError.
    """
    definition = define(
        name=name,
        follow=follow,
        function=function,
        when=when,
        resync=None if resync is None else microseconds(resync),
        first_pause=microseconds(backoff[0]),
        longest_pause=microseconds(backoff[1]),
        lease=microseconds(lease),
        max_running=max_running,
        rate=per_second(rate),
        isolated=isolated,
        process=process,
        partitions=partitions,
    )

    def declare(function: Function) -> Reconciler:
        made = Reconciler(definition, function, cache, input)
        if process and _is_local(function):
            raise ReconcilerError(
                f"reconciler {name!r}: process: its function is declared inside another one, where a new "
                "process does not find it; declare it at the top of a module"
            )
        return keep(made)

    return declare


def keep(made: Reconciler) -> Reconciler:
    """Have ``declared`` find a reconciler; one of the same name is replaced."""
    _declared[made.name] = made
    return made


def define(**fields: Any) -> Definition:
    """A definition of checked ``fields``. Raises ReconcilerError that names what is wrong."""
    try:
        return Definition(**fields)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"]))
        said = first["msg"].removeprefix("Value error, ")
        said = f"{place}: {said}, not {first['input']!r:.60}" if place else said
        raise ReconcilerError(f"reconciler {fields.get('name')!r}: {said}") from None


def microseconds(duration: Duration) -> int:
    """A duration as microseconds. Raises MetricError for a text that is none."""
    if isinstance(duration, str):
        return parse_duration(duration)
    if isinstance(duration, timedelta):
        return duration // timedelta(microseconds=1)
    return round(duration * 1_000_000)


def per_second(rate: str | float | None) -> float | None:
    """A rate such as ``"10/s"``, ``"600/m"`` or 10 as calls a second. Raises ReconcilerError."""
    if not isinstance(rate, str):
        return rate
    number, slash, unit = rate.partition("/")
    try:
        return float(number) * 1_000_000 / parse_duration(f"1{unit}" if slash else "1s")
    except ValueError:
        raise ReconcilerError(f"rate: {rate!r} is no rate; write one as 10/s or 600/m") from None


def _is_local(function: Function) -> bool:
    return "<locals>" in getattr(inspect.unwrap(function), "__qualname__", "")
