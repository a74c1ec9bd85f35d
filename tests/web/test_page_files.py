"""The page's files: they are what the sources make, and small enough to be there at once."""

from __future__ import annotations

import gzip
import hashlib
import re
import shutil
import subprocess
from pathlib import Path

import pytest

TOP = Path(__file__).parents[2]
SOURCES = TOP / "page"
BUILT = TOP / "timeline_workers/web/page"
FIRST_LOAD = 60_000  # bytes, gzipped
EDITOR = 130_000  # bytes, gzipped, of what only the editor loads
needs_npm = pytest.mark.skipif(shutil.which("npm") is None, reason="npm is not installed")


def sources() -> list[Path]:
    """What the page is built from."""
    single = ["index.html", "package-lock.json", "package.json", "svelte.config.js", "vite.config.ts"]
    found = [SOURCES / name for name in single]
    for folder in ("src", "player/src", "public"):
        found += [path for path in (SOURCES / folder).rglob("*") if path.is_file()]
    kept = [path for path in found if not path.name.endswith(".test.ts")]
    return sorted(kept, key=lambda path: path.relative_to(SOURCES).as_posix())


def test_the_files_are_built_from_the_sources() -> None:
    """Else: ``npm ci && npm run build`` in ``page/``."""
    digest = hashlib.sha256()
    for path in sources():
        digest.update(path.relative_to(SOURCES).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    assert (BUILT / "sources.sha256").read_text(encoding="utf-8").strip() == digest.hexdigest()


def loaded_with(*names: str) -> set[str]:
    """The files of these names, and all that they load before they run."""
    found: set[str] = set()
    left = list(names)
    while left:
        name = left.pop()
        if name not in found:
            found.add(name)
            text = (BUILT / name).read_text(encoding="utf-8")
            static = re.findall(r'(?:from|import)\s*"\./([^"]+)"', text) if name.endswith(".js") else []
            left += [f"assets/{one}" for one in static]
    return found


def view(name: str) -> set[str]:
    """The files of a view."""
    return loaded_with(*(f"assets/{path.name}" for path in (BUILT / "assets").glob(f"{name}-*")))


def zipped(names: set[str]) -> int:
    return sum(len(gzip.compress((BUILT / name).read_bytes(), 9)) for name in names)


def first() -> set[str]:
    """What every view needs."""
    html = (BUILT / "index.html").read_text(encoding="utf-8")
    return (
        {"index.html", "icon.svg"}
        | loaded_with(*re.findall(r'(?:src|href)="\./(assets/[^"]+)"', html))
        | view("App")
    )


@pytest.mark.parametrize("name", ["Metrics", "Metric", "KeyView", "Fleet", "Aggregates", "Edit", "Letters"])
def test_the_first_load_is_small(name: str) -> None:
    assert view(name)
    assert zipped(first() | view(name)) <= FIRST_LOAD


def test_the_editor_is_loaded_for_itself_and_small() -> None:
    own = view("editor") - first() - view("Edit")
    assert 0 < zipped(own) <= EDITOR


def test_nothing_is_inline_or_from_elsewhere() -> None:
    html = (BUILT / "index.html").read_text(encoding="utf-8")
    assert re.findall(r"<script(?![^>]*\ssrc=)|<style|\son\w+=|https?://", html) == []


def test_no_registry_is_named_in_the_lock_file() -> None:
    text = (SOURCES / "package-lock.json").read_text(encoding="utf-8")
    assert re.findall(r'"resolved": "[a-z]+:', text) == []


@pytest.mark.long
@needs_npm
def test_a_fresh_build_gives_the_committed_files(tmp_path: Path) -> None:
    """Byte by byte; and the page's own tests, types and generated types hold."""
    for name in ("page", "docs"):
        shutil.copytree(TOP / name, tmp_path / name, ignore=shutil.ignore_patterns("node_modules", "dist"))
    page = tmp_path / "page"

    def npm(*words: str) -> None:
        subprocess.run(["npm", *words], cwd=page, check=True)

    npm("ci")
    npm("run", "build")
    built = tmp_path / "timeline_workers/web/page"
    names = [{str(p.relative_to(top)) for p in top.rglob("*") if p.is_file()} for top in (BUILT, built)]
    assert names[0] == names[1]
    assert [name for name in names[0] if (BUILT / name).read_bytes() != (built / name).read_bytes()] == []
    npm("run", "check")
    npm("test")
    npm("run", "rest")
    npm("run", "messages", "-w", "player")
    made = ["src/lib/rest.ts", "player/src/messages.ts"]
    assert [name for name in made if (page / name).read_bytes() != (SOURCES / name).read_bytes()] == []
