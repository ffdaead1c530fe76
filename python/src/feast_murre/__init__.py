"""Python side of Murre.

Murre speaks plain Arrow Flight, so `pyarrow.flight` is all a client needs today. This package holds the place of the
Feast integration and carries the version that goes with the server; it has no functions yet.
"""

__version__ = "0.1.0"
