"""Chaos: the whole system under load while its processes are killed, held against a brute-force reading.

``python -m tests.chaos --help``. Modules, from the pure to the connected::

    schedule   which process is killed when, and for how long it stays away: drawn from the seed
    traffic    the events that are sent, good and bad: drawn from the seed
    metrics    what is applied
    judging    what must become of every stored message, by a reading of the semantics of its own
    expected   the answers that follow, from ``tests/oracle``
    programs   one process that can be killed and started again on the same data and ports
    stacks     the servers of a run: embedded, or real ones
    producer   sends the traffic, in a process of its own
    asking     questions during the load, and what became of them
    stored     what the broker holds in the end: the truth that everything else is judged by
    comparing  answers, statuses and dead letters against what is expected
    harness    one run from start to report
"""
