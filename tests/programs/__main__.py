"""`python -m tests.programs`: run random programs for as long as you like.

Prints how far it is, and of each failure that is new the shortest program that shows it, which it
also writes into a folder. Ends with exit code 1 if anything failed.
"""

import argparse
import faulthandler
import itertools
import sys
import time
from collections import Counter
from functools import partial
from pathlib import Path

from .command import judge_command
from .documents import draw, write
from .judge import CORPUS, judge
from .reducer import reduce

EVERY_S = 30
HANGS_S = 600
REDUCING_CPU_S = 4
"""What takes too long is made shorter by looking at this much of it."""


def main():
    """Run the seeds that the command line names."""
    parser = argparse.ArgumentParser(prog="python -m tests.programs", description=__doc__)
    parser.add_argument("--seeds", default="0-", help="A-B, or A- for all from A on")
    parser.add_argument("--hours", type=float, default=1e9, help="stop after so much time")
    parser.add_argument("--out", type=Path, default=CORPUS, help="where failures are written")
    parser.add_argument("--cli", action="store_true", help="by mmactors check and mmactors run")
    parser.add_argument("--known", action="append", default=[], help="a cause not to be reduced")
    arguments = parser.parse_args()
    first, _, last = arguments.seeds.partition("-")
    seeds = range(int(first), int(last) + 1) if last else itertools.count(int(first))
    arguments.out.mkdir(parents=True, exist_ok=True)
    return hunt(seeds, arguments)


def hunt(seeds, arguments):
    """Judge the program of each seed; return 1 if one failed."""
    judge_text = partial(judge_command, folder=arguments.out / "cli") if arguments.cli else judge
    words, failures = Counter(), Counter()
    begin_s = told_s = time.monotonic()
    current = arguments.out / "current.txt"
    for seed in seeds:
        document = draw(seed)
        text = write(document)
        current.write_text(text)  # If the process dies, here is why.
        faulthandler.dump_traceback_later(HANGS_S, exit=True)
        verdict = judge_text(text)
        faulthandler.cancel_dump_traceback_later()
        words[verdict.word] += 1
        if verdict.is_failure:
            failures[verdict.group] += 1
            if failures[verdict.group] == 1:
                print(f"\nseed {seed}: {verdict.group}", flush=True)
                if arguments.cli:
                    (arguments.out / f"seed-{seed}.yaml").write_text(f"{text}\n")
                    print(f"{text}\n{verdict.detail}", flush=True)
                elif not any(part in verdict.group for part in arguments.known):
                    keep(document, verdict, seed, arguments.out)
        now_s = time.monotonic()
        if now_s - told_s > EVERY_S:
            told_s = now_s
            print(
                f"{sum(words.values())} programs, {now_s - begin_s:.0f} s: {_told(words)}",
                flush=True,
            )
        if now_s - begin_s > arguments.hours * 3600:
            break
    current.unlink(missing_ok=True)
    print(f"\n{sum(words.values())} programs: {_told(words)}")
    for group, count in failures.most_common():
        print(f"{count:6} {group}")
    return 1 if failures else 0


def keep(document, verdict, seed, out):
    """Print and write the shortest document with this failure."""

    def still_fails(each):
        return judge(write(each), cpu_s=REDUCING_CPU_S).group == verdict.group

    shortest = reduce(document, still_fails, tries_max=60 if verdict.word == "too long" else 400)
    text = write(shortest) + "\n"
    detail = judge(text).detail.rstrip().splitlines()
    comment = "".join(f"# {line}\n" for line in [f"seed {seed}: {verdict.group}", *detail[-12:]])
    path = out / f"seed-{seed}.yaml"
    path.write_text(comment + text)
    print(f"{comment}{text}-> {path}", flush=True)


def _told(words):
    return ", ".join(f"{count} {word}" for word, count in words.most_common())


if __name__ == "__main__":
    sys.exit(main())
