"""Senders, each against a real receiver: what it has in the end, what becomes of what it does not take."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from timeline_workers.targets.secrets import Secrets
from timeline_workers.targets.sending import Answer, Parcel, send
from timeline_workers.targets.target import Target
from timeline_workers.targets.target_files import load_target

from .receivers import AT, SECOND, SECRET, Receiver, alerts_of, http_receiver, mail_server, parcel

# Apprise loads all its plugins, one of which needs a module that Python is about to lose.
loads_apprise = pytest.mark.filterwarnings("ignore:.*imghdr:DeprecationWarning")


def target(what: str, **fields: Any) -> Target:
    return load_target({"kind": "target", "name": "t", "what": what, **fields})


async def answers(to: Target, *parcels: Parcel, **secrets: str) -> list[Answer]:
    return await send(to, "sink-t.p0", parcels, Secrets(secrets))


def verdicts(found: list[Answer]) -> list[str]:
    return [one.verdict for one in found]


async def test_a_webhook_is_signed_and_taken_once() -> None:
    receiver = Receiver()
    async with http_receiver(receiver) as url:
        hook = target("webhook", url=f"{url}/hook", secret={"env": "S"}, token={"env": "T"})
        secrets = {"S": f"whsec_{'A' * 32} {SECRET}", "T": "tok"}  # the new one is not known there yet
        found = await answers(hook, parcel("a"), parcel("b"), **secrets)
        found += await answers(hook, parcel("a"), **secrets)
    assert verdicts(found) == ["taken"] * 3
    assert receiver.requests.count(f"stalled/a/{AT}/1") == 2
    assert set(receiver.taken) == {f"stalled/{key}/{AT}/1" for key in "ab"}
    assert receiver.taken[f"stalled/a/{AT}/1"]["data"]["text"] == "fire of a, number 1"
    assert {headers["authorization".title()] for headers in receiver.headers} == {"Bearer tok"}


async def test_what_a_webhook_answers() -> None:
    """One answer a message: some may be taken where others are not; a secret in an answer is hidden."""
    said = {"a": (200, {}), "b": (503, {"Retry-After": "7"}), "c": (429, {}), "d": (404, {}), "e": (302, {})}
    receiver = Receiver()
    receiver.answer = lambda name: said[name.split("/")[1]]
    async with http_receiver(receiver) as url:
        hook = target("webhook", url={"env": "U"}, secret={"env": "S"})
        found = await answers(hook, *map(parcel, said), U=f"{url}/services/T0B11XY", S=SECRET)
    assert verdicts(found) == ["taken", "later", "later", "never", "never"]
    assert [one.after for one in found] == [None, 7 * SECOND, None, None, None]
    assert found[1].why == "503 Service Unavailable: 503 of /***/***"


@loads_apprise
async def test_a_target_that_cannot_be_reached() -> None:
    """Nothing is raised, and no secret is said; whatever is missing may be there later."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        nowhere = f"http://127.0.0.1:{port}/services/hunter2?k=hunter3"
        for to, words in [
            (target("webhook", url={"env": "U"}), "Cannot connect to host 127.0.0.1"),
            (target("webhook", url={"env": "NONE"}), "no secret stands in the variable NONE"),
            (target("webhook", url={"env": "U"}, secret={"env": "U"}), "a webhook secret is whsec_"),
            (target("alertmanager", url={"env": "U"}), "Cannot connect to host 127.0.0.1"),
            (target("apprise", url={"env": "U"}), "no URL that Apprise knows"),
            (target("apprise", url={"env": "M"}), "Connection error"),
            (target("postgres", url={"env": "P"}), "Connect"),
            (target("temporal", workflow="W", task_queue="q", address=f"127.0.0.1:{port}"), "cannot be"),
            (
                target("kafka", servers=f"127.0.0.1:{port}", topic="t", config={"message.timeout.ms": 500}),
                "timed out",
            ),
            (target("file", path="/proc/none/alerts"), "No such file"),
        ]:
            secrets = {"U": nowhere, "M": f"mailto://u:hunter2@127.0.0.1:{port}?mode=insecure&from=a@b.de"}
            secrets["P"] = f"postgresql://u:hunter2@127.0.0.1:{port}/x"
            [answer] = await answers(to, parcel(), **secrets)
            assert answer.verdict == "later", to
            assert words in answer.why, to
            assert "hunter" not in answer.why, to


