"""What the tests and benchmarks share: a warehouse to fill, a server to start, a client to ask, references to compare.

Nothing here knows how Murre works inside; everything is written against its documented configuration and wire.
"""
