"""The form of SLAB's recordings, and what of it a model could not be loaded with.

tests/reference/linux-6.1/kernel/slab/README.md describes the fields. What is checked beyond the
form: each page is of one slab, each object in one place, and what is freed was allocated.
"""

import re
from pathlib import Path
from typing import Any, Final

from mmactors.mm.slab import flags as slab_flags
from mmactors.validate.asked_caches import (
    CACHES_ASKED,
    CACHES_MAX,
    CREATED,
    SIZE_MAX,
    check_caches_asked,
    check_created,
)
from mmactors.validate.document import describe, read_object
from mmactors.validate.form import Either, Form, ListOf, Problems, Record, Text, Whole
from mmactors.validate.guest_boot import BOOT, nr_frames_of
from mmactors.validate.limits import CPUS_MAX, MEMORY_MIB_MAX

_ADVICE: Final = "tests/reference/linux-6.1/kernel/slab/README.md describes the fields"
_OPERATIONS_MAX: Final = 200_000
_NUM_MAX: Final = 255
_ENTRIES_MAX: Final = 4096
_FLAGS: Final = {
    1: slab_flags.SLAB_HWCACHE_ALIGN,
    4: slab_flags.SLAB_TYPESAFE_BY_RCU,
    8: slab_flags.SLAB_NOLEAKTRACE,
    16: slab_flags.SLAB_RECLAIM_ACCOUNT,
}
_CTOR: Final = 2
OPERATION: Final = (
    *("kind", "cpu", "asked_cache", "id", "size", "pfn", "index", "cache", "pages"),
    *("array_avail", "shared_avail", "slabs", "partial", "free", "colour_next"),
)
"""The words of an operation."""
INDEXES: Final = ("freelist_pfn", "freelist_index")
"""Two more, where arrays of indexes of asked caches are kmalloc objects."""
KINDS: Final = "afsr"

_COUNT: Final = Whole(0, 1 << 40)
_BIT: Final = Whole(0, 1)
_U32: Final = Whole(0, (1 << 32) - 1)
_NUMBERS: Final[dict[str, Form]] = {
    "object_size": Whole(1, SIZE_MAX),
    "size": Whole(8, SIZE_MAX),
    "align": Whole(1, SIZE_MAX),
    "num": Whole(1, _NUM_MAX),
    "order": Whole(0, 10),
    "colour": _COUNT,
    "colour_off": Whole(1, SIZE_MAX),
    "freelist_size": Whole(1, _NUM_MAX),
    "freelist": Text("object, off or end", re.compile("object|off|end")),
    "limit": Whole(1, _ENTRIES_MAX),
    "batchcount": Whole(1, _ENTRIES_MAX),
    "shared": _COUNT,
    "free_limit": _COUNT,
    "ctor": _BIT,
    "flags": _U32,
    "allocflags": _U32,
}
_PARAMS: Final[dict[str, Form]] = {"name": Text(chars_max=64), **_NUMBERS}
PARAMS: Final = tuple(_PARAMS)
"""What is recorded of each cache."""
_OBJECT: Final = ListOf(Whole(0, MEMORY_MIB_MAX << 8), minimum=2, maximum=2)
_ARRAY: Final[dict[str, Form]] = {
    "avail": Whole(0, _ENTRIES_MAX),
    "limit": Whole(1, _ENTRIES_MAX),
    "batchcount": _U32,
    "touched": _BIT,
    "entries": ListOf(_OBJECT, maximum=_ENTRIES_MAX),
}
_SLABS: Final = ListOf(
    ListOf(
        Either(
            number=Whole(-1, MEMORY_MIB_MAX << 8),
            text=Text("end", re.compile("end")),
            list_of=ListOf(Whole(0, MEMORY_MIB_MAX << 8), maximum=_NUM_MAX),
        ),
        minimum=2,
        maximum=5,
    )
)
_STATE: Final = Record(
    {
        "params": Record(_PARAMS),
        "cpus": ListOf(
            Record({"cpu": Whole(0, CPUS_MAX - 1), **_ARRAY}), minimum=1, maximum=CPUS_MAX
        ),
        "node": Record(
            {
                "free_objects": _COUNT,
                "free_limit": _COUNT,
                "free_touched": _BIT,
                "total_slabs": _COUNT,
                "free_slabs": _COUNT,
                "colour_next": _COUNT,
            }
        ),
        "partial": _SLABS,
        "free": _SLABS,
        "full": _SLABS,
    }
)
_STATES: Final = ListOf(_STATE, minimum=1, maximum=2 * CACHES_MAX)
_HEAD: Final[dict[str, Form]] = {
    "topic": Text("the text slab", re.compile("slab")),
    "scenario": Text("params, fill, lifo, fifo, mix, frag, cross, shrink or reap"),
    "boot": BOOT,
    "possible_cpus": Whole(1, 8192),
}
_CREATED: Final = Record(
    {
        **_HEAD,
        "slab": Record({"slab_max_order": Whole(0, 10)}),
        "system_caches": ListOf(Record(_PARAMS), maximum=1024),
        **CREATED,
    }
)
_SEQUENCE: Final = Record(
    {
        **_HEAD,
        "caches_asked": CACHES_ASKED,
        "kmalloc": _BIT,
        "pages_at_start": Whole(-(1 << 40), 1 << 40),
        "initial": _STATES,
        "final": _STATES,
        "held": ListOf(ListOf(Whole(-1, 1 << 40), minimum=5, maximum=5), maximum=_OPERATIONS_MAX),
        "op_columns": ListOf(Text(chars_max=64), maximum=64),
        "ops": ListOf(
            ListOf(Either(number=Whole(-(1 << 40), 1 << 40), text=Text("a, f, s or r"))),
            maximum=_OPERATIONS_MAX,
        ),
    }
)


