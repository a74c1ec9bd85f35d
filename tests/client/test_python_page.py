"""docs/python.md: its sessions with a client run, one after the other, against embedded servers."""

from __future__ import annotations

import doctest
import re
from pathlib import Path
from time import monotonic

import pytest

from producer.event import Event
from tests.integration.stack import DEADLINE, running_stack
from timeline_workers import SyncTimelineClient
from timeline_workers.answers.answer_models import ValueAt

TOP = Path(__file__).parents[2]
PAGE = TOP / "docs/python.md"


@pytest.mark.integration
def test_the_page_says_what_the_client_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The example of the README is applied and sent; everything that stands below prints what it says."""
    sessions = re.findall(
        r"^```pycon\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )
    applying, *rest = sessions
    monkeypatch.chdir(TOP)
    with running_stack(tmp_path / "data") as stack:
        monkeypatch.setenv("TEMPORAL_ADDRESS", stack.addresses.temporal)
        monkeypatch.setenv("TIMELINE_PULSAR_URL", stack.addresses.pulsar)
        stack.start_worker()
        stack.start_feeder()
        names: dict[str, object] = {}
        assert not run(applying, names)
        sent = stack.run("producer", "worked-example")
        assert sent.returncode == 0, sent.stderr
        client = names["client"]
        assert isinstance(client, SyncTimelineClient)
        stack.send("playback-events", [Event("s1", 0, b'{"session_id": "s1"}')])
        seen = client.watch("cirr", ["s1"], at=60, interval=0.2)
        assert next(one.value for one in seen if isinstance(one, ValueAt) and one.since == 22) == 7
        give_up = monotonic() + DEADLINE
        while not client.count_dead_letters() or not client.health("cirr")[0].is_well:
            assert monotonic() < give_up, (client.count_dead_letters(), client.health("cirr"))
        assert not run("\n".join(rest), names)


def run(session: str, names: dict[str, object]) -> list[str]:
    """What a session prints that it should not; ``names`` are those it begins with and leaves."""
    test = doctest.DocTestParser().get_doctest(session, names, PAGE.name, str(PAGE), 0)
    report: list[str] = []
    doctest.DocTestRunner(verbose=False).run(test, out=report.append, clear_globs=False)
    names.update(test.globs)
    return report
