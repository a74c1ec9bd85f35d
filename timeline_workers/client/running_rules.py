"""Alert rules that run: the episodes that their workers tell, and the last messages.

Times are ISO 8601 in UTC.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from typing import TypeVar

from pydantic import BaseModel, ConfigDict
from temporalio.client import Client

from timeline_workers.alerts.rule_view import RuleView, ShownEpisode, Told, read_view
from timeline_workers.errors import Code, RuleError, TimelineError, UnknownNameError
from timeline_workers.events.times import from_microseconds
from timeline_workers.language.suggestions import nearest
from timeline_workers.metric.alert_model import Alert, AlertMute
from timeline_workers.metric.model import Metric
from timeline_workers.plan.alert_workers import AlertSpec, alert_workers
from timeline_workers.plan.physical import plan
from workflows.client import ask
from workflows.client.ask_worker import ask_worker, gather
from workflows.client.conditions import metric_health

T = TypeVar("T")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class _Shown(BaseModel):
    model_config = ConfigDict(frozen=True)


class AlertEpisode(_Shown):
    """An episode as a rule's worker has told it. ``end``: None while it goes on; ``seconds``: how long it has
    lasted, up to now where it goes on; ``messages``: how many so far; ``heard``: somebody was told of it;
    ``paged``: when somebody was woken last.
    """

    rule: str
    key: str | int
    episode: str
    start: str
    end: str | None
    seconds: float
    messages: int
    heard: bool
    paged: str | None


class AlertMessage(_Shown):
    """A message of a rule, recorded ``at``; see ``alerts.episodes.Message``."""

    at: str
    rule: str
    kind: str
    key: str | int
    episode: str
    seq: int
    start: str
    end: str | None
    page: bool
    muted: bool
    into: str | None


class RuleWorker(_Shown):
    """A worker of a rule: how far it is. ``silent``: why it tells nothing now, "" where that is not so."""

    worker: str
    as_of: str | None
    watermark: str | None
    clock: str | None
    next_change: str | None
    silent: str


class RuleDescription(_Shown):
    """A rule that runs. ``expression``: what is true, with ``for`` and ``keep``; ``state``, ``causes``: how
    it and what it rests on is, as `timeline get` says; ``mutes``: the keys that are muted, and until when.
    """

    rule: str
    expression: str
    to: tuple[str, ...]
    when: str
    as_of: str
    state: str
    causes: tuple[str, ...]
    mutes: tuple[tuple[str, str], ...]
    workers: tuple[RuleWorker, ...]
    episodes: tuple[AlertEpisode, ...]
    messages: tuple[AlertMessage, ...]


class AlertsSeen(_Shown):
    """Episodes, and of which rules' workers nothing is known (``unanswered``: worker and why)."""

    episodes: tuple[AlertEpisode, ...]
    unanswered: tuple[tuple[str, str], ...] = ()


async def firing(client: Client, rules: Sequence[str] = ()) -> AlertsSeen:
    """The episodes that go on, of ``rules`` (default: all), the earliest first; a worker that does not answer
    is named. Raises UnknownNameError for a rule that there is not.
    """
    found: list[AlertEpisode] = []
    unanswered: list[tuple[str, str]] = []
    now = datetime.now(UTC)

    async def look(spec: AlertSpec) -> None:
        try:
            view = await view_of(client, spec)
        except TimelineError as error:
            unanswered.append((spec.worker_id, str(error)))
            return
        found.extend(_episode(spec.rule, one, now) for one in view.episodes if one.end is None)

    specs = [spec for metric in await _rules(client, rules) for spec in alert_workers(plan(metric))]
    await gather([_bound(look, spec) for spec in specs])
    found.sort(key=lambda one: (one.start, one.rule, str(one.key)))
    return AlertsSeen(episodes=tuple(found), unanswered=tuple(sorted(unanswered)))


async def describe_rule(client: Client, rule: str, key: str | None = None) -> RuleDescription:
    """A rule with its episodes and last messages, those of ``key`` where it is given. Raises UnknownNameError
    for a rule that there is not, and what asking its workers raises.
    """
    (metric,) = await _rules(client, [rule])
    (health,) = await metric_health(client, [rule])
    specs = alert_workers(plan(metric))
    views = [await view_of(client, spec) for spec in specs]
    now = datetime.now(UTC)
    alert = _alert(metric)
    episodes = [_episode(rule, one, now) for view in views for one in view.episodes]
    return RuleDescription(
        rule=rule,
        expression=metric.expression,
        to=alert.to,
        when=alert.when,
        as_of=alert.as_of,
        state=health.state,
        causes=tuple(health.causes),
        mutes=tuple((one.key, _time(one.until)) for one in alert.mute if _EPOCH + _us(one.until) > now),
        workers=tuple(
            RuleWorker(
                worker=spec.worker_id,
                as_of=_known(view.as_of),
                watermark=_known(view.watermark),
                clock=_known(view.clock),
                next_change=_known(view.next_change),
                silent=view.silent,
            )
            for spec, view in zip(specs, views, strict=True)
        ),
        episodes=tuple(one for one in episodes if key is None or str(one.key) == key),
        messages=tuple(_messages(rule, views, key)),
    )


