"""``timeline reconcilers``: functions that make the world agree with a state, and how they are."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from timeline_workers.client import TimelineClient
from timeline_workers.client.reconciler_client import Reconcilers, ReconcilerSaid
from timeline_workers.errors import QuestionError
from timeline_workers.language.durations import format_duration
from timeline_workers.process.counted import counted
from timeline_workers.reconcilers.reconciler_status import KeySaid

from .cluster import AddressOption, NamespaceOption, with_client
from .output import Output, OutputOption, complain, emit

NameArgument = Annotated[str, typer.Argument(metavar="RECONCILER", help="The name of a reconciler.")]
KeyArgument = Annotated[str, typer.Argument(metavar="KEY", help="A key.")]
SomeKey = Annotated[str | None, typer.Argument(metavar="[KEY]", help="A key.", show_default="all")]


def register(app: typer.Typer) -> None:
    """Add the commands to ``app``."""
    commands = typer.Typer(
        no_args_is_help=True, help="Functions that make the world agree with a state, and how they are."
    )
    for command in (get, describe, pause, resume, retry, delete):
        commands.command(command.__name__)(command)
    app.add_typer(commands, name="reconcilers")


def get(
    name: Annotated[
        str | None, typer.Argument(metavar="[RECONCILER]", help="List its keys.", show_default="all")
    ] = None,
    ill: Annotated[bool, typer.Option("--ill", help="Only keys that are not ready.")] = False,
    output: OutputOption = Output.table,
    address: AddressOption = None,
    namespace: NamespaceOption = None,
) -> None:
    """List the reconcilers, or the keys of one."""

    async def all_of_them(client: TimelineClient) -> list[ReconcilerSaid]:
        return await Reconcilers(client).overview()

    async def keys(client: TimelineClient) -> list[KeySaid]:
        return await Reconcilers(client).keys(str(name), only="ill" if ill else "")

    if name is not None:
        found: list[KeySaid] = with_client(address, namespace, keys)
        emit(found if output is Output.json else [_key_row(one) for one in found], output)
        return
    if ill:
        raise QuestionError("--ill lists keys: say of which reconciler")
    said: list[ReconcilerSaid] = with_client(address, namespace, all_of_them)
    if not said and output is Output.table:
        complain("no reconciler is registered; `timeline worker --import MODULE` registers those of a module")
        return
    emit([_row(one) for one in said], output)


def _row(said: ReconcilerSaid) -> dict[str, Any]:
    return {
        "name": said.definition.name,
        "state": said.state,
        "follows": said.definition.follow or "a bucket",
        "keys": said.total("keys"),
        "ready": said.total("ready"),
        "running": said.total("running"),
        "stalled": said.total("stalled"),
        "processes": said.processes,
    }


def _key_row(said: KeySaid) -> dict[str, Any]:
    return {
        "key": said.key,
        "state": said.state,
        "desired": "" if said.desired is None else _short(said.desired.value),
        "attempt": said.attempt,
        "next_try": _when(said.next_try),
        "error": said.error[:60],
    }


def describe(
    name: NameArgument,
    key: Annotated[
        str | None, typer.Argument(metavar="[KEY]", help="A key.", show_default="the reconciler")
    ] = None,
    output: OutputOption = Output.table,
    address: AddressOption = None,
    namespace: NamespaceOption = None,
) -> None:
    """Say what is known of a key: desired, observed, cache, attempt, next try, last error, who calls it."""

    async def work(client: TimelineClient) -> Any:
        reconcilers = Reconcilers(client)
        if key is None:
            return (await reconcilers.overview(name))[0]
        return await reconcilers.describe(name, key)

    said: KeySaid | ReconcilerSaid = with_client(address, namespace, work)
    if output is Output.json:
        emit([said], output)
    elif isinstance(said, KeySaid):
        _lines(_of_key(said))
    else:
        _lines(_of_reconciler(said))


def _lines(fields: dict[str, str]) -> None:
    width = max(map(len, fields)) + 2
    for field, value in fields.items():
        if value:
            typer.echo(f"{field:{width}}{value}")


def _of_key(said: KeySaid) -> dict[str, str]:
    desired = "nothing"
    if said.desired is not None:
        since = "" if said.desired.since is None else f", since {said.desired.since}"
        final = ", final" if said.desired.final else ""
        desired = f"{_short(said.desired.value)}{since}{final}"
    conditions = [
        f"{one.type} ({one.reason})" for one in said.conditions if one.status == "True" or one.type == "Ready"
    ]
    return {
        "key": str(said.key),
        "state": said.state,
        "desired": desired,
        "generation": f"{said.generation}, observed {said.observed}",
        "cache": "" if said.cache is None else _short(said.cache),
        "token": str(said.token),
        "running since": _when(said.running_since),
        "called by": (said.lease_holder or "nobody yet") if said.batch else "",
        "attempt": f"{said.attempt}, {counted(said.failures, 'failure')}" if said.attempt else "",
        "next try": _when(said.next_try),
        "last error": said.error,
        "finalizer": said.waits,
        "conditions": ", ".join(conditions),
        "history": f"workflow {said.workflow}",
    }


def _of_reconciler(said: ReconcilerSaid) -> dict[str, str]:
    of = said.definition
    forced = [key for group in said.groups for key in group.forced]
    kept = {"rate": f"{of.rate:g}/s" if of.rate else "", "running": of.max_running}
    return {
        "name": of.name,
        "state": said.state,
        "follows": f"metric {of.follow}, {of.when}" if of.follow else "a bucket",
        "keys": f"{said.total('keys')}, {said.total('ready')} ready, {said.total('leaving')} leaving",
        "calls": f"{said.total('calls')} in these runs, {said.total('running')} under way",
        "processes": str(said.processes),
        "lease": format_duration(of.lease),
        "resync": "" if of.resync is None else format_duration(of.resync),
        "limits": ", ".join(f"{name} {value}" for name, value in kept.items() if value),
        "missing": ", ".join(said.missing),
        "last error": next((group.error for group in said.groups if group.error), ""),
        "forced": ", ".join(forced),
    }


def pause(
    name: NameArgument, key: SomeKey = None, address: AddressOption = None, namespace: NamespaceOption = None
) -> None:
    """Call a key, or all of them, no more; a call that is under way ends."""
    with_client(address, namespace, lambda client: Reconcilers(client).pause(name, key))


def resume(
    name: NameArgument, key: SomeKey = None, address: AddressOption = None, namespace: NamespaceOption = None
) -> None:
    """Call a key, or all of them, again."""
    with_client(address, namespace, lambda client: Reconcilers(client).pause(name, key, paused=False))


def retry(
    name: NameArgument, key: SomeKey = None, address: AddressOption = None, namespace: NamespaceOption = None
) -> None:
    """Call a key now, whatever it waits for, also one that is stalled; without a key all that have failed."""
    with_client(address, namespace, lambda client: Reconcilers(client).retry(name, key))


def delete(
    name: NameArgument,
    key: SomeKey = None,
    force: Annotated[bool, typer.Option("--force", help="Without finalizers. It is recorded.")] = False,
    address: AddressOption = None,
    namespace: NamespaceOption = None,
) -> None:
    """Have a key leave, or the whole reconciler: its finalizer is called until it succeeds.

    `describe` says what a finalizer waits for.
    """

    async def work(client: TimelineClient) -> list[str]:
        return await Reconcilers(client).delete(name, key, force=force)

    told: list[str] = with_client(address, namespace, work)
    if key is None:
        when = "" if force else ", once the finalizers of all keys have succeeded"
        typer.echo(f"reconciler {name} is deleted; {counted(len(told), 'worker')} will end{when}")


def _short(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _when(instant: int | None) -> str:
    if instant is None:
        return ""
    return (
        datetime.fromtimestamp(instant / 1_000_000, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    )
