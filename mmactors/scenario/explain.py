"""What a scenario will do, in words: the machine, its memory, each process, what is checked.

Computed from the same configuration and the same boot that a run uses; no machine is built.
"""

from collections.abc import Iterator, Sequence
from itertools import groupby

from mmactors.engine.chance import FAULTS
from mmactors.hw.config import CacheConfig, HardwareConfig, TlbConfig
from mmactors.mm.boot.boot import boot_memory, boot_zones, cpu_nodes_of
from mmactors.mm.boot.boot_log import boot_story
from mmactors.scenario.faults.config import FOR_EVER, FailSlab, FaultAttrConfig
from mmactors.scenario.schema import Scenario
from mmactors.units import PAGE_SIZE, format_bytes, format_ns
from mmactors.workload.operation.all import (
    Barrier,
    Brk,
    By,
    Churn,
    Compute,
    Cpu,
    Exit,
    Faultloop,
    Fragment,
    Generate,
    Madvise,
    Mmap,
    Mprotect,
    Munmap,
    Operation,
    Race,
    RunHeapTrace,
    RunTrace,
    Sleep,
    Spin,
    Stop,
    Thread,
    Touch,
    Wait,
)
from mmactors.workload.operation.malloc import ORDER_TRACE

_LINES_MAX = 40


def explain_scenario(scenario: Scenario) -> str:
    """Return the text, several lines."""
    lines = [
        *_machine(scenario),
        *_memory(scenario),
        *_engine(scenario),
        *_processes(scenario),
        *_checks(scenario),
    ]
    return "".join(f"{line}\n" for line in lines)


def explain_boot(scenario: Scenario) -> str:
    """Return how the machine boots: each call of memblock, zones, and what is handed over."""
    memory = scenario.machine.memory
    booted = boot_zones(memory, cpu_nodes_of(memory, scenario.machine.cpus))
    return "".join(f"{line}\n" for line in boot_story(booted))


def _machine(scenario: Scenario) -> Iterator[str]:
    hardware = scenario.machine.hardware
    nr_cpus = scenario.machine.cpus
    yield f"Machine: {count(nr_cpus, 'CPU')}, {hardware.levels}-level page tables"
    caches = [("L1I", hardware.l1i), ("L1D", hardware.l1d), ("L2", hardware.l2)]
    private = ", ".join(f"{name} {_cache(cache)}" for name, cache in caches if cache is not None)
    tlbs = [("instructions", hardware.itlb), ("data", hardware.dtlb), ("both", hardware.stlb)]
    yield f"  each CPU: {private}"
    yield f"  each CPU: TLBs for {', '.join(f'{name} {_tlb(tlb)}' for name, tlb in tlbs)}"
    walk = [f"{name} {_tlb(cache)}" for name, cache in _walk_caches(hardware)]
    yield f"  each CPU: walk caches {', '.join(walk) or 'none'}"
    yield f"  shared: LLC {_cache(hardware.llc)}, {hardware.llc_inclusion.replace('_', '-')}"


def _cache(cache: CacheConfig) -> str:
    return (
        f"{format_bytes(cache.size_bytes)} ({count(cache.ways, 'way')}, {cache.line_bytes}-byte "
        f"lines, {cache.replacement})"
    )


def _tlb(tlb: TlbConfig) -> str:
    return f"{tlb.entries} ({count(tlb.ways, 'way')})"


def _walk_caches(hardware: HardwareConfig) -> Iterator[tuple[str, TlbConfig]]:
    for name, cache in hardware.tlbs:
        needed = hardware.levels == 5 or not name.startswith("pgd")
        if name.endswith("_cache") and cache is not None and needed:
            yield name.removesuffix("_cache").upper(), cache


