"""`logs --format ftrace` against the kernel's own trace: tests/reference/ftrace has its lines."""

import re
from pathlib import Path

import pytest

from mmactors.mm.page_alloc.buddy import PAGEBLOCK_ORDER as ORDER_OF_THE_MODEL
from mmactors.observe.ftrace import names
from mmactors.observe.ftrace.event_text import FORMATS, PAGEBLOCK_ORDER, event_text
from mmactors.observe.log_text import FTRACE_HEAD, FtraceText
from mmactors.scenario.event_names import event_classes

REFERENCE = Path(__file__).parents[1] / "reference" / "ftrace"
LINE = re.compile(r"^ *(.{1,16})-(\d+) +\[(\d+)\] (\S{5}) +(\d+)\.(\d{6}): (\w+): (.*)$")
NS = 1000

RENAMED = {
    "vm_unmapped_area": {"len": "length", "lo": "low_limit", "hi": "high_limit"}
    | {"mask": "align_mask", "ofs": "align_offset"},
    "sched_process_fork": {"comm": "parent_comm", "pid": "parent_pid"},
    "signal_generate": {"pid": "task_pid", "grp": "group", "res": "result"},
}
"""Where the kernel prints a field under another name than the tracepoint's own (or ours)."""
PRINTED_ONLY = {"page", "pageblock_order", "fragmenting"}
"""What is made of other fields; the model has no struct page, for one."""
NOT_PRINTED = {"zid", "address", "class", "holder", "wait_ns", "call"}
"""Fields of ours that the kernel does not print, or does not have."""
SYMBOLS_MASKED = re.compile(r"ip=[a-z_]\w*")
"""Instructions of the kernel: the model's have no addresses."""
PLACE_IN_FUNCTION = re.compile(r"(call_site=[a-z_][\w.]*)\+0x\w+/0x\w+")
"""Where in a function of the kernel's an object was asked for: the model knows the function."""


def formats():
    """Return the kernel's description of each event: its fields and its print fmt."""
    found = {}
    for part in ("\n" + (REFERENCE / "formats.txt").read_text()).split("\n= ")[1:]:
        name, _, rest = part.partition("\n")
        fields, _, text = rest.partition("print fmt: ")
        found[name] = fields.split("\n")[:-1], text
    return found


def c_value(text):
    """Return the value of a constant expression of C."""
    text = re.sub(r"\( ?(?:unsigned long|gfp_t)\)", "", text)
    return eval(re.sub(r"(0x[0-9a-f]+|\d)[uU]", r"\1", text))  # noqa: S307 - of our own file


def c_names(event):
    """Return the tables of flags and symbols in an event's print fmt, one after the other."""
    _, text = formats()[event]
    pairs = re.findall(r'\{ ?(.*?), "(.*?)" ?\}', text)
    return tuple((c_value(value), name) for value, name in pairs)


def number_of(text, table, none):
    """Return the flags that a text names; with the kernel's table, not with ours."""
    values = {name: value for value, name in table}
    return sum(
        values[part] if part in values else int(part, 16)
        for part in text.split("|")
        if part not in none
    )


def recorded():
    """Return each recorded line and its parts."""
    for path in sorted(REFERENCE.glob("*_cpu*.txt")):
        for line in path.read_text().splitlines():
            match = LINE.match(line)
            if match is not None:
                yield line, match


def masked(text):
    """Return what the kernel has printed as far as the model knows it."""
    return PLACE_IN_FUNCTION.sub(r"\1", SYMBOLS_MASKED.sub("ip=0x0", text))


def plain_value(text):
    """Return a number if the text is one."""
    return int(text, 0) if re.fullmatch(r"-?(?:0x[0-9a-f]+|[1-9]\d*|0)", text) else text


