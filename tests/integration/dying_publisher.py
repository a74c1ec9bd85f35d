"""A worker process that is killed while it publishes: the broker has stored a batch, and the activity has not
been completed.

python -m tests.integration.dying_publisher MARKER

It dies once MARKER is there, which it removes; batches of nothing but a watermark are let through.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from unittest.mock import patch

from timeline_workers.cli.main import main
from timeline_workers.servers.pulsar import changelog_topic
from timeline_workers.wire.changelog_messages import ToPublish

_publish = changelog_topic.publish


def publish_and_die(marker: Path, topic: str, producer: str, messages: Iterable[ToPublish]) -> int:
    """Publish as ever; then, if MARKER is there, end as by ``kill -9``."""
    some = list(messages)
    count = _publish(topic, producer, some)
    if marker.exists() and any(one.key is not None for one in some):
        marker.unlink()
        os.kill(os.getpid(), signal.SIGKILL)
    return count


if __name__ == "__main__":
    marker = Path(sys.argv[1])
    sys.argv[1:] = ["worker"]
    with patch.object(changelog_topic, "publish", partial(publish_and_die, marker)):
        main()
