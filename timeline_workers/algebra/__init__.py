"""The timeline algebra: columnar timelines, operators and nodes. Knows neither Temporal nor Pulsar.

``timeline`` timelines in columns; ``event_log`` the events of a leaf; ``leaf_input`` what a leaf is sent of a
batch, by its ``predicates``; ``operators`` one a module; ``nodes`` their state; ``evaluation`` the graph of
an expression in process.
"""
