"""Faults of a commit's answer: of some commits, and of each in another way."""

from __future__ import annotations

import struct
from random import Random

from harness.fault_proxy import Answer, Cut, Delay, Drop, Fault, Instead, Late, Lose, Request, Slow
from harness.tcp_proxy import ANSWERED, ASKED

FAULTY_SHARE = 0.6
# Longer than Murre waits before it sends a commit again.
MOST_SECONDS = 0.6
GARBAGE = Answer(200, b"<html>It works!</html>", "text/html")
# What only services answer that may have done what they were asked.
UNDECIDED = (500, 502, 503, 504)
METADATA_FILE = b".metadata.json"
# What proxies say that sent a commit twice: the first was done, the second is refused.
REFUSALS = {
    "rest": Answer(409, b'{"error":{"message":"branch main has changed","type":"CommitFailedException","code":409}}'),
    "glue": Answer(400, b'{"__type":"ConcurrentModificationException","Message":"Update table failed"}'),
}


def postgres_error(code: str, message: str) -> Answer:
    """An error in PostgreSQL's protocol."""
    fields = b"".join(f"{field}\0".encode() for field in ("SFATAL", "VFATAL", f"C{code}", f"M{message}")) + b"\0"
    return Answer(0, b"E" + struct.pack(">I", len(fields) + 4) + fields)


# What PgBouncer says for a server whose connection broke, and a server that is stopped.
REFUSALS["postgres"] = postgres_error("08P01", "server conn crashed?")


def is_commit(request: Request) -> bool:
    """Whether a request changes a table, by Glue's protocol or by REST's."""
    glue = request.headers.get("x-amz-target", "").endswith("UpdateTable")
    rest = request.method == "POST" and "/tables/" in request.path and b'"updates"' in request.body
    return glue or rest


def http_faults(chance: Random) -> list[Fault]:
    """Every fault, before and after the commit."""
    seconds = chance.uniform(0, MOST_SECONDS)
    answer = Answer(chance.choice(UNDECIDED))
    before = [Drop(), answer, Delay(seconds)]
    after = [Lose(), Cut(), Late(seconds), Slow(seconds), Instead(answer), Instead(GARBAGE)]
    return [*before, *after]


class OfHttp:
    """Faults of catalogs behind HTTP."""

    def __init__(self, chance: Random) -> None:
        """No commit had one."""
        self.chance = chance
        self.met = 0

    def __call__(self, request: Request) -> Fault:
        """The fault of a request."""
        if not is_commit(request) or self.chance.random() > FAULTY_SHARE:
            return None
        self.met += 1
        return self.chance.choice(http_faults(self.chance))


class OfPostgres:
    """Faults of a SQL catalog's connections: a commit is what names a metadata file, its answer what comes next."""

    def __init__(self, chance: Random) -> None:
        """No commit had one, and none of the connections waits for an answer."""
        self.chance = chance
        self.met = 0
        self.commits: dict[str, Fault] = {}

    def __call__(self, request: Request) -> Fault:
        """The fault of some bytes."""
        connection = request.path
        if request.method == ANSWERED:
            return self.commits.pop(connection, None)
        if METADATA_FILE not in request.body or self.chance.random() > FAULTY_SHARE:
            return None
        seconds = self.chance.uniform(0, MOST_SECONDS)
        now, answer = self.chance.choice(
            [(Drop(), None), (Delay(seconds), None), (Late(seconds), None), (None, Drop()), (None, Delay(seconds))]
        )
        self.met += 1
        self.commits[connection] = answer
        return now


class AfterCommits:
    """Another answer to the first commits, which are done; by any protocol."""

    def __init__(self, answer: Answer, count: int) -> None:
        """None is done yet."""
        self.answer, self.left = answer, count
        self.connection: str | None = None

    def __call__(self, request: Request) -> Fault:
        """The fault of a request, or of some bytes."""
        if request.method == ANSWERED and request.path == self.connection:
            self.connection = None
            return self.answer
        over_http = is_commit(request)
        if self.left == 0 or not (over_http or (request.method == ASKED and METADATA_FILE in request.body)):
            return None
        self.left -= 1
        self.connection = request.path
        return Instead(self.answer) if over_http else None
