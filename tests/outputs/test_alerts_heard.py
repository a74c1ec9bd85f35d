"""Alerts that hear workers as an output does: whatever is killed, repeated or begun anew, and whenever, what
was told is what the workers say."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from tests.alerts.told import Receiver, seen
from tests.outputs.test_schedules import events_of
from tests.outputs.writers import Writer, Written
from tests.properties.batches import batch_of
from tests.runtime.network import Network
from timeline_workers.alerts.alert_state import AlertState
from timeline_workers.alerts.telling import Telling
from timeline_workers.alerts.true_spans import spans_by_key
from timeline_workers.algebra.graph_evaluation import Evaluation
from timeline_workers.language.parser import parse
from timeline_workers.metric.model import Metric, Source
from timeline_workers.wire.news import unpack_news
from workflows.outputs.batches import unpack_batch

LATE = 1_000  # later than anything that is said


class Heard(Written):
    """A network whose writers tell a rule what they hear, instead of publishing it."""

    def __init__(self, telling: Telling, metric: Metric, rng: random.Random, small: int, **more: Any) -> None:
        super().__init__(
            metric, rng.randrange, 1, small, rng.choice([150, 500_000]), loses_state=False, **more
        )
        self.states = {name: AlertState(telling) for name in self.writers}
        self.receiver = Receiver()

    def tell(self, *, carry: bool) -> None:
        """Tell what is in the batches; ``carry``: and go to the next run."""
        for name, writer in self.writers.items():
            while writer.batches:
                news = map(unpack_news, unpack_batch(writer.batches.popleft()).news)
                self.receiver.hear(self.states[name].step(news, LATE))
            if carry:
                self.states[name].compact()
                state = self.states[name]
                self.states[name] = AlertState.restore(state.telling, state.snapshot())

    def settle(self) -> None:
        """Let all that is still to happen happen, publishing aside."""
        while True:
            Network.settle(self)
            for writer in self.writers.values():
                self._hear_all(writer)
            if not self.on_their_way and not any(one.inbox for one in self.writers.values()):
                return

    def _hear_all(self, writer: Writer) -> None:
        while writer.inbox:
            self._task(writer)
            self.tell(carry=False)

    def check(self, whole: Evaluation) -> None:
        """What was told is what ``whole`` says, as far as each writer looks."""
        true = dict(zip(whole.keys.names, spans_by_key(whole.timeline()), strict=True))
        for name, state in self.states.items():
            if state.as_of is not None:
                for key in self.writers[name].subscriber.keys.names:
                    assert self.receiver.of(key) == seen(true[key], state.as_of), (name, key)


@pytest.mark.parametrize("telling", ["clock", "watermark", "final"])
@settings(max_examples=settings().max_examples // 10)
@given(seed=st.integers(0, 2**32))
def test_after_any_schedule_the_truth_was_told(telling: str, seed: int) -> None:
    """Nobody is woken twice for one episode, also where an edge begins anew and tells everything again."""
    rng = random.Random(seed)
    expression = rng.choice(
        [
            'latest_event_to_state(s) == "x"',
            'held_for(latest_event_to_state(s) == "x", 4us) since has_existed_within(n == 1, 6us)',
        ]
    )
    source = Source(topic="t", key="k", time="t", time_unit="us", partitions=rng.choice([1, 2]))
    rule = Telling("r", "final", "watermark", 10**6)
    if telling != "final":
        rule = Telling("r", "provisional", "clock" if telling == "clock" else "watermark", 10**6)
    metric = Metric(name="m", source=source, expression=expression)
    heard = Heard(rule, metric, rng, rng.choice([60, 400_000]), compacting=rng.choice([None, []]))
    whole = Evaluation(parse(expression))
    for batch, progress in events_of(rng):
        heard.feed(batch_of(batch), progress)
        whole.add(batch_of(batch))
        for _ in range(rng.randrange(60)):
            heard.step()
            heard.tell(carry=rng.randrange(5) == 0)
        if rng.randrange(2):
            heard.settle()
            heard.check(whole)
    heard.settle()
    heard.check(whole)
    pages = [one.episode for one in heard.receiver.messages if one.page]
    assert len(pages) == len(set(pages))
    if telling == "final":
        assert {one.kind for one in heard.receiver.messages} <= {"fire", "resolve"}
