"""The feeder: reads events from Pulsar topics and signals them to the leaf workers that need them.

Rooms, from the pure to the connected::

    positions, message_batch  positions of messages, watermarks, and batches of messages
    routing/    a batch of messages → late and bad events, one payload per leaf worker, idle watermarks
    recovery/   where to resume, replays of the past, gaps, recreated and trimmed topics
    source/     receiving and acknowledging messages, reading a topic's past, the dead-letter topic
    delivery/   payloads to leaf workers: in order, bounded, until accepted; refused events; repair of edges
    program         the command: options, one task per topic
    metric_catalog  which metrics are registered, and so which topics are read and how
    topic_feeder    one topic: receive, route, deliver, acknowledge
    reporting       rates and lag, as a live line or log lines

Delivery: an event is acknowledged to Pulsar only after Temporal has accepted it for every leaf that needs
it, and after its dead letter, if it has one, is stored. Leaves drop what they have seen, so nothing is lost
and nothing is applied twice. A dead letter may be stored twice after a crash; its position tells.
"""
