"""Heap traces that are made, not recorded: `python tests/made_traces.py` writes them.

`server`, of a seed: a server with sixteen threads. Thread 0 does the input and output: it takes a
connection and a buffer, hands them to one of fifteen workers, and frees the answer once it is sent,
at most `_IN_FLIGHT` requests later. A worker takes many small blocks and a few buffers that grow,
frees what thread 0 took, and keeps a session now and then, or puts an entry into a cache that all
share.

`phases`: three times a program takes many blocks, frees all, and works on one at a time.
"""

from collections import deque
from pathlib import Path
from random import Random

import numpy as np

from mmactors.arch.heap_trace import CALLOC, FREE, MALLOC, REALLOC, HeapOperations
from mmactors.workload.heap_trace.write import write_heap_trace

TRACES = Path(__file__).parents[1] / "configs" / "traces"
REQUESTS = 160
WORKERS = 15
_IN_FLIGHT = 32
_SESSIONS = 40
"""So many live at a time."""
_CACHED = 48


class _Writer:
    """Rows, one after another."""

    def __init__(self):
        self.rows = []
        self.nr_objects = 0

    def malloc(self, tid, size):
        return self._new((MALLOC, tid, self.nr_objects, size, 0))

    def calloc(self, tid, members, size):
        return self._new((CALLOC, tid, self.nr_objects, members * size, members))

    def realloc(self, tid, number, size):
        self.rows.append((REALLOC, tid, number, size, 0))

    def free(self, tid, number):
        self.rows.append((FREE, tid, number, 0, 0))

    def _new(self, row):
        self.rows.append(row)
        self.nr_objects += 1
        return self.nr_objects - 1


def server_rows(seed=14):
    """Return the rows: operation, thread, object, bytes, argument."""
    random, out = Random(seed), _Writer()
    answers, sessions = deque(), deque()
    cache = [out.malloc(0, 1024) for _ in range(_CACHED)]
    for request in range(REQUESTS):
        if len(answers) == _IN_FLIGHT:
            out.free(0, answers.popleft())
        worker = 1 + (request * 7 + random.randrange(3)) % WORKERS
        connection = out.calloc(0, 1, 424)
        buffer = out.malloc(0, random.choice((2048, 4096, 4096, 8192)))
        answers.append(_serve(random, out, worker, sessions, cache))
        out.free(worker, buffer)
        out.free(worker, connection)
    for number in (*answers, *sessions, *cache):
        out.free(0, number)
    return out.rows


def _serve(random, out, worker, sessions, cache):
    """Let a worker do a request; return its answer."""
    nodes = [out.malloc(worker, random.choice((24, 32, 48, 56, 72, 104, 200))) for _ in range(16)]
    size = 512
    answer = out.malloc(worker, size)
    for _ in range(random.choice((0, 1, 2, 2, 3, 4, 7))):
        nodes.append(out.malloc(worker, random.randrange(16, 640)))
        size *= 2
        out.realloc(worker, answer, size)
    if random.random() < 0.3:
        sessions.append(out.calloc(worker, 1, random.choice((176, 336, 1080))))
        if len(sessions) > _SESSIONS:
            out.free(worker, sessions.popleft())
    if random.random() < 0.15:
        place = random.randrange(len(cache))
        out.free(worker, cache[place])
        cache[place] = out.malloc(worker, random.randrange(1 << 10, 1 << 15))
    for number in random.sample(nodes, len(nodes)):
        out.free(worker, number)
    return answer


def phases_rows(*, rounds=3, blocks=64, size=40 << 10, churn=1000):
    """Return the rows: blocks that no thread's cache takes, so that each call sees the clock."""
    out = _Writer()
    for _ in range(rounds):
        for number in [out.malloc(0, size) for _ in range(blocks)]:
            out.free(0, number)
        for _ in range(churn):
            out.free(0, out.malloc(0, size))
    return out.rows


MADE = {"server": server_rows, "phases": phases_rows}


def write_made_trace(name, path):
    """Write a trace as an archive."""
    names = ("op", "tid", "id", "size", "arg")
    columns = np.array(MADE[name](), np.int64).T
    line = np.arange(columns.shape[1])
    rows = HeapOperations(first=0, line=line, **dict(zip(names, columns, strict=True)))
    threads = int(rows.tid.max()) + 1
    meta = {"case": name, "kind": "made by tests/made_traces.py", "threads": threads}
    write_heap_trace(path, [rows], meta=meta)


if __name__ == "__main__":
    for name in MADE:
        write_made_trace(name, TRACES / f"{name}.npz")