def flags_of(asked: int) -> tuple[int, bool]:
    """Return SLAB_ flags, and whether there is a constructor."""
    flags = 0
    for bit, flag in _FLAGS.items():
        flags |= flag if asked & bit else 0
    return flags, bool(asked & _CTOR)


def read_recording(path: Path) -> dict[str, Any]:
    """Return a recording; raise UserError with all that is wrong."""
    content = read_object(path)
    problems = Problems(path=path, advice=_ADVICE)
    is_params = content.get("scenario") == "params"
    (_CREATED if is_params else _SEQUENCE).check(content, "", problems)
    problems.raise_any()
    if is_params:
        check_created(content, _NUMBERS, problems)
    else:
        check_caches_asked(content, problems)
        for name in ("initial", "final"):
            _check_states(content, name, problems)
        problems.raise_any()
        _check_ops(content, problems)
    problems.raise_any()
    return content


def _check_states(content: dict[str, Any], part: str, problems: Problems) -> None:
    """Check that states can be: each page is of one slab, each object in one place."""
    states = content[part]
    names = [state["params"]["name"] for state in states]
    nr_asked = len(content["caches_asked"])
    if names[:nr_asked] != [f"lab{nth}" for nth in range(nr_asked)] or len(set(names)) < len(names):
        problems.add(f"{part} has {describe(names)}", f"lab0 to lab{nr_asked - 1} first, each once")
    slabs_of = {name: _slabs_of(state) for name, state in zip(names, states, strict=True)}
    used: set[int] = set()
    for nth, state in enumerate(states):
        place, params = f"{part}[{nth}]", state["params"]
        numbers = [cpu["cpu"] for cpu in state["cpus"]]
        if numbers != list(range(content["boot"]["cpus"])):
            problems.add(f"{place}.cpus are {numbers}", f"those below {content['boot']['cpus']}")
        own = {slab[0]: slab for _, slab in slabs_of[state["params"]["name"]]}
        arrays = [(f"{place}.cpus[{mth}]", cpu) for mth, cpu in enumerate(state["cpus"])]
        shared = state.get("shared")
        if shared is not None:
            Record(_ARRAY).check(shared, f"{place}.shared", problems)
            problems.raise_any()
            arrays.append((f"{place}.shared", shared))
        things = {(pfn, index) for pfn in own for index in range(params["num"])}
        for where, array in arrays:
            entries = [tuple(entry) for entry in array["entries"]]
            if len(entries) != array["avail"] or array["avail"] > array["limit"]:
                problems.add(f"{where}.avail is {array['avail']}", f"{len(entries)}, up to limit")
            if len(set(entries)) < len(entries) or not things.issuperset(entries):
                problems.add(f"{where}.entries has {describe(entries)}", "objects of slabs, once")
            things.difference_update(entries)
        for where, slab in slabs_of[state["params"]["name"]]:
            _check_slab(f"{place}.{where}", slab, params, slabs_of, problems)
            pages = set(range(slab[0], slab[0] + (1 << params["order"])))
            if pages & used or max(pages) >= nr_frames_of(content):
                problems.add(f"{place}.{where} has page {slab[0]}", "pages of no other slab")
            used |= pages


_Slabs = list[tuple[str, list[Any]]]


