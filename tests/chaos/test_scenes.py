"""Short scenes, as anybody can play the others by hand, and the page that is made from all of them."""

from __future__ import annotations

import importlib.util
import json
import tempfile
from pathlib import Path
from types import ModuleType

import pytest

from tests.chaos.scenes import scenes
from tests.chaos.staging import play

TOP = Path(__file__).parents[2]


@pytest.mark.integration
@pytest.mark.parametrize(
    ("name", "act"),
    [pytest.param("terminate", "leaf", marks=pytest.mark.long), ("forged", "garbage")],
)
async def test_answers_are_right_and_get_is_truthful(name: str, act: str, tmp_path: Path) -> None:
    """A leaf that three metrics share is terminated; garbage is signalled to everything. All answers are the
    oracle's, and `timeline get` says ok when they are up to date only.
    """
    scene = scenes()[name]
    report = await play(scene, 1, scene.on(tmp_path), acts=[act])
    assert report.ok, report.json()
    assert [played.name for played in report.acts] == [act]
    assert report.gets["asked"] > 5
    assert report.compared["values"] > 1_000


@pytest.mark.integration
@pytest.mark.long
@pytest.mark.parametrize(
    ("name", "acts"), [("history", ("store", "feeder")), ("history-sqlite", ("workers", "feeder"))]
)
async def test_kills_leave_the_history_whole(name: str, acts: tuple[str, ...]) -> None:
    """PostgreSQL, where the history is, all that writes to it, and to a SQLite file, are killed: every event
    and every verdict is stored once, and every timeline is the oracle's.
    """
    # PostgreSQL may run under another account, to which the folders of tests are closed.
    with tempfile.TemporaryDirectory(prefix="chaos-history-") as folder:
        Path(folder).chmod(0o755)
        scene = scenes()[name]
        report = await play(scene, 1, scene.on(Path(folder)), acts=acts)
    if report.trouble.startswith("ClusterUnavailableError"):
        pytest.skip(report.trouble)
    assert report.ok, report.json()
    assert [played.name for played in report.acts] == list(acts)
    assert report.history["events"] == report.stored > 1_500
    assert report.history["verdicts"] == 2 * report.stored  # metrics of two source definitions
    assert report.compared["stamps are stored once"] == report.history["appends"] > 50
    assert report.compared["timelines in the history, stored"] > 500
    assert report.compared["timelines in the history, computed"] > 500
    assert report.compared["history as known then"] > 0


def test_every_scene_has_acts_with_names_of_their_own() -> None:
    for name, scene in scenes().items():
        names = [act.name for act in scene.acts]
        assert names, name
        assert len(set(names)) == len(names)


@pytest.fixture(scope="module")
def page() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate_modes", TOP / "docs/generate_failure_modes.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_what_the_reports_make(page: ModuleType) -> None:
    """docs/failure-modes.md is what docs/generate_failure_modes.py makes; run it when this fails."""
    reports = json.loads((TOP / "docs/failure-modes.json").read_text(encoding="utf-8"))
    assert (TOP / "docs/failure-modes.md").read_text(encoding="utf-8") == page.page(reports)
