"""``dev_servers``: what `timeline dev` runs, on free ports and with data of its own, for an example."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager

DEV = [sys.executable, "-m", "timeline_workers", "dev"]


@contextmanager
def dev_servers() -> Iterator[None]:
    """Temporal, a broker, a worker and the feeder, until the block ends; commands and clients find them."""
    with tempfile.TemporaryDirectory() as data:
        os.environ["TIMELINE_DATA_DIR"] = data
        ports = [f"--{name}-port=0" for name in ("temporal", "ui", "pulsar")]
        with open(os.path.join(data, "dev.log"), "w") as log:
            running = subprocess.Popen([*DEV, "--no-page", "--no-history", *ports], stdout=log, stderr=log)
        try:
            while subprocess.run([*DEV, "--status"], capture_output=True, check=False).returncode:
                if running.poll() is not None:
                    with open(log.name) as said:
                        raise SystemExit(f"timeline dev has ended:\n{said.read()}")
                time.sleep(0.2)
            yield
        finally:
            running.terminate()
            running.wait()