async def messages_of(
    client: Client, rules: Sequence[str] = (), key: str | None = None
) -> list[AlertMessage]:
    """The last messages of ``rules`` (default: all), oldest first; ``key``: a glob that keys match."""
    found: list[AlertMessage] = []
    for metric in await _rules(client, rules):
        views = [await view_of(client, spec) for spec in alert_workers(plan(metric))]
        found += _messages(metric.name, views, key)
    return sorted(found, key=lambda one: one.at)


async def muted(client: Client, rule: str, key: str, until: datetime) -> Metric:
    """The rule ``rule`` with one more mute, to be applied; mutes that are over are left out. Raises RuleError
    for an ``until`` without a zone, or that is over.
    """
    now = datetime.now(UTC)
    if until.tzinfo is None:
        raise RuleError(
            f"until: {until.isoformat()} does not say of which zone; write {until.isoformat()}Z for UTC"
        )
    if until <= now:
        raise RuleError(f"until: {until.isoformat()} is over; name an instant to come")
    (metric,) = await _rules(client, [rule])
    alert = _alert(metric)
    instant = (until - _EPOCH) // timedelta(microseconds=1)
    kept = [one for one in alert.mute if _EPOCH + _us(one.until) > now and one.key != key]
    mutes = (*kept, AlertMute(key=key, until=instant))
    return metric.model_copy(update={"alert": alert.model_copy(update={"mute": mutes})})


async def view_of(client: Client, spec: AlertSpec) -> RuleView:
    """What a worker of a rule shows. Raises TimelineError where it does not answer."""
    return read_view(await ask_worker(client, spec.worker_id, "episodes"))


async def _rules(client: Client, names: Sequence[str]) -> list[Metric]:
    """The rules ``names``, or all."""
    known = {
        entry.metric.name: entry.metric
        for entry in await ask.registered(client)
        if entry.metric.alert is not None
    }
    for name in names:
        if name not in known:
            near = nearest(name, known)
            listed = ", ".join(sorted(known)) or "none; apply one with `timeline apply RULE.yaml`"
            hint = f"did you mean {near!r}?" if near else f"applied: {listed}"
            raise UnknownNameError(f"there is no rule {name!r}; {hint}", code=Code.UNKNOWN_METRIC)
    return [known[name] for name in names or sorted(known)]


def _alert(metric: Metric) -> Alert:
    assert metric.alert is not None
    return metric.alert


def _bound(look: Callable[[AlertSpec], T], spec: AlertSpec) -> Callable[[], T]:
    return lambda: look(spec)


def _messages(rule: str, views: Iterable[RuleView], key: str | None) -> list[AlertMessage]:
    told = sorted((one for view in views for one in view.recent), key=lambda one: one.at)
    return [_message(rule, one) for one in told if key is None or fnmatchcase(str(one.message.key), key)]


def _message(rule: str, told: Told) -> AlertMessage:
    one = told.message
    return AlertMessage(
        at=_time(told.at),
        rule=rule,
        kind=one.kind,
        key=one.key,
        episode=one.episode,
        seq=one.seq,
        start=_time(one.start),
        end=_known(one.end),
        page=one.page,
        muted=one.muted,
        into=one.into,
    )


def _episode(rule: str, one: ShownEpisode, now: datetime) -> AlertEpisode:
    end = now if one.end is None else _EPOCH + _us(one.end)
    return AlertEpisode(
        rule=rule,
        key=one.key,
        episode=one.id,
        start=_time(one.start),
        end=_known(one.end),
        seconds=round((end - _EPOCH - _us(one.start)).total_seconds(), 1),
        messages=one.seq,
        heard=one.heard,
        paged=_known(one.paged),
    )


def _us(microseconds: int) -> timedelta:
    return timedelta(microseconds=microseconds)


def _time(instant: int) -> str:
    return str(from_microseconds(instant, "iso"))


def _known(instant: int | None) -> str | None:
    return None if instant is None else _time(instant)
