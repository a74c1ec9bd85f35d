"""An exported history as a stream: a tar archive of the folder that ``export_history`` writes.

Each file is sent when it is complete, and is then deleted, so that an export of any size needs the disk of
one day of one definition. An archive that comes is spooled to a temporary file: what is in it may come in any
order, and is read in that of the folder.
"""

from __future__ import annotations

import asyncio
import re
import tarfile
import tempfile
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, Iterator
from pathlib import Path
from typing import Final

from timeline_workers.errors import QuestionError
from timeline_workers.events.times import EARLIEST, LATEST

from .day_files import Format
from .store import HistoryStore
from .transfer import MANIFEST, export_history, import_history

MEDIA_TYPE: Final = "application/x-tar"
_CHUNK = 256 << 10
_END = b"\0" * (2 * tarfile.BLOCKSIZE)
_MEMBER = re.compile(rf"(?:\./)?({re.escape(MANIFEST)}|(?:events|pieces)/day=[^/]+/[^/]+\.(?:jsonl|parquet))")
_FIX = "send what an export answers, or the folder of one: tar -c -C FOLDER ."


async def export_tar(
    store: HistoryStore,
    *,
    format: Format = "parquet",
    start: int = EARLIEST,
    end: int = LATEST + 1,
    as_of: int | None = None,
) -> AsyncGenerator[bytes, None]:
    """The archive, piece by piece. Raises what ``export_history`` raises, what can be told beforehand before
    the first piece.
    """
    with tempfile.TemporaryDirectory(prefix="timeline-export-") as made:
        folder, complete = Path(made), deque[Path]()
        moved = export_history(
            store, folder, format=format, start=start, end=end, as_of=as_of, complete=complete.append
        )
        async for _ in moved:
            while complete:
                for piece in _member(folder, complete.popleft()):
                    yield piece
        while complete:
            for piece in _member(folder, complete.popleft()):
                yield piece
        yield _END


def _member(folder: Path, path: Path) -> Iterator[bytes]:
    about = path.stat()
    info = tarfile.TarInfo(str(path.relative_to(folder)))
    info.size, info.mtime = about.st_size, int(about.st_mtime)
    yield info.tobuf(tarfile.PAX_FORMAT)
    with path.open("rb") as file:
        while piece := file.read(_CHUNK):
            yield piece
    yield b"\0" * (-info.size % tarfile.BLOCKSIZE)
    path.unlink()


async def import_tar(
    store: HistoryStore, body: AsyncIterable[bytes], *, pieces: bool = True
) -> dict[str, int]:
    """Store what is in an archive (see ``import_history``); how many ``events`` and ``pieces`` it had.

    Raises QuestionError for what is no archive of an exported history.
    """
    with tempfile.TemporaryDirectory(prefix="timeline-import-") as made:
        spooled, folder = Path(made) / "body", Path(made) / "history"
        with spooled.open("wb") as file:
            async for piece in body:
                file.write(piece)
        await asyncio.to_thread(_unpack, spooled, folder)
        spooled.unlink()
        counts: dict[tuple[str, str], int] = {}
        async for one in import_history(store, folder, pieces=pieces):
            counts[one.kind, one.name] = one.rows
    totals = {"events": 0, "pieces": 0}
    for (kind, _), rows in counts.items():
        totals[kind] += rows
    return totals


def _unpack(archive: Path, folder: Path) -> None:
    """Only what an export has, and no compressed archive, whose size nobody knows beforehand."""
    try:
        with tarfile.open(archive, "r:") as found:
            members = {m.name: m for m in found.getmembers() if m.isfile() and _MEMBER.fullmatch(m.name)}
            if not any(name.removeprefix("./") == MANIFEST for name in members):
                raise QuestionError(f"the archive has no {MANIFEST}; {_FIX}")
            found.extractall(folder, list(members.values()), filter="data")
    except (tarfile.TarError, EOFError, UnicodeDecodeError, ValueError) as error:
        raise QuestionError(f"the body is no tar archive: {error!s:.200}; {_FIX}") from None
