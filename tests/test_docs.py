"""The documents say what the programs do: their examples run, and their lists are complete."""

from __future__ import annotations

import doctest
import importlib.util
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from timeline_workers.event_tables.declaration import tables_of
from timeline_workers.events import rules
from timeline_workers.language.lexicon import AGGREGATE_FUNCTIONS, FUNCTIONS
from timeline_workers.language.operator_table import OPERATORS
from timeline_workers.language.scalar_table import SCALARS
from timeline_workers.metric.load import METRIC_FIELDS, is_source_file, load_metric, load_source
from timeline_workers.metric.model import ColumnSpec, Source
from timeline_workers.plan.drawing import to_mermaid
from timeline_workers.plan.physical import partition_labels, plan, workers
from timeline_workers.process.exit_codes import MEANINGS
from timeline_workers.settings.credentials import CodecAccess, PulsarAccess
from timeline_workers.settings.history_settings import HistorySettings
from timeline_workers.settings.timeline_settings import Settings
from timeline_workers.settings.web_settings import WebSettings
from timeline_workers.streams.network_file import load_network

TOP = Path(__file__).parents[1]
DOCUMENTS = [
    TOP / name for name in ("README.md", "CONTRIBUTING.md", "benchmarks/README.md", "benchmarks/notes.md")
]
DOCUMENTS += sorted(TOP.glob("docs/**/*.md"))
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# Without a server only these can run; the others are shown with what they printed on the day.
RUNNABLE = re.compile(r"^(cat \S+ \| )?timeline (alerts backtest|eval|validate|graph|tables|test)\b")


def blocks(document: Path, language: str) -> Iterator[str]:
    """The fenced blocks of a document in one language."""
    yield from (
        body for found, body in FENCE.findall(document.read_text(encoding="utf-8")) if found == language
    )


def commands(block: str) -> Iterator[tuple[str, str]]:
    """Each command of a console block, quotes and lines that end in a backslash included, with its output."""
    command = output = ""
    complete = True
    for line in block.splitlines():
        if complete and line.startswith("$ "):
            if command:
                yield command, output
            command, output = line[2:], ""
        elif complete:
            output += f"{line}\n"
            continue
        else:
            command += f"\n{line}"
        complete = _is_complete(command)
    if command:
        yield command, output


def _is_complete(command: str) -> bool:
    if command.endswith("\\"):
        return False
    try:
        shlex.split(command)
    except ValueError:
        return False
    return True


def run(command: str) -> str:
    """What a command prints on both streams, run at the top of the repository by a shell."""
    script = f'timeline() {{ "$PYTHON" -m timeline_workers "$@"; }}\n{command}'
    environment = {
        **os.environ,
        "PYTHON": sys.executable,
        "PYTHONPATH": str(TOP),
        "NO_COLOR": "1",
        "COLUMNS": "120",
        "TEMPORAL_ADDRESS": "127.0.0.1:1",  # no catalog of whoever runs one here
    }
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=TOP,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return done.stdout


def plain(output: str) -> list[str]:
    """Lines without the spaces that a table pads them with, and without empty ones."""
    return [line.rstrip() for line in output.splitlines() if line.strip()]


EXAMPLES = [
    pytest.param(command, output, id=f"{document.name}-{number}")
    for document in DOCUMENTS
    for number, (command, output) in enumerate(
        example for block in blocks(document, "console") for example in commands(block)
    )
    if RUNNABLE.match(command)
]


@pytest.mark.parametrize(("command", "output"), EXAMPLES)
def test_a_command_prints_what_its_document_says(command: str, output: str) -> None:
    """Every `timeline eval`, `validate` and `graph` of a document prints what stands below it."""
    assert output
    assert plain(run(command)) == plain(output)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_python_examples_give_what_their_document_says(document: Path) -> None:
    """The sessions with `>>>` of a document, one after the other, print what stands below them."""
    text = "\n".join(block for block in blocks(document, "python") if ">>>" in block)
    test = doctest.DocTestParser().get_doctest(text, {}, document.name, str(document), 0)
    report: list[str] = []
    doctest.DocTestRunner(verbose=False).run(test, out=report.append)
    assert not report


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_metric_files_of_a_document_are_valid(document: Path) -> None:
    """Every YAML block of a document is a metric that can be planned, a source, tables, or a network."""
    for text in blocks(document, "yaml"):
        if text.startswith("tables:"):
            assert tables_of(yaml.safe_load(text), folder=TOP)
            continue
        if text.startswith("network:"):
            assert load_network(text).order
            continue
        assert load_source(text).name if is_source_file(text) else plan(load_metric(text)).nodes


def test_every_operator_has_an_example() -> None:
    """The reference of the language shows each function, in an example that runs."""
    shown = " ".join(
        command for block in blocks(TOP / "docs/language.md", "console") for command, _ in commands(block)
    )
    shown += " ".join(
        row.example.text for row in OPERATORS.values()
    )  # run by tests/language/test_operators.py
    for name in (*FUNCTIONS, *AGGREGATE_FUNCTIONS, "group_by"):
        assert re.search(rf"\b{name}\b", shown), name
    for sign in ("==", "!=", "<", "<=", ">", ">=", "&&", "||", "!", "+", "-", "*", "/"):
        assert sign in shown, sign


