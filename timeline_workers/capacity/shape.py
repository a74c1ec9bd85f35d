"""The shape of a metric's graph in one partition: its workers and their subscribers."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from timeline_workers.plan.physical import Plan, global_workers, partition_labels, workers


@dataclass(frozen=True)
class Shape:
    """``workers``: of one partition by id without the partition, children first, each with the places of
    its inputs in the same tuple; ``nodes``: how many nodes they compute; ``leaves``: how many workers the
    feeder signals. ``aggregates``: workers beside, that hear all partitions.
    """

    workers: tuple[tuple[str, tuple[int, ...]], ...]
    nodes: int
    leaves: int
    aggregates: int = 0

    @classmethod
    def of(cls, plan: Plan) -> Shape:
        """The shape of ``plan``, whose source has a fixed number of partitions."""
        (label, *_) = partition_labels(plan)
        specs = workers(plan, label)
        place = {spec.worker_id: number for number, spec in enumerate(specs)}
        return cls(
            tuple(
                (
                    spec.worker_id.removesuffix(f".{label}"),
                    tuple(place[child] for slot in spec.inputs for child in slot),
                )
                for spec in specs
            ),
            sum(1 + len(spec.fused) for spec in specs),
            sum(spec.node.is_leaf for spec in specs),
            len(global_workers(plan)),
        )

    @property
    def edges(self) -> int:
        """How many edges join the workers of one partition."""
        return sum(len(inputs) for _, inputs in self.workers)

    @cached_property
    def rounds(self) -> tuple[int, ...]:
        """Of each worker, how many workflow tasks one batch of the feeder makes it do when nothing else
        comes and each task takes as long as any other.

        A worker at rest begins with the first message; what comes until it is done is taken together next.
        At the end of each task every subscriber is told once.
        """
        ends: list[list[int]] = []
        for _, inputs in self.workers:
            heard = sorted(at for child in inputs for at in ends[child]) if inputs else [0]
            done: list[int] = []
            while heard:
                at_rest = not done or done[-1] < heard[0]
                start = heard[0] if at_rest else done[-1]
                taken = 1 if at_rest else sum(at <= start for at in heard)
                heard = heard[taken:]
                done.append(start + 1)
            ends.append(done)
        return tuple(map(len, ends))
