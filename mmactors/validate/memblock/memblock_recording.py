"""Recorded boots: reading one, and saying what is wrong with it.

The form is that of linux-6.1/kernel (topic `memblock`): the firmware's map, the kernel arguments,
memblock's calls with both lists at two moments, and what the kernel says about zones.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from attrs import frozen

from mmactors.mm.boot.boot import SIZE_MAX, place_initramfs
from mmactors.mm.boot.cmdline import DEFAULT_COMMAND_LINE
from mmactors.mm.boot.e820 import TYPES_BY_TEXT, E820Entry, ram_below_4g
from mmactors.mm.boot.firmware import Firmware, NodeRange, memory_affinity
from mmactors.mm.boot.kernel_image import DEBIAN_6_1, INITRAMFS_BYTES
from mmactors.mm.boot.memblock import OutOfBootMemoryError
from mmactors.units import TIB, format_bytes, parse_bytes
from mmactors.validate.document import cut, describe, read_object
from mmactors.validate.form import ListOf, Problems, Record, Text, Whole
from mmactors.validate.limits import CPUS_MAX, TEXT_CHARS_MAX

_ADVICE: Final = "tests/reference/linux-6.1/kernel/memblock/README.md describes its fields"
_NODES_MAX: Final = 64
_PHYSICAL_MAX: Final = 64 * TIB
"""Where physical addresses end for a kernel with four levels of page tables."""
_ENTRIES_MAX: Final = 512
_WORDS: Final = ("one", "two", "three", "four", "five", "six", "seven", "eight")

_ADDRESS: Final = re.compile(r"[0-9a-f]{1,16}")
_ADDRESS_FORM: Final = Text("an address of up to 16 hexadecimal digits", _ADDRESS)


@frozen
class Call:
    """A call of memblock, in one of its two forms."""

    legal: str = (
        "[function, from, to, caller] or [function, bytes, align, node, from, max, caller], "
        "addresses of up to 16 hexadecimal digits"
    )

    def check(self, value: object, path: str, problems: Problems) -> None:
        """Add what is wrong with a call."""
        match value:
            case [str(), str(start), str(end), str()]:
                addresses = [start, end]
            case [str(), int(nr_bytes), str(align), int() | None, str(start), str(end), str()] if (
                nr_bytes >= 0 and not isinstance(nr_bytes, bool)
            ):
                addresses = [align, start, end]
            case _:
                problems.add(f"{path} is {describe(value)}", self.legal)
                return
        for address in addresses:
            if not _ADDRESS.fullmatch(address):
                problems.add(f"{path} has {cut(address)!r}", _ADDRESS_FORM.legal)


@frozen
class Range:
    """A range with what it is: `[from, to, text]`, both inclusive."""

    legal: str = "[from, to, text], from and to of up to 16 hexadecimal digits"

    def check(self, value: object, path: str, problems: Problems) -> None:
        """Add what is wrong with a range."""
        match value:
            case [str(start), str(end), str()] if _ADDRESS.fullmatch(start) and _ADDRESS.fullmatch(
                end
            ):
                if int(start, 16) > int(end, 16):
                    problems.add(f"{path} is {start} to {end}", "a range that rises")
            case _:
                problems.add(f"{path} is {describe(value)}", self.legal)


_ROW: Final = ListOf(Text("a name or a range"), 2, 2)
_FORM: Final = Record(
    {
        "topic": Text("memblock", re.compile("memblock")),
        "boot": Record(
            {"cpus": Whole(1, CPUS_MAX), "append": Text("kernel arguments")},
            {"mem": Text("a size"), "numa": Text("the nodes, in words")},
        ),
        "e820": ListOf(Range(), 1, _ENTRIES_MAX),
        "calls": ListOf(Call()),
        "dumps": ListOf(
            Record(
                {
                    "after_calls": Whole(0),
                    "memory": ListOf(Range()),
                    "reserved": ListOf(Range()),
                }
            )
        ),
        "zone_ranges": ListOf(_ROW),
        "log": ListOf(Text("a line")),
        "zoneinfo": ListOf(Text("a line")),
    },
    {
        "memory_line": Text("a line"),
        "percpu_line": Text("a line"),
        "iomem": Text("the text of /proc/iomem", chars_max=TEXT_CHARS_MAX),
    },
)
_SRAT = re.compile(r"ACPI: SRAT: Node (\d+) PXM \d+ \[mem 0x([0-9a-f]+)-0x([0-9a-f]+)\]")
_Q35_ENTRY: Final = ["00000000b0000000", "00000000bfffffff", "reserved"]
"""Only QEMU's q35 machine keeps this range."""
_SLIT: Final = "ACPI: Reserving SLIT "
_COMMAND_LINE: Final = "Kernel command line: "
_PLACE = re.compile(r"CPU (\d+) on node (\d+)")
_NODES = re.compile(rf"({'|'.join(_WORDS)}|\d+) nodes? of (\d{{1,9}}[KMG]?)")