def fields_in(event, text):
    """Return our fields of an event from what the kernel has printed."""
    if event == "sys_enter":
        nr, args = re.fullmatch(r"NR (-?\d+) \((.*)\)", text).groups()
        return {"nr": int(nr), "args": [int(arg, 16) for arg in args.split(", ")]}
    if event == "sys_exit":
        nr, ret = re.fullmatch(r"NR (-?\d+) = (-?\d+)", text).groups()
        return {"nr": int(nr), "ret": int(ret)}
    if event == "contention_begin":
        lock, flags = re.fullmatch(r"(\w+) \(flags=(.*)\)", text).groups()
        table = c_names("lock/contention_begin")
        return {"lock": lock, "flags": number_of(flags, table, {""})}
    if event == "contention_end":
        lock, ret = re.fullmatch(r"(\w+) \(ret=(.*)\)", text).groups()
        return {"lock": lock, "ret": int(ret)}
    if event == "error_report_end":
        detector, what = re.fullmatch(r"\[(\w+)\] (\w+)", text).groups()
        return {"error_detector": detector, "finding": what}
    if event == "console":
        return {"msg": text}
    if event == "tlb_flush":
        pages, reason, number = re.fullmatch(r"pages:(-?\d+) reason:(.*) \((\d)\)", text).groups()
        assert (int(number), reason) in c_names("tlb/tlb_flush")
        return {"pages": int(pages), "reason": int(number)}
    pairs = dict(re.findall(r"(\w+)[=:](\S*)", PLACE_IN_FUNCTION.sub(r"\1", text)))
    found = {}
    for name, value in pairs.items():
        if name in PRINTED_ONLY:
            continue
        ours = RENAMED.get(event, {}).get(name, name)
        if event.startswith("sched_") and name == "pid" and ours == name:
            ours = "task_pid"
        match ours:
            case "gfp_flags":
                found[ours] = number_of(value, c_names("kmem/mm_page_alloc"), {"none"})
            case "prev_state":
                letters = number_of(value.rstrip("+"), c_names("sched/sched_switch"), {"R"})
                found[ours] = letters | (0x100 if value.endswith("+") else 0)
            case "call_site":
                found[ours] = value
            case "ptr" | "base_addr":
                found[ours] = int(value, 16)
            case "accounted":
                found[ours] = {"true": True, "false": False}[value]
            case "target_cpu":
                found[ours] = int(value)
            case "ip":
                found[ours] = None if SYMBOLS_MASKED.match(f"ip={value}") else int(value, 16)
            case _:
                found[ours] = plain_value(value)
    if pairs.get("page") == "0" * 16:
        found["pfn"] = None
    if event == "mm_page_free_batched":
        del found["order"]
    return found


def test_every_event_that_is_a_tracepoint_was_recorded():
    """The kernel has printed each of them; its description is there, and we have a format."""
    tracepoints = {
        f"{each.subsystem}/{each.name}"
        for each in event_classes().values()
        if each.subsystem != "mmactors"
    }

    assert tracepoints == set(formats())
    assert {name.split("/")[1] for name in tracepoints} == {match[7] for _, match in recorded()}
    assert {name.split("/")[1] for name in tracepoints} == set(FORMATS)


@pytest.mark.parametrize("event", sorted({match[7] for _, match in recorded()}))
def test_our_text_is_the_kernels(event):
    """What it printed, taken apart with its own tables and put together with ours, is the same."""
    compared = 0
    for line, match in recorded():
        if match[7] != event:
            continue
        record = {"event": event, **fields_in(event, match[8])}
        expected = masked(match[8])

        assert expected == event_text(record), line
        compared += 1

    assert compared > 0


def test_our_fields_are_the_tracepoints_own():
    """By name; what is missing on either side is said in its docstring."""
    wrong = {}
    for name, (fields, _) in formats().items():
        event = name.split("/")[1]
        known = {match[8] for _, match in recorded() if match[7] == event}
        ours = {key for text in known for key in fields_in(event, text)}
        declared = {
            attribute.name.rstrip("_")
            for attribute in event_classes()[event].__attrs_attrs__
            if attribute.name.rstrip("_") not in NOT_PRINTED or attribute.name in ours
        }
        if ours != declared:
            wrong[event] = ours ^ declared
        assert fields, f"{name} has fields"

    assert {} == wrong


