"""``timeline outputs``: targets of alerts and topics of metrics, how they are, and what was given up."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import typer

from timeline_workers.client.output_rows import Answer, OutputRow, SinkStatus, TargetDescription, Told
from timeline_workers.process.counted import counted
from timeline_workers.targets.target_files import target_file

from .cluster import AddressOption, NamespaceOption, with_client
from .output import ExitCode, Output, OutputOption, complain, emit
from .text_table import drawn

TargetArgument = Annotated[str, typer.Argument(metavar="TARGET", help="The name of a target of alerts.")]
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_COLUMNS = ("output", "what", "state", "waiting", "sent", "given_up")
_NUMBERS = frozenset({"WAITING", "SENT", "GIVEN UP"})


def register(app: typer.Typer) -> None:
    """Add the commands to ``app``."""
    outputs = typer.Typer(
        no_args_is_help=True,
        help="Outputs: targets of alerts, and topics of metrics. `timeline apply` makes a target known.",
    )
    outputs.command("get")(get)
    for command in (describe, retry, pause, resume):
        outputs.command(command.__name__)(command)
    outputs.command("test")(send_test)
    app.add_typer(outputs, name="outputs")


def get(
    output: OutputOption = Output.table, address: AddressOption = None, namespace: NamespaceOption = None
) -> None:
    """List the outputs, how each is, and how many messages wait, were sent, and were given up."""
    rows: list[OutputRow] = with_client(address, namespace, lambda client: client.outputs())
    if output is Output.json:
        emit(rows, output)
    elif not rows:
        complain("there is no output; make a target known with `timeline apply TARGET.yaml`")
    else:
        typer.echo(_table(rows), nl=False)
    if any(row.cause is not None for row in rows):
        raise typer.Exit(ExitCode.DOUBTFUL)


def _table(rows: Sequence[OutputRow]) -> str:
    shown = [{name.upper().replace("_", " "): _cell(getattr(row, name)) for name in _COLUMNS} for row in rows]
    causes = [f"{row.output}: {row.cause}" for row in rows if row.cause is not None]
    return "\n".join([drawn(shown, right=_NUMBERS).rstrip(), *([""] if causes else []), *causes]) + "\n"


def _cell(value: object) -> str:
    return "-" if value is None else str(value)


def describe(
    target: TargetArgument,
    output: Annotated[
        Output | None,
        typer.Option("-o", "--output", help="As JSON or a table.", show_default="its file, and its sinks"),
    ] = None,
    address: AddressOption = None,
    namespace: NamespaceOption = None,
) -> None:
    """Print the definition of a target, and what its sinks have to send, one for each partition."""
    found: TargetDescription = with_client(address, namespace, lambda client: client.describe_output(target))
    if output is not None:
        emit([found.model_dump(mode="json")], output)
        return
    typer.echo(target_file(found.target), nl=False)
    typer.echo(f"# rules: {', '.join(found.rules) or 'none names it'}")
    for sink in found.sinks:
        typer.echo("")
        typer.echo(drawn(_lines(sink), headers=False), nl=False)


def _lines(sink: SinkStatus) -> list[dict[str, str]]:
    about = {
        "sink": sink.worker_id,
        "waiting": f"{counted(sink.waiting, 'message')}{', paused' if sink.paused else ''}",
        "sent": f"{sink.sent}{'' if sink.last_sent is None else f', the last at {_time(sink.last_sent)}'}",
        "given up": f"{sink.given_up}{f', {sink.lost} of them lost' if sink.lost else ''}",
    }
    if sink.failures:
        next_try = "" if sink.paused_until is None else f", tried again at {_time(sink.paused_until)}"
        about["failures"] = f"{sink.failures} in a row{next_try}"
        about["last failure"] = sink.last_failure
    if sink.refused:
        about["refused"] = f"{sink.refused}: {sink.last_refusal}"
    for place, one in enumerate(sink.next[:5]):
        about["next" if not place else " " * place] = f"{one.kind} {one.episode}/{one.seq}"
    return [{"of": name, "is": said} for name, said in about.items()]


def _time(instant: int) -> str:
    return (_EPOCH + timedelta(microseconds=instant)).strftime("%Y-%m-%dT%H:%M:%SZ")


def retry(
    target: TargetArgument,
    given_up: Annotated[
        bool, typer.Option("--given-up", help="Send once more what was given up, too.")
    ] = False,
    again: Annotated[
        bool, typer.Option("--again", help="With --given-up: also what was sent once more before.")
    ] = False,
    address: AddressOption = None,
    namespace: NamespaceOption = None,
) -> None:
    """Try a target again now, instead of when its pause is over.

    With `--given-up` the messages that were given up are sent once more, of each episode the last; `timeline
    deadletter show timeline-target-TARGET` shows them.
    """
    if given_up:
        count: int = with_client(
            address, namespace, lambda client: client.send_given_up_again(target, again=again)
        )
        complain(f"{counted(count, 'message')} of target {target} will be sent once more")
        return
    _tell(target, "retry", address, namespace)
    complain(f"target {target} is tried again")


def pause(target: TargetArgument, address: AddressOption = None, namespace: NamespaceOption = None) -> None:
    """Send a target nothing more until `resume`; what comes waits."""
    _tell(target, "pause", address, namespace)
    complain(f"target {target} is paused: what comes waits")


def resume(target: TargetArgument, address: AddressOption = None, namespace: NamespaceOption = None) -> None:
    """Send a target what waits."""
    _tell(target, "resume", address, namespace)
    complain(f"target {target} goes on")


def _tell(target: str, what: Told, address: str | None, namespace: str | None) -> Any:
    return with_client(address, namespace, lambda client: client.tell_output(target, what))


def send_test(
    target: TargetArgument, address: AddressOption = None, namespace: NamespaceOption = None
) -> None:
    """Send a target one message that says that it is a test, and print what it answers."""
    answer: Answer = with_client(address, namespace, lambda client: client.test_target(target))
    said = f": {answer.why}" if answer.why else ""
    if answer.verdict == "taken":
        typer.echo(f"target {target} has taken a test message{said}")
        return
    word = "does not take a test message now" if answer.verdict == "later" else "refuses a test message"
    complain(f"target {target} {word}{said}")
    raise typer.Exit(ExitCode.FAILED)