def test_the_pictures_are_of_the_example() -> None:
    """The graph in the README is what `timeline graph` draws of the example; the SVG names its workers."""
    planned = plan(load_metric(TOP / "examples/cirr/metric.yaml"))
    assert list(blocks(TOP / "README.md", "mermaid")) == [to_mermaid(planned)]
    drawn = (TOP / "docs/cirr.svg").read_text(encoding="utf-8").replace("&#45;", "-")
    for partition in partition_labels(planned):
        for worker in workers(planned, partition):
            assert worker.worker_id in drawn


def test_the_page_of_commands_is_up_to_date() -> None:
    """docs/cli.md is what docs/generate_cli.py makes; run it when this fails."""
    made: Any = _generator().page()
    assert (TOP / "docs/cli.md").read_text(encoding="utf-8") == made


def _generator() -> Any:
    spec = importlib.util.spec_from_file_location("generate_cli", TOP / "docs/generate_cli.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_exit_codes_are_those_of_the_programs() -> None:
    """docs/operations.md has each exit code with its meaning, and no other."""
    section = _operations().split("## Exit codes")[1].split("\n## ")[0]
    rows = re.findall(r"^\| (\d+) \| (.*) \|$", section, re.MULTILINE)
    assert {int(code): meaning for code, meaning in rows} == MEANINGS


@cache
def _operations() -> str:
    return (TOP / "docs/operations.md").read_text(encoding="utf-8")


def test_every_setting_is_documented_and_no_other() -> None:
    """The variables in docs/operations.md are those that the code reads."""
    read = {
        kind.variable(name)
        for kind in (PulsarAccess, CodecAccess, HistorySettings, WebSettings)
        for name in kind.model_fields
    }
    read |= {f"TIMELINE_{name.upper()}" for name in Settings.model_fields}
    for folder in ("timeline_workers", "workflows", "feeder", "producer"):
        for module in TOP.glob(f"{folder}/**/*.py"):
            read |= set(
                re.findall(r'environ(?:\.get\(|\[)"(TIMELINE_\w+)"', module.read_text(encoding="utf-8"))
            )
    assert set(re.findall(r"\bTIMELINE_\w+", _operations())) == read


def test_the_index_of_decisions_lists_every_record() -> None:
    """docs/decisions/README.md has each record in its order, with its title, status and date."""
    folder = TOP / "docs/decisions"
    rows = re.findall(
        r"^\| \[(\d{4})\]\((.+)\) \| (.+) \| (.+) \| (.+) \|$",
        (folder / "README.md").read_text(encoding="utf-8"),
        re.MULTILINE,
    )
    assert [int(number) for number, *_ in rows] == list(range(1, len(rows) + 1))
    assert [name for _, name, *_ in rows] == sorted(f.name for f in folder.glob("[0-9]*.md"))
    for number, name, title, status, date in rows:
        text = (folder / name).read_text(encoding="utf-8")
        assert text.startswith(f"# {int(number)}. {title}\n\nStatus: {status}. Date: {date}.\n"), name
        sections = re.findall(r"^## (.+)$", text, re.MULTILINE)
        assert sections == ["Context", "Decision", "Alternatives", "Consequences"], name


def test_every_reason_of_a_dead_letter_is_documented() -> None:
    """docs/operations.md lists the codes that the rules of events name, and `late`."""
    reasons = set(re.findall(r"``([a-z-]+)``", rules.__doc__ or ""))
    assert {"malformed-json", "bad-time"} <= reasons
    for reason in {*reasons, "late"}:
        assert f"`{reason}`" in _operations(), reason


def test_every_field_of_a_metric_file_is_documented() -> None:
    """docs/language.md names each field of a metric file and of its source."""
    text = (TOP / "docs/language.md").read_text(encoding="utf-8")
    for name in (*METRIC_FIELDS, *Source.model_fields, *ColumnSpec.model_fields):
        assert f"`{name}`" in text, name


def test_links_between_documents_lead_somewhere() -> None:
    """Every relative link of a document names a file of the repository, and a heading that is in it."""
    for document in DOCUMENTS:
        for target, heading in re.findall(
            r"\]\((?!https?:)([^)#]*)(?:#([^)]+))?\)", document.read_text(encoding="utf-8")
        ):
            file = document.parent / target if target else document
            assert file.exists(), f"{document.name}: {target}"
            if heading:
                assert heading in _anchors(file), f"{document.name}: {target}#{heading}"


def _anchors(document: Path) -> set[str]:
    """The names that headings of a document are linked by."""
    text = re.sub(r"^```.*?^```$", "", document.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_streams_lists_every_function_of_values() -> None:
    """docs/streams.md has each, in the words of its table."""
    text = (TOP / "docs/streams.md").read_text(encoding="utf-8")
    for row in SCALARS.values():
        call, what = re.split(r"(?<=`): |, likewise: ", row.doc, maxsplit=1)
        assert f"| {call} | {what} |" in text, row.name
