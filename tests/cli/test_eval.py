"""``timeline eval`` and ``validate``: what is printed where, and the exit codes; run as a real process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

CIRR = """
duration_where(latest_event_to_state(playerStateChange) == "buffer"
    && has_existed(playerStateChange == "play")
    && !has_existed_within(userAction == "seek", 5s)
    && latest_event_to_state(cdnChange) == "CDN1")
"""
EXAMPLE = "".join(
    json.dumps({"id": "s1", "t": t, column: value}) + "\n"
    for t, column, value in (
        (0, "playerStateChange", "init"),
        (1, "cdnChange", "CDN1"),
        (2, "playerStateChange", "play"),
        (10, "playerStateChange", "buffer"),
        (14, "userAction", "seek"),
        (22, "playerStateChange", "play"),
        (25, "playerStateChange", "pause"),
        (30, "cdnChange", "CDN2"),
        (40, "playerStateChange", "buffer"),
        (45, "playerStateChange", "play"),
    )
)
FIELDS = ("--key", "id", "--time", "t")


def timeline(*arguments: str, stdin: str | bytes = "") -> subprocess.CompletedProcess[str]:
    data = stdin.encode() if isinstance(stdin, str) else stdin
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "timeline_workers", *arguments],
        input=data,
        capture_output=True,
        env={**os.environ, "COLUMNS": "200", "NO_COLOR": "1"},
        check=False,
    )
    return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())


def evaluate(*question: str, stdin: str | bytes = EXAMPLE, expression: str = CIRR) -> Any:
    return timeline("eval", expression, "--events", "-", *FIELDS, *question, stdin=stdin)


def lines(done: subprocess.CompletedProcess[str], code: int = 0) -> list[Any]:
    assert done.returncode == code, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_values_are_printed_one_a_line() -> None:
    """Values are printed one a line in the documented shape."""
    done = evaluate("--at", "20", "--at", "45", "-o", "json")
    assert done.stdout.splitlines() == [
        '{"key": "s1", "at": 20, "value": 5, "since": 19, "until": 22, "slope": 1, "final": false}',
        '{"key": "s1", "at": 45, "value": 7, "since": 22, "until": null, "slope": 0, "final": false}',
    ]
    assert done.stderr == ""
    assert done.returncode == 0


def test_negative_and_fractional_instants_work() -> None:
    assert [a["value"] for a in lines(evaluate("--at", "-5", "--at", "20.5"))] == [None, 5.5]
    assert lines(evaluate("--change", "-10", "-5"))[0]["change"] == 0


def test_spans_and_changes_are_printed_in_the_documented_shape() -> None:
    state = 'latest_event_to_state(playerStateChange) == "buffer"'
    assert evaluate("--spans", "0", "20", expression=state).stdout == (
        '{"key": "s1", "start": 0, "end": 20, "kind": "boolean", '
        '"spans": [{"start": 0, "end": 10, "value": false}, {"start": 10, "end": 20, "value": true}]}\n'
    )
    assert evaluate("--change", "12", "20").stdout == (
        '{"key": "s1", "start": 12, "end": 20, "kind": "numeric", "change": 3}\n'
    )
    seconds = lines(evaluate("--change", "0", "10", expression="latest_event_to_state(playerStateChange)"))
    assert seconds[0]["seconds_by_value"] == [
        {"value": "init", "seconds": 2},
        {"value": "play", "seconds": 8},
    ]


def test_a_change_per_interval_is_one_line_each() -> None:
    found = lines(evaluate("--change", "5", "45", "--every", "20s"))
    assert [(a["start"], a["end"], a["change"]) for a in found] == [(5, 20, 5), (20, 40, 2), (40, 45, 0)]


def test_keys_are_printed_in_order() -> None:
    """Keys are printed in order and only those asked for."""
    events = "".join(json.dumps({"id": k, "t": 0}) + "\n" for k in ("b", 10, "10", 9, "ä", "a"))
    done = evaluate("--at", "0", "--at", "1", stdin=events)
    assert [a["key"] for a in lines(done)] == [9, 9, 10, 10, "10", "10", "a", "a", "b", "b", "ä", "ä"]
    assert '"key": "ä"' in done.stdout
    only = lines(evaluate("--at", "0", "--only", "b", "--only", "10", stdin=events))
    assert [a["key"] for a in only] == ["b", 10, "10"]


def test_a_table_shows_the_same_numbers() -> None:
    done = evaluate("--spans", "0", "60", "-o", "table")
    assert [line.split() for line in done.stdout.splitlines() if "s1" in line] == [
        ["s1", "0", "10", "numeric", "0", "0"],
        ["s1", "10", "14", "numeric", "0", "1"],
        ["s1", "14", "19", "numeric", "4", "0"],
        ["s1", "19", "22", "numeric", "4", "1"],
        ["s1", "22", "60", "numeric", "7", "0"],
    ]


def test_the_expression_and_the_events_may_be_files(tmp_path: Path) -> None:
    """The expression and the events may be files and times iso."""
    (tmp_path / "expression").write_text("latest_event_to_state(v)\n", encoding="utf-8")
    events = tmp_path / "events.jsonl"
    events.write_bytes(b'\xef\xbb\xbf{"id":1,"t":"2024-05-01T12:00:00+02:00","v":true}\r\n\r\n')
    done = timeline(
        "eval",
        f"@{tmp_path / 'expression'}",
        "--events",
        str(events),
        *FIELDS,
        "--time-unit",
        "iso",
        "--at",
        "2024-05-02",
    )
    assert lines(done) == [
        {
            "key": 1,
            "at": "2024-05-02T00:00:00Z",
            "value": True,
            "since": "2024-05-01T10:00:00Z",
            "until": None,
            "final": False,
        }
    ]


def test_bad_events_are_named_and_exit_with_3() -> None:
    """Bad events are named with their line counted and make the exit code 3."""
    good = EXAMPLE.splitlines()
    bad = ["", '{"id": "s1"', '{"id": "s1", "t": "x"}', '{"id": "s1", "t": 3, "userAction": 5}', "[]"]
    done = evaluate("--at", "20", stdin="\n".join([*good[:3], *bad, *good[3:]]))
    assert lines(done, code=3)[0]["value"] == 5
    told = done.stderr.splitlines()
    assert [line.split(":")[:2] for line in told[:4]] == [
        ["standard input, line 5", " malformed-json"],
        ["standard input, line 6", " bad-time"],
        ["standard input, line 7", " wrong-type"],
        ["standard input, line 8", " malformed-json"],
    ]
    assert told[4] == "4 of 14 events were bad: 2 malformed-json, 1 bad-time, 1 wrong-type"


def test_a_huge_line_is_one_bad_event() -> None:
    """A line of many megabytes is one bad event and the next line is read."""
    huge = json.dumps({"id": "s1", "t": 1, "x": "x" * 3_500_000})
    done = evaluate("--at", "20", stdin=f"{huge}\n{EXAMPLE}{huge}")
    assert lines(done, code=3)[0]["value"] == 5
    assert [line.split(": ")[:2] for line in done.stderr.splitlines()[:2]] == [
        ["standard input, line 1", "too-large"],
        ["standard input, line 12", "too-large"],
    ]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["has_existed(x == ", "--at", "1"], "line 1, column 17"),
        (["duration_were(x)", "--at", "1"], "did you mean duration_where"),
        (["5", "--at", "1"], "cannot be a constant"),
        (["@nowhere", "--at", "1"], "cannot read the expression in nowhere"),
        ([CIRR], "ask one thing"),
        ([CIRR, "--at", "1", "--spans", "1", "2"], "ask one thing"),
        ([CIRR, "--at", "1", "--every", "1m"], "--every goes with --change"),
        ([CIRR, "--at", "noon"], "'noon' is not a number of s"),
        ([CIRR, "--at", "1e300"], "years 1 to 9999"),
        ([CIRR, "--spans", "2", "1"], "ends before it starts"),
        ([CIRR, "--change", "0", "9", "--every", "soon"], "'soon' is not a duration"),
        ([CIRR, "--at", "1", "--only", "s2"], "no key 's2'"),
        ([CIRR, "--at", "1", "-o", "xml"], "xml"),
        ([CIRR, "--at", "1", "--time-unit", "h"], "'h'"),
        ([CIRR, "--at", "1", "--events", "nowhere.jsonl"], "cannot read the events in nowhere.jsonl"),
    ],
)
def test_a_mistake_in_the_question_exits_with_2(arguments: list[str], words: str) -> None:
    """A mistake in the question is told on stderr with exit code 2."""
    done = timeline("eval", "--events", "-", *FIELDS, *arguments, stdin=EXAMPLE)
    assert done.returncode == 2
    assert done.stdout == ""
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_an_expression_with_a_minus_is_no_option() -> None:
    """An expression that starts with a minus or has lines and comments is no option."""
    expression = "# seconds\n-1 * duration_where(\n  has_existed(playerStateChange == 'play'))"
    assert lines(evaluate("--at", "5", expression=expression))[0]["value"] == -3
    done = timeline(
        "eval", "--events", "-", *FIELDS, "--at", "5", "--", "-1 * event_count(t == 2)", stdin=EXAMPLE
    )
    assert lines(done)[0]["value"] == -1


def test_an_aggregate_is_printed_by_group_and_function() -> None:
    events = "".join(json.dumps({"id": i, "t": 0, "g": "ab"[i % 2]}) + "\n" for i in range(5))
    expression = "event_count(g == 'a') | aggregate(group_by(g), count, sum)"
    found = lines(evaluate("--at", "0", expression=expression, stdin=events))
    assert [(a["key"], a["aggregate"], a["value"]) for a in found] == [
        ("a", "count", 3),
        ("a", "sum", 3),
        ("b", "count", 2),
        ("b", "sum", 0),
    ]
    only = lines(evaluate("--at", "0", "--only", "b", expression=expression, stdin=events))
    assert [(a["key"], a["aggregate"]) for a in only] == [("b", "count"), ("b", "sum")]


def test_no_events_print_no_answer_and_a_note() -> None:
    done = evaluate("--at", "0", stdin="")
    said = "note: there are no events in standard input\n"
    assert (done.returncode, done.stdout, done.stderr) == (0, "", said)


def test_a_reader_that_has_seen_enough_is_no_failure(tmp_path: Path) -> None:
    events = tmp_path / "events.jsonl"
    events.write_text("".join(f'{{"id": {i}, "t": 0, "x": 1}}\n' for i in range(20_000)), encoding="utf-8")
    command = [sys.executable, "-m", "timeline_workers", "eval", "has_existed(x == 1)"]
    process = subprocess.Popen(
        [*command, "--events", str(events), *FIELDS, "--at", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    with process.stdout, process.stderr:
        assert json.loads(process.stdout.readline())["key"] == 0
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.wait() == 0


def test_version_and_exit_codes_are_in_the_help() -> None:
    """The version and the exit codes are in the help."""
    assert timeline("--version").stdout.startswith("timeline ")
    told = timeline("--help").stdout
    assert "Exit codes: 0 done, or stopped as asked (SIGTERM, Ctrl-C); 1 failed; 2 " in told
    assert "4 a server cannot be reached" in " ".join(told.split())
    assert timeline("evil").returncode == 2


def test_validate_knows_rules_of_alerts(tmp_path: Path) -> None:
    """An expression that is wrong is shown where it is; a rule's graph is that of its truth."""
    file = tmp_path / "rule.yaml"
    text = "kind: alert\nname: r\nsource: {topic: t, key: k, time: t}\nexpression: has_existed(x) && y\n"
    file.write_text(text)
    wrong = timeline("validate", str(file))
    assert wrong.returncode == 2
    assert f"{file}, line 4, column 31: column y has a value only at its events" in wrong.stderr
    file.write_text(text.replace(" && y", ""))
    assert timeline("validate", str(file)).stdout == f"{file}: rule r is valid\n"
    graph = timeline("graph", str(file))
    assert graph.returncode == 0
    assert "has_existed(x)" in graph.stdout


