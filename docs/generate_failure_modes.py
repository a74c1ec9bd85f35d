"""Writes ``docs/failure-modes.md`` from reports of the chaos harness.

    python -m tests.chaos --scene all --seed 1 --report-dir REPORTS
    python docs/generate_failure_modes.py REPORTS

The first makes a report of each scene; the second keeps what the page needs of them in
``docs/failure-modes.json`` and writes the page. Without an argument the page is made from that file. Nothing on
the page but its first and last words is written by hand: what is not in a report is not there, and a test compares the
page with what this makes. Log lines and causes that were reworded since are given in their present words.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
PAGE = HERE / "failure-modes.md"
KEPT = HERE / "failure-modes.json"
SCENES = HERE.parent / "tests/chaos/scenes"
_CAUSE_LENGTH = 160
_LINES = 3

Report = dict[str, Any]

# What log lines and causes of earlier reports are called since: a reader looks for these.
REWORDED = {
    r"a worker had ended and has been started again": "worker had ended; restarted it",
    r"an event was refused; it and others like it are in the dead-letter topic": (
        "event refused and written to the dead-letter topic (logged once per reason)"
    ),
    r"asking worker (\S+) how far it is: trying again": r"querying the position of worker \1: retrying",
    r"delivery failed; starting again from what is acknowledged": (
        "delivery failed; resuming from the last acknowledged message"
    ),
    r"reading the catalog: trying again": "reading the catalog: retrying",
    r"the broker failed; subscribing again": "broker error; resubscribing",
    r"the catalog had ended and has been started again with the metrics that it had": (
        "catalog workflow had ended; restarted with the metrics that it had"
    ),
    r"the workers cannot be looked over for now": "cannot check the workers; retrying later",
    r"workers were missing and have been started": "missing workers started",
    r"its workflow task waits or runs since (\S+ s)": r"its workflow task has waited or run for \1",
    r"hears nothing of (\S+):": r"gets no updates from \1:",
    r"starts it again with what it had": "restarts it with its last metrics",
    r"the feeder or `timeline apply` starts it again": "the feeder or `timeline apply` restarts it",
    r"its worker processes have too much to do, or a worker between them do": (
        "its worker processes are overloaded, or a worker between them ma"
    ),
}


def kept(report: Report) -> Report:
    """What the page needs of a report."""
    acts = [
        {
            "name": act["name"],
            "fault": act["fault"],
            "operator": act["operator"],
            "lost": act["lost"],
            "seen": [[state, _general(cause)] for state, cause in act["seen"]],
            "said": [_general(line) for line in act["said"][:_LINES]],
            "right_after": act["right_after"],
            "noticed": act["verdict"]["noticed"],
            "again": act["verdict"]["again"],
            "oldest": act["verdict"]["oldest"],
            "lies": len(act["verdict"]["lies"]),
            "late": act["verdict"]["late"],
            "trouble": act["trouble"],
        }
        for act in report["acts"]
    ]
    fields = (
        "scene",
        "about",
        "stack",
        "seed",
        "ok",
        "stored",
        "lost",
        "differences",
        "gets",
        "trouble",
        "not_played",
    )
    return {
        **{field: report.get(field) for field in fields},
        "history": report.get("history", {}),
        "compared": sum(report["compared"].values()),
        "acts": acts,
    }


def _general(text: str) -> str:
    """Without the numbers and names of one run's processes, and cut."""
    text = re.sub(r"\d+@[\w.-]+", "PROCESS", " ".join(text.split()))
    text = re.sub(r"127\.0\.0\.1:\d+", "ADDRESS", text)
    text = re.sub(r"/tmp/[\w./-]+", "FILE", text)
    return text if len(text) <= _CAUSE_LENGTH else f"{text[: _CAUSE_LENGTH - 1]}…"


def page(reports: list[Report]) -> str:
    """The text of ``docs/failure-modes.md``."""
    return "\n".join(_page(reports))


