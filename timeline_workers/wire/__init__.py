"""What travels between processes, as bytes: columns packed with MessagePack and compressed with zstd.

``packing`` columns and timelines; ``leaf`` what the feeder sends a leaf; ``edges`` what a node sends its
subscribers, each message once and in order; ``keyrows`` what a node holds of keys; ``progress`` how far a
source has been heard.
"""