def test_validate_says_what_is_wrong(tmp_path: Path) -> None:
    """Validate says that a metric is valid or what is wrong."""
    file = tmp_path / "m.yaml"
    good = (
        "name: m\nsource: {topic: t, key: k, time: t, columns: {x: int}}\nexpression: has_existed(x == 1)\n"
    )
    file.write_text(good, encoding="utf-8")
    assert timeline("validate", str(file)).stdout == f"{file}: metric m is valid\n"
    for wrong, words in (
        (good.replace("== 1", "== 'a'"), f"{file}, line 3, column 25: this compares"),
        (good.replace("key", "kez"), "mean key?"),
    ):
        file.write_text(wrong, encoding="utf-8")
        done = timeline("validate", str(file))
        assert (done.returncode, done.stdout) == (2, "")
        assert words in done.stderr


NEWEST_FIRST = "".join(
    json.dumps({"id": "m", "t": t, "s": s}) + "\n" for t, s in ((120, "off"), (60, "on"), (60, "starting"))
)


def test_a_backward_file_is_named_and_turned_round() -> None:
    """A file that runs backwards is said and newest first turns it round."""
    state = "latest_event_to_state(s)"
    done = evaluate("--at", "60", stdin=NEWEST_FIRST, expression=state)
    assert lines(done)[0]["value"] == "starting"
    assert done.stderr.startswith(
        "warning: the events run backwards, and 1 of 1 keys have several at one instant"
    )
    assert "say --newest-first" in done.stderr
    done = evaluate("--at", "60", "--newest-first", stdin=NEWEST_FIRST, expression=state)
    assert lines(done)[0]["value"] == "on"
    assert done.stderr == ""


