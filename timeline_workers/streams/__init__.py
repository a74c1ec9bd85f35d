"""Networks of streams: operators on events ahead of the timelines, as one file, one tree and one program.

Pure: no server, no broker. No cluster runs networks yet.
"""
