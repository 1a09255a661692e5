"""How many events a second the log takes, beside Python's own logging with its own json.

    python benchmarks/event_log.py

prints JSON. Each event is made, rendered and written to a file with all its fields, by both.
"""

import json
import logging
import tempfile
import time
from pathlib import Path

from measure import median_of

from mmactors.engine.probe import NR_BATCHED, Taken
from mmactors.engine.trace.span import Span, Who
from mmactors.events import MmPageAlloc
from mmactors.observe.log import EventLog, LineFile

NR_EVENTS = 100_000


def ours(folder: Path) -> float:
    who, span = Who("toucher", 0, 1, 1, None), Span(1)
    batch: list[Taken] = []
    began = time.process_time()
    with EventLog(LineFile(folder / "ours.jsonl")) as log:
        for seq in range(NR_EVENTS):
            event = MmPageAlloc(pfn=seq, order=0, gfp_flags=0x1100CCA, migratetype=1)
            batch.append((seq, seq * 400, who, span, 0, event))
            if len(batch) == NR_BATCHED:
                log.take(batch)
                batch = []
        log.take(batch)
    return NR_EVENTS / (time.process_time() - began)


def python_logging(folder: Path) -> float:
    class JsonLines(logging.Formatter):
        def format(self, record: logging.LogRecord) -> str:
            return json.dumps(record.msg)

    handler = logging.FileHandler(folder / "theirs.jsonl", mode="w")
    handler.setFormatter(JsonLines())
    logger = logging.getLogger("events")
    logger.setLevel(logging.INFO)
    logger.propagate = False
    logger.handlers.clear()
    logger.addHandler(handler)
    began = time.process_time()
    for seq in range(NR_EVENTS):
        logger.info(
            {
                "seq": seq,
                "t": seq * 400,
                "actor": "toucher",
                "cpu": 0,
                "pid": 1,
                "tid": 1,
                "event": "mm_page_alloc",
                "span": 1,
                "pfn": seq,
                "order": 0,
                "gfp_flags": 0x1100CCA,
                "migratetype": 1,
            }
        )
    handler.close()
    return NR_EVENTS / (time.process_time() - began)


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        figures = {
            "events_per_s": median_of(lambda: ours(folder)),
            "python_logging_per_s": median_of(lambda: python_logging(folder), 3),
        }
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