def test_the_head_of_a_line_is_the_kernels():
    """Task, number, CPU and time; the flags are not known, and our times have nanoseconds."""
    text = FtraceText()
    for line, match in recorded():
        comm, pid, cpu, flags, seconds, us, event, _ = match.groups()
        record = {
            "t": (int(seconds) * 1_000_000 + int(us)) * NS,
            "actor": comm,
            "cpu": int(cpu),
            "pid": int(pid) or None,
            "tid": int(pid) or None,
            "event": event,
            **fields_in(event, match[8]),
        }
        expected = masked(line.replace(f" {flags} ", " ..... ", 1))

        assert expected == re.sub(r"(\.\d{6})000: ", r"\1: ", text.line(record), count=1)


def test_the_head_of_the_trace_is_the_kernels():
    """But for the line that says how many entries there are."""
    for path in REFERENCE.glob("*_cpu*.txt"):
        lines = path.read_text().splitlines()
        head = [line for line in lines if line.startswith("#")]

        assert FTRACE_HEAD.splitlines() == [head[0], *head[2:]]


@pytest.mark.parametrize(
    ("event", "table"),
    [
        ("lock/contention_begin", names.CONTENTION_FLAGS),
        ("sched/sched_switch", names.TASK_STATES),
        ("tlb/tlb_flush", names.TLB_FLUSH_REASONS),
    ],
)
def test_a_table_of_names_is_the_kernels(event, table):
    """All values and names, in its order."""
    assert c_names(event) == table


@pytest.mark.parametrize("event", ["kmem/mm_page_alloc", "vmscan/mm_vmscan_wakeup_kswapd"])
def test_the_table_of_gfp_flags_is_the_kernels(event):
    """All names in the kernel's order; it is searched from the front."""
    assert c_names(event) == names.GFP_NAMES


def test_the_order_of_a_pageblock_is_the_models():
    """The text does not import the buddy lists for it."""
    assert ORDER_OF_THE_MODEL == PAGEBLOCK_ORDER


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        (
            {"event": "vm_unmapped_area", "addr": 0, "err": -12, "total_vm": 1, "flags": 1}
            | {"length": 4096, "low_limit": 4096, "high_limit": 1 << 47}
            | {"align_mask": 0, "align_offset": -4096},
            (
                "addr=0x0 err=-12 total_vm=0x1 flags=0x1 len=0x1000 lo=0x1000 hi=0x800000000000 "
                "mask=0x0 ofs=0xfffffffffffff000"
            ),
        ),
        ({"event": "tlb_flush", "pages": -1, "reason": 2}, "pages:-1 reason:local shootdown (2)"),
        ({"event": "tlb_flush", "pages": 1, "reason": 9}, "pages:1 reason:0x9 (9)"),
        (
            {"event": "contention_begin", "lock": "x", "flags": 0x50},
            "x (flags=PERCPU|0x40)",
        ),
        (
            {"event": "sched_process_exit", "comm": "a name too long for it", "task_pid": 7}
            | {"prio": 120},
            "comm=a name too long pid=7 prio=120",
        ),
        (
            {"event": "kmem_cache_alloc", "call_site": "__kmem_cache_create", "bytes_req": 64}
            | {"bytes_alloc": 64, "gfp_flags": 0xCC0, "node": 0, "accounted": False}
            | {"ptr": 0xFFFF_8880_0100_0040},
            (
                "call_site=__kmem_cache_create ptr=ffff888001000040 bytes_req=64 bytes_alloc=64 "
                "gfp_flags=GFP_KERNEL node=0 accounted=false"
            ),
        ),
        (
            {"event": "kfree", "call_site": "krealloc", "ptr": 0},
            "call_site=krealloc ptr=0000000000000000",
        ),
        ({"event": "sys_enter", "call": "fragment A 2", "nr": None, "args": []}, None),
    ],
)
def test_what_was_not_seen_follows_the_format(record, expected):
    """Negative numbers, values without a name, long names; and a call that Linux does not have."""
    text = event_text(record)

    assert (expected or "call=fragment A 2 nr=- args=") == text