@frozen(kw_only=True)
class BootRecording:
    """A recorded boot: what the kernel was given, and what it did."""

    firmware: Firmware
    command_line: str
    content: dict[str, Any]


def read_recording(path: Path) -> BootRecording:
    """Return a recording; raise UserError with all that is wrong with it."""
    content = read_object(path)
    problems = Problems(path=path, advice=_ADVICE)
    _FORM.check(content, "", problems)
    if not problems:
        for found, legal in _problems_of(content):
            problems.add(found, legal)
    problems.raise_any()
    firmware = _firmware_of(content, problems)
    problems.raise_any()
    return BootRecording(firmware=firmware, command_line=_command_line(content), content=content)


def _problems_of(content: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield what the parts are wrong with together, as found and legal."""
    end = nr_bytes = 0
    for nth, (start_text, end_text, type_) in enumerate(content["e820"]):
        start, last = int(start_text, 16), int(end_text, 16)
        if type_ not in TYPES_BY_TEXT:
            yield f"e820[{nth}] is of type {cut(type_)!r}", f"one of {', '.join(TYPES_BY_TEXT)}"
        if start < end:
            yield f"e820[{nth}] begins at {start_text}", "ranges in order that do not overlap"
            return
        end = last + 1
        nr_bytes += end - start if type_ == "usable" else 0
        if type_ == "usable" and end > _PHYSICAL_MAX:
            yield f"e820[{nth}] ends at {end_text}", f"memory below {format_bytes(_PHYSICAL_MAX)}"
    if nr_bytes > SIZE_MAX:
        yield f"e820 has {nr_bytes} bytes of memory", f"at most {format_bytes(SIZE_MAX)}"
    nodes = [(match[1], line) for line in content["log"] if (match := _SRAT.fullmatch(line))]
    numa = content["boot"].get("numa", "")
    nodes += [(node, numa) for _, node in _PLACE.findall(numa)]
    for node, text in nodes:
        if len(node) > len(str(_NODES_MAX)) or int(node) >= _NODES_MAX:
            yield f"a node is {cut(node)} in {cut(text)!r}", f"nodes below {_NODES_MAX}"
            return


def _firmware_of(content: dict[str, Any], problems: Problems) -> Firmware:
    """Return what the firmware and the boot loader gave this kernel."""
    entries = tuple(
        E820Entry(start=int(start, 16), end=int(end, 16) + 1, type=TYPES_BY_TEXT[type_])
        for start, end, type_ in content["e820"]
    )
    affinity = tuple(
        NodeRange(int(match[1]), int(match[2], 16), int(match[3], 16) + 1)
        for line in content["log"]
        if (match := _SRAT.fullmatch(line))
    )
    boot = content["boot"]
    affinity = affinity or _affinity_in_words(boot.get("numa", ""))
    cpu_node = [0] * boot["cpus"]
    for cpu, node in _PLACE.findall(boot.get("numa", "")):
        if len(cpu) < 5 and int(cpu) < len(cpu_node):
            cpu_node[int(cpu)] = int(node)
    try:
        initramfs = place_initramfs(entries, INITRAMFS_BYTES, DEBIAN_6_1)
    except (OutOfBootMemoryError, ValueError) as error:
        problems.add(f"e820 has no room: {error}", "memory below 4 GiB for kernel and initramfs")
        initramfs = (0, 0)
    return Firmware(
        entries=entries,
        cpu_node=tuple(cpu_node),
        memory_affinity=affinity,
        has_distances=any(line.startswith(_SLIT) for line in content["log"]),
        machine="q35" if _Q35_ENTRY in content["e820"] else "pc",
        initramfs=initramfs,
    )


def _affinity_in_words(text: str) -> tuple[NodeRange, ...]:
    """Return the nodes of a machine whose kernel does not print them (`numa=off`)."""
    match = _NODES.search(text)
    if match is None:
        return ()
    nr_nodes = _WORDS.index(match[1]) + 1 if match[1] in _WORDS else int(match[1][:4])
    sizes = [parse_bytes(match[2])] * min(nr_nodes, _NODES_MAX)
    return memory_affinity(sizes, ram_below_4g=ram_below_4g(sum(sizes), machine="pc"))


def _command_line(content: dict[str, Any]) -> str:
    """Return the arguments as the kernel printed them; what it printed may be cut off."""
    asked = f"{DEFAULT_COMMAND_LINE} {content['boot']['append']}".rstrip()
    for line in content["log"]:
        if line.startswith(_COMMAND_LINE):
            text = str(line.removeprefix(_COMMAND_LINE))
            return asked if asked.startswith(text) else text
    return asked
