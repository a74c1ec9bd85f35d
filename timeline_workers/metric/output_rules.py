"""Rules for a metric with an output, a history or an alert: where these cannot be written it is refused."""

from __future__ import annotations

from timeline_workers.errors import MetricError

from .model import Metric


def refuse_output(metric: Metric) -> None:
    """Raise MetricError where ``metric`` has an output, a history or an alert that cannot be written."""
    _refuse_history(metric)
    if metric.alert is not None and metric.source.partitions == "per-key":
        raise MetricError(
            f"rule {metric.name!r}: source.partitions: per-key: a rule has a worker a partition, and these "
            "must be known beforehand; write a number, such as 'partitions: 4'"
        )
    if metric.output is None:
        return
    if metric.output.topic == metric.source.topic:
        raise MetricError(
            f"metric {metric.name!r}: output.topic is the topic of its source, {metric.source.topic!r}: it "
            "would read what it writes; name another topic"
        )
    if metric.source.partitions == "per-key":
        raise MetricError(
            f"metric {metric.name!r}: output: a changelog says how many writers it has, by which whoever "
            "reads it knows what is final, and with source.partitions: per-key there is another one with "
            "every new key; write a number, such as 'partitions: 4'"
        )


def _refuse_history(metric: Metric) -> None:
    nodes = None if metric.history is None else metric.history.nodes
    if nodes == "all" and metric.fuse:
        raise MetricError(
            f"metric {metric.name!r}: history.nodes: the nodes of a fused worker tell nobody what they say, "
            "but for the last one; write 'nodes: result', or leave out fuse (stored events are enough to "
            "compute any node)"
        )
    if nodes in ("result", "all") and metric.source.partitions == "per-key":
        raise MetricError(
            f"metric {metric.name!r}: history.nodes: with source.partitions: per-key there are other workers "
            "with every new key, and none of them is known beforehand; write 'nodes: none' (stored events "
            "are enough to compute any node), or a number of partitions, such as 'partitions: 4'"
        )
