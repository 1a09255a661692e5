"""SLUB's checks say of each mistake, line by line, what Linux 6.1 said."""

import re
from pathlib import Path

import numpy as np
from slubs import SlubAlone

from mmactors.mm.slab.caller import SlabCaller
from mmactors.mm.slab.request import KernelOopsError

REPORTS = Path(__file__).parent.parent / "reference/linux-6.1/kernel/slub-debug/reports.txt"
PID = 87
TRACK = re.compile(r"(Allocated|Freed) in (.*) age=\d+ cpu=0 pid=87")
PLACE = re.compile(r"\+0x[0-9a-f]+/0x[0-9a-f]+$")


def told(lines):
    """Return lines as the model gives them, which knows no offsets into functions of the kernel."""
    return [PLACE.sub("", line) if line.startswith("WARNING:") else line for line in lines]


def operations():
    """Return each operation of the module, with what the kernel said until the next one."""
    found = []
    for line in REPORTS.read_text().splitlines():
        if line.startswith("LAB ") and line != "LAB done":
            found.append((line.split()[1:], []))
        elif line != "LAB done":
            found[-1][1].append(line)
    return found


class Replay:
    """The module's mistakes, made with the model."""

    def __init__(self):
        self.alone = SlubAlone(nr_pages=1 << 16)
        self.alone.slabs.taints = "OE"
        self.caches = {}
        self.things = {}
        self.recorded = operations()
        self.callers = self.find_callers()
        self.nr_lines = 0

    def find_callers(self):
        """Return who allocated, freed or destroyed what, as far as any report says it."""
        found = {}
        last = {}
        for nth, (words, lines) in enumerate(self.recorded):
            kind, name = words[0], words[1]
            if kind == "alloc":
                last["alloc", words[2]] = nth
            elif kind == "free":
                last["free", words[2]] = nth
            tracks = []
            for line in lines:
                match = TRACK.fullmatch(line)
                if match:
                    tracks.append((match[1], match[2], []))
                elif tracks and line.startswith(" "):
                    tracks[-1][2].append(line[1:])
                elif match := re.search(r"objects when called from (.*)", line):
                    found[nth] = (match[1], ())
            # Each mistake is made with the object that was allocated first, or with the free's own.
            own = words[2] if kind == "free" else "b" if name == "lableak" else "a"
            for what, site, stack in tracks:
                at = last[("alloc" if what == "Allocated" else "free"), own]
                found[at] = (site, tuple(stack))
        return found

    def run(self):
        for nth, (words, lines) in enumerate(self.recorded):
            self.alone.log.clear()
            site, stack = self.callers.get(nth, ("", ()))
            jiffies = int(words[-1]) if words[0] in ("alloc", "free", "destroy") else 0
            caller = SlabCaller(site=site, stack=stack, pid=PID, jiffies=jiffies)
            try:
                getattr(self, words[0])(nth, caller, *words[1:])
            except KernelOopsError as oops:
                self.alone.log += oops.lines
            assert told(lines) == self.alone.log, f"{nth}: {' '.join(words)}"
            self.nr_lines += len(lines)

    def create(self, _nth, _caller, name, size, flags):
        self.caches[name] = self.alone.create(int(size), name, flags=int(flags, 16))

    def seq(self, _nth, _caller, name, *sequence):
        self.caches[name].random_seq = np.array(sequence, np.int64)

    def random(self, _nth, _caller, name, random):
        self.caches[name].set_words(random=(int(random) ^ 1 << 63) - (1 << 63))

    def alloc(self, nth, caller, name, var, _jiffies):
        s = self.caches[name]
        got = self.recorded[nth + 1][0] if nth + 1 < len(self.recorded) else None
        if got is not None:
            pfn, index = int(got[2]), int(got[3])
            sequence = self.caches[name].random_seq.tolist()
            self.alone.next_slab = pfn
            self.alone.slabs.random_below = lambda _count: sequence.index(index)
        self.things[var] = self.alone.alloc(s, caller=caller)
        slab = self.alone.slabs.head_of(self.things[var])
        assert got is None or (pfn, index) == (slab, s.index_of(slab, self.things[var]))

    def got(self, *_):
        pass

    def write(self, _nth, _caller, var, offset, byte):
        self.alone.slabs.bytes_view[self.things[var] + int(offset)] = int(byte)

    def free(self, _nth, caller, name, var, offset, _jiffies):
        thing = self.things[var] + int(offset)
        slub = self.alone.slub
        steps = slub.kmem_cache_free(self.caches[name], self.alone.this_cpu, thing, caller=caller)
        self.alone.perform(steps)

    def count(self, _nth, _caller, var, number):
        self.alone.pages.private_view[self.alone.slabs.head_of(self.things[var])] += int(number)

    def destroy(self, _nth, caller, name, _jiffies):
        self.alone.destroy(self.caches[name], caller=caller)


def test_every_line_of_every_report_is_the_recorded_one():
    """Red zones, poison, double frees, wrong pointers, counts and caches, leaks, an oops."""
    replay = Replay()

    replay.run()

    assert replay.nr_lines > 150
