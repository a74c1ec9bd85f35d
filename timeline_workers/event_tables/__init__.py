"""Event tables of others, read as they are: PostgreSQL, Amazon Redshift, DynamoDB, Parquet, JSONL.

``event_table`` has the protocol of a table, ``declaration`` what a file says of one, ``open_table`` opens it.
"""
