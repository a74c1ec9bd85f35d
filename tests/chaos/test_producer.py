"""The producer of the chaos tests: it pauses when it is asked to, with everything stored that it has sent."""

from __future__ import annotations

import signal
import threading
from itertools import count
from pathlib import Path

from tests.chaos.producer import Pause, Sender, paused_file, send_at_pace
from tests.chaos.traffic import Message


class Broker(Sender):
    """Takes messages, and stores them when it is waited for; message ``asks_at`` asks the producer to
    pause.
    """

    def __init__(self, pause: Pause, asks_at: int) -> None:
        self.sent = self.stored = 0
        self._pause, self._asks_at = pause, asks_at

    def send(self, message: Message) -> None:
        self.sent += 1
        if self.sent == self._asks_at:
            self._pause.take(signal.SIGUSR1, None)

    def finish(self) -> None:
        self.stored = self.sent


def test_a_paused_producer_has_stored_all_it_sent(tmp_path: Path) -> None:
    """A producer that pauses has stored all and sends the rest when it resumes."""
    file = paused_file(tmp_path / "places-0")
    pause = Pause(file)
    sender, stopping = Broker(pause, asks_at=10), threading.Event()
    source = (Message(0.0, number, "k", b"") for number in count())
    sending = threading.Thread(
        target=send_at_pace, args=(sender, source, [(0.001, 10), (0.002, 30)], stopping, pause)
    )
    sending.start()
    while not file.exists():
        assert sending.is_alive()
    assert sender.stored == sender.sent == 10
    pause.take(signal.SIGUSR2, None)
    sending.join(30)
    assert not sending.is_alive()
    assert (sender.sent, file.exists()) == (30, False)


def test_a_producer_that_pauses_can_be_stopped(tmp_path: Path) -> None:
    pause = Pause(paused_file(tmp_path / "places-0"))
    sender, stopping = Broker(pause, asks_at=1), threading.Event()
    stopping.set()
    pause.take(signal.SIGUSR1, None)
    pause.last(sender, stopping)
    assert sender.stored == sender.sent