def test_a_metric_file_says_what_to_compute(tmp_path: Path) -> None:
    """Its columns are checked as its source declares them; values that count as missing are counted."""
    file = tmp_path / "metric.yaml"
    file.write_text(
        "name: m\nexpression: event_count(size > 1)\nsource:\n"
        "  {topic: t, key: id, time: at, time_unit: ms,"
        "   columns: {size: {type: int, on_bad_value: missing}, ok: bool}}\n"
    )
    events = tmp_path / "events.jsonl"
    events.write_text(
        '{"id": "a", "at": 1, "size": 2}\n{"id": "a", "at": 2, "size": "n/a"}\n'
        '{"id": "a", "at": 3, "size": 9, "ok": 1}\n'
    )
    done = timeline("eval", "-f", str(file), "--events", str(events), "--at", "5")
    assert json.loads(done.stdout)["value"] == 1
    assert json.loads(done.stdout)["since"] == 1
    assert "values that did not fit and counted as missing: 1 size wrong-type" in done.stderr
    assert "line 3: wrong-type" in done.stderr
    assert done.returncode == 3


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["x", "-f", "m.yaml"], "EXPR: the file of --metric says it already"),
        (["-f", "m.yaml", "--time-unit", "s", "--key", "k"], "--key, --time-unit: the file"),
        (["x", "--key", "k"], "--time is missing"),
        (["--key", "k", "--time", "t"], "EXPR is missing"),
    ],
)
def test_either_a_metric_file_or_an_expression(arguments: list[str], said: str) -> None:
    """Either a metric file or an expression with key and time."""
    done = timeline("eval", *arguments, "--events", "-", "--at", "5")
    assert said in done.stderr
    assert done.returncode == 2


def test_a_column_without_events_is_named_by_path(tmp_path: Path) -> None:
    """The path is what is looked for in the events, so that is what may be misspelt."""
    file = tmp_path / "metric.yaml"
    file.write_text(
        "name: m\nexpression: has_existed(busy == 1 && plain == 1)\nsource:\n"
        "  {topic: t, key: id, time: at, columns: {busy: {type: int, path: a.b}, plain: int}}\n"
    )
    done = timeline("eval", "-f", str(file), "--events", "-", "--at", "5", stdin='{"id": "a", "at": 1}')
    busy, plain = done.stderr.splitlines()
    assert busy.startswith("note: no event has a value at 'a.b', the path of column busy, which")
    assert plain.startswith("note: no event has a value at 'plain', which the expression uses")
    assert done.returncode == 0
