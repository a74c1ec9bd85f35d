"""Rules for a metric with an output: where it cannot be written it is refused."""

from __future__ import annotations

from timeline_workers.errors import MetricError

from .model import Metric


def refuse_output(metric: Metric) -> None:
    """Raise MetricError where ``metric`` has an output that cannot be written."""
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
