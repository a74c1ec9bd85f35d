"""Chaos: the whole system under load while its processes are killed, held against a brute-force reading.

``python -m tests.chaos --help``. Modules, from the pure to the connected::

    schedule   which fault falls on what and when: drawn from the seed
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
    recording  the history store of a run, and what is remembered of it on the way
    history_comparing  events, verdicts and timelines in it against what is expected
    settling   the end of a run: everything is waited for and compared
    verdict    whether `timeline get` was truthful, by what it showed and what was so
    watching   asks for both, once a second
    by_hand    what people do to workflows by hand
    faults     what the faults of a schedule do
    harness    one run from start to reports
    scene      what a scene is, and the running system it is played on
    scenes     one kind of fault a file; ``ending_acts`` and ``losing`` have what several share
    staging    plays one scene, from start to report
"""
