"""The encoding of what travels between processes: columns packed with MessagePack, compressed with zstd.

``encoding`` columns and timelines; ``leaf_batch`` what the feeder sends a leaf; ``edge_messages`` what a node
sends its subscribers, each message once and in order; ``key_state`` what a node holds of keys;
``source_progress`` positions and watermarks of source partitions.
"""
