"""The feeder: reads events from Pulsar topics and signals them to the event processors that need them.

Modules, from the pure to the connected::

    progress    positions of messages, watermarks, and where to go on after a restart
    route       a batch of messages → late and bad events, and one payload per leaf worker (no I/O)
    told        what a leaf need not be told again (no I/O)
    idle        the watermarks of partitions that bring nothing (no I/O)
    gaps        messages that the broker should have delivered and did not
    catalog     which metrics are registered, and so which topics are read and how
    leaves      delivering payloads to leaf workers: in order, bounded, until accepted
    intake      receiving messages and acknowledging them
    past        reading what a topic holds from any place on
    deadletter  publishing events that cannot be applied; refusals counts them
    fed_group   one group of metrics as it is being fed: how far, and which of its leaves
    takeover    a partition that is new here, or that another feeder had: where its leaves are
    backfill    bringing leaves the past that they lack; replay is one such reading
    silence     letting the watermarks of idle partitions rise, agreed on between feeders
    consume     one topic: receive, route, deliver, acknowledge
    report      rates and lag, as a live line or log lines

Delivery: an event is acknowledged to Pulsar only after Temporal has accepted it for every leaf that needs
it, and after its dead letter, if it has one, is stored. Leaves drop what they have seen, so nothing is lost
and nothing is applied twice. A dead letter may be stored twice after a crash; its position tells.
"""