def _page(reports: list[Report]) -> Iterator[str]:
    reports = json.loads(_reworded(json.dumps(reports, ensure_ascii=False)))
    acts = [act for report in reports for act in report["acts"]]
    yield f"""\
# What happens when something fails

Made by `python docs/generate_failure_modes.py` from runs of the chaos harness; do not edit. Each row is one fault, inflicted on a system that is fed all the time (`python -m tests.chaos
--scene SCENE:ACT`; [chaos.md](chaos.md) says how). While it lasts `timeline get` is asked once a second and compared with the truth: which messages the broker has confirmed, and which of them
the result workers have applied. In the end every answer is compared with a brute-force reading of the semantics. {len(reports)} scenes, {len(acts)} faults, {sum(r["compared"] for r in reports):,} comparisons, on two
cores that other work kept busy.

- **`get` shows**: every state but `ok` that it had while the fault lasted, with the first cause. Nothing: it was `ok` all the time, and no answer was old for longer than it may be.
- **not ok after**: seconds from the moment at which answers became old to a `get` that did not say ok; the promise is ten.
- **old**: the oldest that a stored message got before all result workers had applied it.
- **right after**: seconds from the end of the fault, or from what the operator did, until every stored message was applied; and then until `get` said ok.
"""
    there = {file.stem.replace("_", "-") for file in SCENES.glob("[a-z]*.py")}
    if left := sorted(there - {report["scene"] for report in reports}):
        yield f"Scenes that are on no row here, as they were not played to their end when this was made: {', '.join(left)}.\n"
    for report in reports:
        yield from _scene(report)


def _reworded(text: str) -> str:
    for earlier, now in REWORDED.items():
        text = re.sub(earlier, now, text)
    return text


def _scene(report: Report) -> Iterator[str]:
    yield f"## {report['scene']}: {report['about']}\n"
    stack = {
        "embedded": "Embedded servers",
        "pulsar": "Real Pulsar, Temporal's dev server",
        "cluster": "Temporal's services over PostgreSQL, real Pulsar",
    }[report["stack"]]
    said = "none" if not report["differences"] else f"**{report['differences']}**"
    lost = f" Messages stored and lost: {report['lost']:,}." if report["lost"] else ""
    yield (
        f"{stack}, seed {report['seed']}, {report['stored']:,} messages. Differences from the brute-force reading: {said}.{lost} "
        f"`get` took {report['gets'].get('median', 0):g} s in the median, {report['gets'].get('longest', 0):g} s at most.\n"
    )
    if history := report.get("history"):
        yield (
            f"The history store holds each of {history['events']:,} events and {history['verdicts']:,} verdicts once, and the revisions of "
            f"{history['appends']:,} stamps once each; every timeline stored or computed from it, now and as known then, was compared.\n"
        )
    if report["trouble"]:
        yield f"**Not played to its end:** {_cell(report['trouble'])}\n"
    if report.get("not_played"):
        yield f"Not played in this run: {', '.join(report['not_played'])}.\n"
    yield "| fault | `get` shows | log | not ok after | old | right after | lost | what to do |"
    yield "|---|---|---|---:|---:|---:|---|---|"
    for act in report["acts"]:
        yield "| " + " | ".join(map(_cell, _row(act))) + " |"
    yield ""


def _row(act: Report) -> list[str]:
    shows = (
        "; ".join(f"`{state}`" + (f" ({cause})" if cause else "") for state, cause in act["seen"])
        or "nothing"
    )
    if act["lies"]:
        shows += f"; **and ok {act['lies']} times when it should not**"
    for late in act["late"]:
        shows += f"; **{late}**"
    right = "**never**" if act["right_after"] is None else _seconds(act["right_after"])
    if act["again"] is not None:
        right += f" + {_seconds(act['again'])}"
    if act["trouble"]:
        right += f" **({act['trouble']})**"
    log = "; ".join(f"`{line.replace('`', '')}`" for line in act["said"])
    return [
        act["fault"], shows, log, _seconds(act["noticed"]), _seconds(act["oldest"]), right, act["lost"], act["operator"],
    ]  # fmt: skip


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value:g} s"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def main(directory: Path | None) -> None:
    """Take in the reports of ``directory``, if there is one, each in the place of an earlier one of its scene,
    and write the page.
    """
    if directory is not None:
        found = [json.loads(file.read_text()) for file in sorted(directory.glob("*.json"))]
        earlier = {report["scene"]: report for report in json.loads(KEPT.read_text(encoding="utf-8"))}
        later = {report["scene"]: kept(report) for report in found if "scene" in report}
        reports = [report for _, report in sorted({**earlier, **later}.items())]
        lines = ",\n".join(json.dumps(report, ensure_ascii=False) for report in reports)
        KEPT.write_text(f"[\n{lines}\n]\n", encoding="utf-8")
    PAGE.write_text(page(json.loads(KEPT.read_text(encoding="utf-8"))), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