def _slabs_of(state: dict[str, Any]) -> _Slabs:
    """Return the slabs of a state: where they stand, and themselves."""
    return [
        (f"{name}[{nth}]", slab)
        for name in ("partial", "free", "full")
        for nth, slab in enumerate(state[name])
        if type(slab[0]) is int
    ]


def _check_slab(
    place: str,
    slab: list[Any],
    params: dict[str, Any],
    slabs_of: dict[str, _Slabs],
    problems: Problems,
) -> None:
    pfn, offset, *rest = slab
    num, where = params["num"], params["freelist"]
    is_full = place.rpartition(".")[2].startswith("full")
    length = (2 + (where == "off")) if is_full else 5
    if len(slab) != length or not pfn > 0 or type(offset) is not int or offset < 0:
        problems.add(f"{place} has {len(slab)} values", f"{length}, pages and offsets first")
        return
    if pfn % (1 << params["order"]):
        problems.add(f"{place} has page {pfn}", f"a multiple of {1 << params['order']}")
    if offset + num * params["size"] > 4096 << params["order"]:
        problems.add(f"{place} has offset {offset}", f"room for {num} objects")
    kind = rest[0] if is_full and rest else rest[1] if rest else None
    legal = {
        "end": kind is None or kind == "end",
        "object": kind is None or (type(kind) is int and 0 <= kind < num),
        "off": isinstance(kind, list) and len(kind) == 2 and _is_object(kind, slabs_of),
    }[where]
    if not legal:
        problems.add(f"{place} has its indexes at {describe(kind)}", f"a place of kind {where}")
    if is_full:
        return
    active, indexes = rest[0], rest[2]
    if type(active) is not int or not 0 <= active < num or not isinstance(indexes, list):
        problems.add(f"{place} has {describe(active)} objects out", f"fewer than {num}, and a list")
    elif len(indexes) != num - active or len({*indexes} & {*range(num)}) < num - active:
        legal_indexes = f"{num - active} numbers below {num}, each once"
        problems.add(f"{place} has free indexes {describe(indexes)}", legal_indexes)


def _is_object(place: list[int], slabs_of: dict[str, _Slabs]) -> bool:
    """Return whether an array of indexes lies in a slab of kmalloc."""
    return any(
        slab[0] == place[0] and place[1] <= _NUM_MAX
        for name, slabs in slabs_of.items()
        if name.startswith("kmalloc-")
        for _, slab in slabs
    )


def _check_ops(content: dict[str, Any], problems: Problems) -> None:
    """Check that what is freed was allocated before, and not freed since."""
    columns = tuple(content["op_columns"])
    if columns not in (OPERATION, (*OPERATION, *INDEXES)):
        problems.add(f"op_columns are {describe(content['op_columns'])}", ", ".join(OPERATION))
        return
    nr_asked, nr_cpus = len(content["caches_asked"]), content["boot"]["cpus"]
    caches = range(-1 if content["kmalloc"] else 0, nr_asked)
    slabs = {
        slab[0]: state["params"]["num"]
        for state in content["initial"]
        for _, slab in _slabs_of(state)
    }
    live: set[int] = set()
    for nth, (number, asked, size, pfn, index) in enumerate(content["held"]):
        is_large = asked < 0 and pfn not in slabs and 0 < pfn < nr_frames_of(content)
        is_small = index < slabs.get(pfn, 0) and index >= 0
        if number in live or asked not in caches or size < 0 or not (is_small or is_large):
            problems.add(f"held[{nth}] is not in use", "an object of a slab, each number once")
        live.add(number)
    for nth, op in enumerate(content["ops"]):
        if len(op) != len(columns) or [type(word) for word in op] != [str] + [int] * (len(op) - 1):
            problems.add(f"ops[{nth}] is {op!r}"[:200], f"{', '.join(columns)}")
            continue
        kind, cpu, asked, number, size = op[:5]
        if kind not in KINDS or len(kind) != 1 or not 0 <= cpu < nr_cpus:
            problems.add(f"ops[{nth}] is {op!r}", f"a, f, s or r, and a CPU below {nr_cpus}")
        elif not -1 <= op[7] < len(content["initial"]):
            problems.add(f"ops[{nth}] is {op!r}", "a cache of initial, or -1")
        elif kind == "a":
            if asked not in caches or not 0 < size <= SIZE_MAX or number in live:
                problems.add(f"ops[{nth}] is {op!r}", "a cache, a size and a new number")
            live.add(number)
        elif kind == "f":
            if number not in live:
                problems.add(f"ops[{nth}] is {op!r}", "an object that was allocated before")
            live.discard(number)