async def test_alertmanager_has_what_goes_on(alertmanager_url: str) -> None:
    """An alert stays without being posted again, and ends when it is over or late data takes it away."""
    manager = target("alertmanager", url=alertmanager_url, labels={"team": "video"})
    assert verdicts(await answers(manager, parcel("a"), parcel("b"), parcel("c"))) == ["taken"] * 3
    found = await alerts_of(alertmanager_url)
    assert set(found) == {f"stalled/{key}/{AT}" for key in "abc"}
    one = found[f"stalled/a/{AT}"]
    assert one["labels"] == {
        "alertname": "stalled",
        "key": "a",
        "episode": f"stalled/a/{AT}",
        "team": "video",
    }
    assert one["annotations"]["summary"] == "a is stalled"
    assert int(one["endsAt"][:4]) > int(one["updatedAt"][:4]) + 5
    over = [parcel("a", 2, "resolve"), parcel("b", 2, "withdraw"), parcel("c", 2, "moved")]
    assert verdicts(await answers(manager, *over)) == ["taken"] * 3
    assert set(await alerts_of(alertmanager_url)) == {f"stalled/c/{AT}"}
    assert verdicts(await answers(manager, parcel("a", 3, "reopen"))) == ["taken"]
    assert set(await alerts_of(alertmanager_url)) == {f"stalled/{key}/{AT}" for key in "ac"}


@loads_apprise
async def test_mail_through_apprise() -> None:
    """The text ends with the episode and its number; the reason of a refusal is known."""
    with mail_server() as (box, url):
        mail = target("apprise", url={"env": "MAIL"})
        assert (
            verdicts(await answers(mail, parcel("a"), parcel("b", 2, "resolve"), MAIL=url)) == ["taken"] * 2
        )
        box.refuses = "554 no mail today"
        [answer] = await answers(mail, parcel("c"), MAIL=url)
    assert [one["Subject"] for one in box.mails] == ["a is stalled", "b is stalled"]
    bodies = [part.get_payload(decode=True) for part in box.mails[0].walk() if not part.is_multipart()]
    assert f"stalled/a/{AT}/1".encode() in bodies[0]
    assert answer.verdict == "later"
    assert "554" in answer.why


async def test_a_table_has_the_last_message_of_each_episode(postgres_url: str) -> None:
    table = target("postgres", url={"env": "DB"}, table="alerts_told")
    first = [parcel("a", 1), parcel("b", 1), parcel(7, 1)]
    assert verdicts(await answers(table, *first, DB=postgres_url)) == ["taken"] * 3
    later = [parcel("a", 3, "resolve"), parcel("b", 2, "withdraw")]
    assert verdicts(await answers(table, *later, DB=postgres_url)) == ["taken"] * 2
    # One that comes late, and all once more.
    [late] = await answers(table, parcel("a", 2, "moved"), DB=postgres_url)
    assert late == Answer(verdict="taken", why="INSERT 0 0")
    await answers(table, *first, *later, DB=postgres_url)
    connection = await asyncpg.connect(postgres_url)
    rows = await connection.fetch(
        "select key, seq, kind, firing, ends is null, body from alerts_told order by key"
    )
    await connection.close()
    assert [tuple(row) for row in rows] == [
        ("7", 1, "fire", True, True, "fire of 7, number 1"),
        ("a", 3, "resolve", False, False, "resolve of a, number 3"),
        ("b", 2, "withdraw", False, False, "withdraw of b, number 2"),
    ]
    null = Parcel(1, parcel("n\x00").told)
    [answer] = await answers(table, null, DB=postgres_url)
    assert answer.verdict == "never"


async def test_lines_of_a_file(tmp_path: Path) -> None:
    """What was torn by a kill is a line of its own."""
    path = tmp_path / "alerts.jsonl"
    lines = target("file", path=str(path))
    await answers(lines, parcel("a"), parcel("b"))
    with path.open("ab") as file:
        file.write(b'{"torn')
    await answers(lines, parcel("c"))
    read = path.read_text().splitlines()
    assert [json.loads(one)["subject"] for one in (read[0], read[1], read[3])] == ["a", "b", "c"]
    assert read[2] == '{"torn'


async def test_lines_on_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    assert verdicts(await answers(target("stdout"), parcel("a"))) == ["taken"]
    assert json.loads(capsys.readouterr().out)["id"] == f"stalled/a/{AT}/1"
