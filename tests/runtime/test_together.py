"""Messages that are taken one after another, or together as a workflow task takes them, come to the same."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings, strategies as st

from tests.properties import strategies as some
from tests.properties.batches import batch_of, pieces_of, shown
from tests.runtime.network import Network
from tests.runtime.test_compaction import feeds
from timeline_workers.algebra.nodes.aggregate import AggregateNode
from timeline_workers.errors import ExpressionError
from timeline_workers.language.canonical import to_text
from timeline_workers.metric.model import Metric, Source
from timeline_workers.plan.physical import plan
from timeline_workers.runtime.node_worker import NodeWorker


class _Gathering(Network):
    """A network in which every worker has a twin that settles only now and then."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.twins = {name: NodeWorker(spec) for name, spec in self.specs.items()}

    def _input(self, name: str, method: str, *arguments: Any) -> None:
        super()._input(name, method, *arguments)
        twin = self.twins[name]
        if method != "receive":
            if method != "subscribe":
                twin.settle()
            getattr(twin, method)(*arguments)
            return
        [message] = arguments
        twin.receive(message, settle=False)
        if not self.choose(3):
            twin.settle()
        # An attempt that was lost may have told what one message changed, though the next one takes it back:
        # what is to be told must cover every message, not only what has changed after all of them.
        for subscriber, edge in self.workers[name].outbound.items():
            marked, whole = edge.pending.marked(), twin.outbound[subscriber].pending
            assert set(marked.tolist()) <= set(whole.marked().tolist())
            assert (whole.peek(marked) <= edge.pending.peek(marked)).all()

    def step(self) -> None:
        """Feed, send, arrive, compact or subscribe; the workers themselves are never restored here."""
        possible: list[Any] = [lambda n=n: self._feed_leaf(n) for n, queue in self.feeds.items() if queue]
        possible += [lambda pair=pair: self._subscribe(pair) for pair in self.unsubscribed]
        possible += [lambda name=name: self._send(name) for name in self.workers]
        possible += [lambda i=i: self._arrive(i) for i in range(len(self.on_their_way))]
        possible[self.choose(len(possible))]()


@settings(max_examples=settings().max_examples // 4)
@given(st.data())
def test_settling_late_is_settling_at_once(data: st.DataObject) -> None:
    """Every node of a random expression over random events, with snapshots told anew, says the same."""
    expression = data.draw(st.one_of(some.expressions(1, 2), some.aggregates(1, 1)))
    source = Source(topic="t", key="k", time="t", time_unit="us", partitions=data.draw(st.integers(1, 2)))
    fuse = data.draw(st.booleans())
    try:
        made = plan(Metric(name="m", source=source, expression=to_text(expression), fuse=fuse))
    except ExpressionError:
        return
    feed = data.draw(feeds(expression, max_size=12))
    choose = lambda n: data.draw(st.integers(0, n - 1)) if n > 1 else 0  # noqa: E731
    network = _Gathering(made, choose, data.draw(st.sampled_from([60, 400_000])), [])
    for batch, progress in feed.batches:
        network.feed(batch_of(batch), progress)
        for _ in range(data.draw(st.integers(0, 8))):
            network.step()
    network.settle()
    for name, worker in network.workers.items():
        twin = network.twins[name]
        twin.settle()
        assert _said(worker) == _said(twin)
        assert worker.status()["progress"] == twin.status()["progress"]


def _said(worker: NodeWorker) -> dict[str, Any]:
    """The pieces of every key or group that has any; which number it has may differ."""
    node = worker.node
    named = node._group_values if isinstance(node, AggregateNode) else node.keys.names
    names = [repr(name) for name in named]
    return {
        f"{function} {names[row]}": shown(pieces_of(timeline, row))
        for part in worker.node.parts()
        for function, output in part.outputs.items()
        for timeline in [output.timeline()]
        for row in range(timeline.keys)
        if timeline.offsets[row] < timeline.offsets[row + 1]
    }
