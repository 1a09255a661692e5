"""What glibc says of programs that misuse their heap, and what the sanitizer says before."""

import json
import re
from pathlib import Path

import pytest
from attrs import evolve
from machines import run, scenario_of

from mmactors.actors.program.malloc.make import TCACHE_KEY
from mmactors.mm.fault.siginfo import SIGABRT, SIGSEGV
from mmactors.sanitize.config import SanitizeConfig
from mmactors.sanitize.law import Law

CASES = json.loads(Path("tests/reference/malloc/messages.json").read_bytes())
BASE = 0x555555559000
"""The first break of a program here."""
GLOBAL = 0x10000040
"""Memory of the program that is not the heap's."""
SIGNALS = {0: (), SIGABRT: ("SIGABRT",), SIGSEGV: ("SIGSEGV",)}
MANGLED = re.compile(r"mangle\((.*),(.*)\)")
LAWS = {
    Law.HEAP_USE_AFTER_FREE,
    Law.HEAP_OUT_OF_BOUNDS,
    Law.HEAP_DOUBLE_FREE,
    Law.HEAP_NO_BLOCK,
    Law.HEAP_TWICE,
    Law.HEAP_LEAK,
}
ALLOCATES = ("malloc", "calloc", "realloc", "memalign")
MAX = (1 << 64) - 1


def address_of(place):
    """Return where a recorded block is: behind the first break, or at an address."""
    return BASE + place if isinstance(place, int) else int(place, 16)


class Translation:
    """A recorded sequence as a program of ours; who breaks a law first, as names tell it."""

    def __init__(self, case):
        self.lines = ["mmap room 64K addr=0x10000000"]
        self.doing = []
        """Of each recorded operation: the text of ours that does it, and who does it."""
        self.blocks = {}
        """By name: bytes asked for; None: it was freed."""
        self.known = {"global": GLOBAL, "k": TCACHE_KEY}
        self.found = {row[0]: address_of(row[2]) for row in case["blocks"]}
        self.culprit = None
        self.by = ""
        for nth, text in enumerate(case["ops"]):
            self.translate(nth, *text.split())

    def value(self, text):
        """Return the number that an expression is."""
        mangled = MANGLED.fullmatch(text)
        if mangled:
            return self.value(mangled[1]) >> 12 ^ self.value(mangled[2])
        total, sign = 0, 1
        for part in re.findall(r"[+-]|[^+-]+", text):
            if part in "+-":
                sign = 1 if part == "+" else -1
            else:
                total += sign * (int(part, 0) if part[0].isdigit() else self.known.get(part, 0))
        return total & MAX

    def say(self, text):
        self.lines.append(self.by + text)
        return text

    def pointer(self, text):
        """Return a name that means what an expression does, with its block if it is one's begin."""
        if text in self.blocks:
            return text
        self.say(f"alias p_ {self.place(text)} 1")
        return "p_"

    def place(self, text):
        name = re.match(r"[a-z]\w*", text)
        if name and name[0] in self.blocks:
            return text
        return f"{self.value(text):#x}"

    def is_wrong_access(self, text, nr_bytes):
        name, offset = re.fullmatch(r"([a-z]\w*)(?:([+-]\d+))?", text).groups()
        if name not in self.blocks:
            return False
        size = self.blocks[name]
        first = int(offset or 0)
        return size is None or first < 0 or first + nr_bytes > size

    def blame(self, is_wrong, text):
        if is_wrong and self.culprit is None:
            self.culprit = text

    def translate(self, nth, verb, *words):
        text = None
        match verb:
            case "malloc" | "calloc" | "memalign":
                text = self.say(" ".join([verb, *words]))
                sizes = [int(word, 0) for word in words[1:]]
                self.give(nth, words[0], sizes[0] * sizes[1] if verb == "calloc" else sizes[-1])
            case "realloc":
                name, pointer, size = words
                is_wrong = self.value(pointer) and self.blocks.get(pointer) is None
                self.say(f"alias {name} {self.place(pointer)} 1")
                text = self.say(f"realloc {name} {size}")
                self.blame(is_wrong, text)
                if pointer in self.blocks and (nth in self.found or not int(size, 0)):
                    self.blocks[pointer] = None
                if int(size, 0) or not self.value(pointer):
                    self.give(nth, name, int(size, 0))
            case "free":
                is_wrong = self.value(words[0]) and self.blocks.get(words[0]) is None
                text = self.say(f"free {self.pointer(words[0])}")
                self.blame(is_wrong, text)
                if words[0] in self.blocks:
                    self.blocks[words[0]] = None
            case "write" | "write1":
                nr_bytes = 8 if verb == "write" else 1
                what = f"store {self.place(words[0])} {self.value(words[1]):#x}"
                text = self.say(what if nr_bytes == 8 else f"{what} bytes=1")
                self.blame(self.is_wrong_access(words[0], nr_bytes), text)
            case "trim":
                text = self.say("malloc_trim")
            case "mallinfo2":
                text = self.say(verb)
            case "thread":
                self.say("thread T cpu=0")
                self.by = "T: "
            case "end":
                text = self.say("exit")
                self.by = ""
                self.say("sleep 1")
        self.doing.append(text)

    def give(self, nth, name, size):
        if nth in self.found:
            self.blocks[name] = size
            self.known[name] = self.found[nth]


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_a_program_ends_as_under_glibc_and_the_culprit_is_named_first(case):
    told = Translation(case)
    scenario = scenario_of(told.lines)
    process = evolve(scenario.processes[0], environment=case.get("env", {}))
    machine = run(evolve(scenario, processes=(process,), sanitize=SanitizeConfig(heap=True)))
    deaths = machine.machine.deaths()
    findings = machine.machine.findings()

    assert SIGNALS[case["signal"]] == tuple(death.signal for death in deaths)
    if case["signal"]:
        assert case["stderr"].rstrip("\n") == (deaths[0].message or "")
        assert deaths[0].operation.removeprefix("T: ") == told.doing[case["last_op"]]
    results = machine.results()
    for nth, _, offset, _ in case["blocks"]:
        if isinstance(offset, int):
            assert BASE + offset in results.values(), told.doing[nth]
    assert {finding.law for finding in findings} <= LAWS
    if told.culprit is None:
        assert {finding.law for finding in findings} <= {Law.HEAP_LEAK}
    else:
        assert f"`{told.culprit}`" in str(findings[0])