def _memory(scenario: Scenario) -> Iterator[str]:
    memory = scenario.machine.memory
    layout = boot_memory(memory, scenario.machine.cpus)
    yield f"Memory: {format_bytes(memory.size)} on {count(memory.nr_nodes, 'node')}; after boot"
    for zone in layout.zones:
        yield (
            f"  node {zone.node} {zone.name:<8} {zone.managed_pages:>9} pages "
            f"({zone.managed_pages * PAGE_SIZE / (1 << 20):.1f} MiB), watermarks "
            f"{zone.watermark_min_pages}/{zone.watermark_low_pages}/{zone.watermark_high_pages}, "
            f"per-CPU lists of up to {zone.pcp_high}, refilled by {zone.pcp_batch}"
        )


def _engine(scenario: Scenario) -> Iterator[str]:
    engine = scenario.engine
    order = {
        "fifo": "who could go first goes in order of arrival",
        "seeded": f"ties are permuted by seed {engine.seed}",
    }[engine.policy]
    if engine.policy == "seeded" and engine.jitter_percent:
        order += f", costs vary by up to {engine.jitter_percent} %"
    ahead = (
        f"a CPU runs ahead by up to {format_ns(engine.quantum_ns)}"
        if engine.quantum_ns
        else "exact, no CPU runs ahead"
    )
    yield f"Time: {order}; {ahead}; {engine.driver} driver{', guard mode' * engine.guard}"


def _processes(scenario: Scenario) -> Iterator[str]:
    instances = list(scenario.instances())
    yield f"Processes: {len(instances)}"
    at = 0
    for process in scenario.processes:
        cpus = [instance.cpu for instance in instances[at : at + process.copies]]
        at += process.copies
        name = process.name if process.copies == 1 else f"{process.name}.0 ... (alike)"
        where = f"CPU {cpus[0]}" if len(set(cpus)) == 1 else f"CPUs {_ranges(sorted(set(cpus)))}"
        goes_on = ", goes on after SIGSEGV and SIGBUS" * (process.on_signal == "continue")
        yield f"  {name}: {count(process.copies, 'process', 'processes')} on {where}{goes_on}"
        yield from _program(process.program)


def _program(program: Sequence[Operation]) -> Iterator[str]:
    groups = [(words, len(list(same))) for words, same in groupby(map(in_words, program))]
    for number, (words, repeat) in enumerate(groups[:_LINES_MAX], start=1):
        yield f"    {number}. {words}" + (f", {repeat} times" if repeat > 1 else "")
    if len(groups) > _LINES_MAX:
        yield f"    ... and {len(groups) - _LINES_MAX} more"
    if not any(isinstance(operation, Exit) for operation in program):
        yield f"    {min(len(groups), _LINES_MAX) + 1}. exits"


def _checks(scenario: Scenario) -> Iterator[str]:
    events = scenario.record.events
    if not events:
        yield "Recorded: no events"
    else:
        yield f"Recorded: {'all events' if '*' in events else 'events ' + ', '.join(events)}"
    if scenario.record.sample is not None:
        counters = ", ".join(scenario.record.counters)
        yield f"Sampled every {format_ns(scenario.record.sample)}: {counters}"
    faults = (getattr(scenario.faults, name) for name in FAULTS)
    for name, fault in zip(FAULTS, faults, strict=True):
        if fault.is_on:
            yield f"Injected: {name} {_when(fault)}"
    checks = ", ".join(map(str, scenario.expect))
    yield f"Checked at the end: {checks or 'nothing beyond the run itself'}"


def _when(fault: FaultAttrConfig) -> str:
    often = "" if fault.interval == 1 else f", one of {fault.interval}"
    limit = "" if fault.times == FOR_EVER else f", {count(fault.times, 'time')} at most"
    where = f", in {' or '.join(fault.require)}" if fault.require else ""
    if isinstance(fault, FailSlab) and fault.cache_filter:
        where += f", of {' or '.join(fault.cache_filter)}"
    return f"with a probability of {fault.probability} %{often}{limit}{where}"


