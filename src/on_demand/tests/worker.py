"""Speaks the worker's side of the protocol without Feast: what it does with a batch is what the definition says."""

import json
import os
import struct
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))


def read(count):
    data = sys.stdin.buffer.read(count)
    if len(data) < count:
        sys.exit(0)
    return data


def send(kind, payload=b""):
    sys.stdout.buffer.write(kind + struct.pack("<I", len(payload)) + payload)
    sys.stdout.buffer.flush()


def complain(message):
    send(b"E", json.dumps({"view": "v", "type": "ValueError", "message": message}).encode())


def answer(what, batch):
    if what == "crash":
        os._exit(3)
    if what == "sleep":
        time.sleep(3600)
    if what == "complain":
        return complain("negative fare")
    if what == "environment":
        return complain(" ".join(sorted(os.environ)))
    if what == "babble":
        return send(b"X", b"?")
    if what == "garbage":
        return send(b"B", b"not arrow")
    send(b"B", batch)
    if what == "echo and leave":
        os._exit(0)


with open(os.path.join(HERE, "starts"), "a") as starts:
    starts.write(f"{os.getpid()}\n")
print("ready", file=sys.stderr, flush=True)
send(b"H", b'{"protocol": 1}')
views, definitions = [], []
while True:
    kind, length = struct.unpack("<cI", read(5))
    payload = read(length)
    if kind == b"R":
        views, definitions = json.loads(payload)["views"], []
    elif kind == b"D":
        definitions.append(payload.decode())
        if len(definitions) == len(views):
            complain("cannot be loaded") if "broken" in definitions else send(b"O")
    else:
        answer(definitions[0], payload)