def in_words(operation: Operation) -> str:
    """Return what an operation does, as a clause; rare ones as they are written."""
    match operation:
        case By(name=name, operation=plain, waits=waits):
            return f"{name} {in_words(plain)}{'' if waits else ', without waiting for it'}"
        case Mmap(name=name, length=length, file=None):
            return f"maps {format_bytes(length)} of anonymous memory as {name}"
        case Mmap(name=name, length=length, file=file):
            return f"maps {format_bytes(length)} of the file {file} as {name}"
        case Munmap(range=region):
            return f"unmaps {region}"
        case Mprotect(range=region, prot=prot):
            return f"makes {region} {prot.name or 'inaccessible'}"
        case Madvise(range=region, advice=advice):
            return f"advises {advice} for {region}"
        case Touch(range=region, access=access):
            return f"{access}s one byte of each page of {region}{_touch_options(operation)}"
        case RunTrace(path=path, limit=limit, repeat=repeat, format=form):
            first = f"the first {limit} accesses of " if limit is not None else ""
            again = f", {repeat} times" if repeat > 1 else ""
            read = f", read as {form}" if form is not None else ""
            return f"executes {first}the trace {path}{read}{again}"
        case RunHeapTrace():
            return _heap_trace(operation)
        case Generate(range=region):
            return f"accesses {region} {_pattern(operation)}"
        case Compute(duration_ns=ns):
            return f"computes for {format_ns(ns)} without touching memory"
        case Thread(name=name, cpu=cpu):
            return f"starts the thread {name} on CPU {cpu}, which shares its memory"
        case Churn(count=number, length=length, touch=touch):
            touched = ", touching each page" if touch else ""
            return f"maps and unmaps {format_bytes(length)} {number} times{touched}"
        case Faultloop(range=region, count=number):
            return f"writes every page of {region} and gives it back, {number} times"
        case Fragment(range=region, group=group, keep=keep):
            return f"writes every page of {region}, then keeps {keep} of each {group}"
        case Brk(change=change):
            return f"moves the program break by {change} bytes"
        case Barrier():
            return f"waits at {operation}"
        case Race():
            return "has set everything up: what follows is the race"
        case Cpu(cpu=cpu):
            return f"moves to CPU {cpu}"
        case Spin():
            return "spins until it is stopped"
        case Stop(name=name):
            return f"stops {name}"
        case Wait():
            return "waits for all operations under way"
        case Sleep():
            return f"sleeps ({operation})"
        case Exit():
            return "exits"
        case _:
            return f"calls `{operation}`"


def _touch_options(touch: Touch) -> str:
    words = str(touch).split()[1:]
    options = [word for word in words if word.partition("=")[0] in _TOUCH_OPTIONS]
    return f" ({', '.join(options)})" if options else ""


def _heap_trace(operation: RunHeapTrace) -> str:
    first = "" if operation.limit is None else f"the first {operation.limit} operations of "
    read = "" if operation.format is None else f", read as {operation.format}"
    touch = {"first": "writes the first byte of each block", "all": "writes all of each block"}
    touches = touch.get(operation.touch, "touches no block")
    order = "in its order" if operation.order == ORDER_TRACE else "each thread at its own pace"
    return f"does {first}the heap trace {operation.path}{read}, {order}, and {touches}"


def _pattern(generate: Generate) -> str:
    _, kind, *words = str(generate).split()
    options = ", ".join(word for word in words if "=" in word)
    return f"by the pattern {kind}" + (f" ({options})" if options else "")


_TOUCH_OPTIONS = ("step", "passes", "order", "count")


def count(number: int, noun: str, plural: str | None = None) -> str:
    """Return `1 CPU`, `2 CPUs`."""
    return f"{number} {noun if number == 1 else plural or noun + 's'}"


def _ranges(numbers: Sequence[int]) -> str:
    """Return sorted numbers as `0-3, 7`."""
    parts = []
    for _, run in groupby(enumerate(numbers), key=lambda pair: pair[1] - pair[0]):
        members = [number for _, number in run]
        parts.append(str(members[0]) if len(members) == 1 else f"{members[0]}-{members[-1]}")
    return ", ".join(parts)
