"""Words of operations, drawn: whatever an operation of the language may be given.

What an operation takes is looked up in its grammar, so that none is forgotten: a new one is drawn
as soon as it can be written. Names are those that the program has bound so far, mostly.
"""

from attrs import define, field

from mmactors.actors.program.proc_paths import NO_HUGE_PAGES, NOT_OBEYED, SYSCTL
from mmactors.actors.program.supported import NOT_YET
from mmactors.left_out import left_out_called
from mmactors.mm.syscall.sysctl import VM_SETTINGS
from mmactors.workload.operation.all import OPERATIONS
from mmactors.workload.operation.generator import PATTERNS
from mmactors.workload.operation.grammar import arguments_of
from mmactors.workload.operation.memory import pattern_arguments
from mmactors.workload.operation.slab import MAY_NOT_SLEEP

FIRST = "P0"
NAMES = ("A", "B", "C", "D", "T1", "T2", "P1", "P2")
FILES = ("F", "G")
PATHS = ("/shm/a", "/shm/b", "/data/c", "/data/a file")
ODD_PATHS = ("shm/a", "//shm//b", "/data/../shm/./a", "a", "..", "/", "/shm/a/", "/shm/a/b", "/mnt")
ODD_PATHS += ("x" * 255, "x" * 256, "/y" * 2048)
TRACE = "../../reference/traces/true.npz"
HEAP_TRACE = "../../reference/malloc/real_zstd.npz"
_MACHINE_FILES = (
    "vmstat",
    "meminfo",
    "vmallocinfo",
    "buddyinfo",
    "zoneinfo",
    "interrupts",
    "stat",
    "nothing",
)
_PROCESS_FILES = ("maps", "smaps", "status", "statm", "stat", "oom_score_adj", "nothing")
PROC = (
    *(f"/proc/{name}" for name in _MACHINE_FILES),
    *(f"/proc/self/{name}" for name in _PROCESS_FILES),
    *("/proc/1/maps", "/proc/2/status", "/proc/99/maps", "/proc/pagetypeinfo", "/sys/nothing"),
    "/proc/slabinfo",
    *(f"/sys/kernel/slab/{name}" for name in ("filp/objects", "anon_vma_chain/cpu_slabs", "x/y")),
    *(SYSCTL + name for name in (*VM_SETTINGS, "drop_caches", "compact_memory", "stat_refresh")),
    *NO_HUGE_PAGES,
    *sorted(NOT_OBEYED)[:3],
)
OBEYED = tuple(path for path in PROC if path not in NOT_OBEYED and path not in NO_HUGE_PAGES)
VALUES = ("0", "1", "2", "3", "4", "never", "always", "-1", "50", "4096", "65536", "x", "9" * 30)
SIZES = (4096, 4096, 8192, 12288, 20480, 65536, 65536, 262144)
ODD_SIZES = (0, 1, 4095, 4097, 2 << 20, 16 << 20, (1 << 30) + 1, 1 << 47, 1 << 63, (1 << 64) - 1)
NUMBERS = (1, 1, 2, 3, 5, 7, 8)
ODD_NUMBERS = (-1000, -1, 0, 16, 63, 64, 100, 511, 512, 1000, 8191, 1 << 31, 1 << 40, (1 << 62) - 1)
TIMES = ("0ns", "1ns", "250ns", "3us", "40us", "1ms")
ODD_TIMES = ("1s", "4611686018427387903ns")
HIGH = ("0x0", "0x1000", "0x10000", "0x7d00000000", "0x7ffffffff000", "0x800000000000")
HIGHEST = ("0x8000000000000000", "0xffffffff80000000", "0xfffffffffffff000", "0xffffffffffffffff")
EDGES = (HIGH[0], HIGH[1], HIGH[2], *HIGHEST)
"""Beside these an address may leave 64 bits."""
VERBS = (*(verb for verb in OPERATIONS if verb != "generate"), *(f"generate {p}" for p in PATTERNS))
MALLOCS = ("malloc", "calloc", "realloc", "memalign", "aligned_alloc", "posix_memalign")
NEW = {
    *(("mmap", "name"), ("heap", "name"), ("alias", "name"), ("mremap", "store_as")),
    *(("alloc_pages", "name"), ("pin", "device"), ("open", "file")),
    *((verb, "name") for verb in ("kmem_cache_create", "kmem_cache_alloc", "kmalloc", "kzalloc")),
    *((verb, "name") for verb in ("percpu_ref_init", "alloc_percpu", "alloc_reserved_percpu")),
    *((verb, "name") for verb in ("vmalloc", "vzalloc", "vmap", "vm_map_ram", "get_vm_area")),
    *(("fork", "child"), ("thread", "name"), ("barrier", "name")),
    *((verb, "name") for verb in MALLOCS),
}
"""Arguments that are names which the operation makes."""
MAKES_OBJECTS = ("kmem_cache_create", "kmem_cache_alloc", "kmalloc", "kzalloc", "percpu_ref_init")
GIVES_BACK = {
    "vfree": ("vmalloc", "vzalloc"),
    "vunmap": ("vmap",),
    "vm_unmap_ram": ("vm_map_ram",),
    "free_vm_area": ("get_vm_area",),
}
"""By what gives an area back: what makes those that it is for."""
MAKES_AREAS = ("vmalloc", "vzalloc", "vmap", "vm_map_ram", "get_vm_area")
MAKES_OBJECTS += ("alloc_pages", *MAKES_AREAS)
MAKES_PERCPU = ("alloc_percpu", "alloc_reserved_percpu")
MAKES_OBJECTS += MAKES_PERCPU
CAREFUL = "own"
"""How names of objects begin with which nobody makes mistakes."""
PERCPU_BYTES = 32768
"""Of a per-CPU area: there is none that is larger."""
MOST_TOUCHED = 1 << 20
"""Of an object, in bytes: who touches more has perhaps no object."""


def arguments(verb):
    """Return the arguments of a verb, or of `generate PATTERN`, in the order of the grammar."""
    head, _, pattern = verb.partition(" ")
    own = arguments_of(OPERATIONS[head])
    return {**own, **pattern_arguments(pattern)} if pattern else own


@define
class Object:
    """An object of the kernel's, as far as the author can know."""

    owner: str
    """Who allocated it, and is to free it."""
    size: int
    """So many bytes may be touched."""
    cache: str | None
    """None: it is kmalloc's."""
    how: str = ""
    """What made the area that it is; empty: it is none."""
    block: str = ""
    """Whose pages it maps."""


@define
class Ref:
    """A reference count, as far as the author can know."""

    owner: str
    may_reinit: bool
    """It may change its mode back."""
    is_live: bool
    was_switched: bool = False
    """Its mode has changed: when it is released, only its release function knows."""
    nr_held: int = 0
    """References but the first."""

    def suits(self, verb):
        """Return whether an operation on it is no mistake."""
        match verb.removeprefix("percpu_ref_"):
            case "get" | "tryget" | "tryget_live":
                return self.is_live or self.nr_held
            case "put":
                return self.nr_held
            case "switch_to_percpu":
                return self.is_live and self.may_reinit
            case "reinit":
                return not self.is_live and not self.was_switched
            case "exit":
                return not self.was_switched and not self.nr_held
        return self.is_live

    def see(self, verb):
        """Follow what an operation makes of it."""
        match verb.removeprefix("percpu_ref_"):
            case "get" | "tryget":
                self.nr_held += 1
            case "tryget_live":
                self.nr_held += self.is_live
            case "put":
                self.nr_held -= 1
            case "kill" | "kill_and_confirm":
                self.is_live, self.was_switched = False, True
            case "reinit":
                self.is_live = self.was_switched = True
            case "switch_to_atomic_sync" | "switch_to_percpu":
                self.was_switched = True


@define
class Known:
    """What a program has made so far, as far as its author can know."""

    ranges: dict[str, int] = field(factory=dict)
    mallocs: set[str] = field(factory=set)
    """Of them those that malloc has given, and nobody has freed."""
    files: set[str] = field(factory=set)
    devices: set[str] = field(factory=set)
    blocks: dict[str, Object] = field(factory=dict)
    caches: dict[str, Object] = field(factory=dict)
    objects: dict[str, Object] = field(factory=dict)
    refs: dict[str, Ref] = field(factory=dict)
    percpu: dict[str, Object] = field(factory=dict)
    children: set[str] = field(factory=set)
    threads: set[str] = field(factory=set)
    spinning: set[str] = field(factory=set)
    locked: set[str] = field(factory=set)
    """Ranges whose first word is a lock that was taken."""


@define
class Author:
    """Writes the operations of one program."""

    random: object
    nr_cpus: int
    is_careless: bool = False
    """Now and then it writes what no check lets pass, and what is a mistake with objects."""
    nr_nodes: int = 1
    known: Known = field(factory=Known)
    verbs: tuple[str, ...] = VERBS
    by: str = FIRST
    """Who does the operation that is being written."""
    nr_objects: int = 0
    touched_object: str = ""
    first_touched: int = 0

    def often(self, percent):
        return self.random.random() * 100 < percent

    def one(self, usual, odd=(), percent=6):
        return self.random.choice(odd if odd and (not usual or self.often(percent)) else usual)

    def known_or(self, known, names):
        """Return one of the names that are known, or, of a careless author, any."""
        if self.is_careless and self.often(4):
            return self.random.choice(names)
        return self.one(sorted(known), names, 0)

    # Words.

    def word(self, verb, name, argument):
        """Return what may stand for an argument."""
        kind = argument.kind
        head = verb.partition(" ")[0]
        match kind.symbol:
            case "NAME" | "FILE":
                return self.name(head, name)
            case "OFFSET" | "SIZE" if verb in ("poke", "peek", "per_cpu_write", "per_cpu_read"):
                return self.touched(kind, name)
            case "RANGE":
                return self.range()
            case "ADDRESS" if head.startswith(("atomic_", "futex_", "lll_")):
                return self.word_address(head)
            case "ADDRESS":
                return self.address()
            case "+SIZE|-SIZE|0":
                return self.random.choice("+-") + str(self.one(SIZES, ODD_SIZES))
            case "PATH":
                return self.path(head)
            case _ if (verb, name) == ("fragment", "group") and not self.is_careless:
                return str(self.one((2, 3, 8), (64, 1 << 40)))
            case "WORD":
                return self.one(NAMES)
            case "VALUE":
                return self.one(VALUES)
            case "N" if (head, name) == ("futex_wait", "value"):
                return self.one(("0", "0", "1", "2"), ("4294967295",))
            case "TIME":
                return self.one(TIMES, ODD_TIMES, 3)
            case "CPU":
                return str(
                    self.one(range(self.nr_cpus), (self.nr_cpus, 8191), 4 * self.is_careless)
                )
            case "NODE":
                odd = (self.nr_nodes, 1023)
                return str(self.one(range(self.nr_nodes), odd, 4 * self.is_careless))
            case "FLAG,..." | "PROT":
                return self.flags(kind)
            case "rev|rand:SEED" | "rand:SEED":
                return self.one(("rand:0", "rand:7", f"rand:{(1 << 64) - 1}", *kind.choices))
        if kind.choices:
            choices = kind.choices
            if not self.is_careless:
                choices = [word for word in choices if left_out_called(word) is None]
            if verb in ("trace", "heap_trace") and "npz" in choices:
                choices = choices if self.is_careless else ("npz",)
            return self.one(choices)
        return self.number(kind, name)

    def number(self, kind, name):
        is_size = kind.symbol == "SIZE"
        usual, odd = (SIZES, ODD_SIZES) if is_size else (NUMBERS, ODD_NUMBERS)
        if name in ("offset", "offset_bytes"):
            usual = (0, 0, 4096, 8192)
        if name.endswith("_bytes"):
            usual, odd = (8, 64, 4096, 1024), (1, 16, 3, 65536, *ODD_SIZES)
        legal = [n for n in usual if is_legal(kind, n)], [n for n in odd if is_legal(kind, n)]
        return str(self.one(*legal))

    def flags(self, kind):
        words = list(kind.choices)
        if kind.symbol == "FLAG,..." and "anon" in words and self.often(75):
            words = ["populate", "locked", "noreserve", "fixed", "32bit", "growsdown"]
            base = [
                self.one(("private", "private", "shared")),
                *(["anon"] if self.often(70) else []),
            ]
            return ",".join([*base, *self.random.sample(words, self.one((0, 0, 1, 2)))])
        words = [word for word in words if word != "none"]
        if not self.is_careless and "cache_dma32" in words:
            words.remove("cache_dma")
        chosen = self.random.sample(words, min(len(words), self.one((1, 1, 2), (0, 3, 12))))
        if kind.symbol == "PROT":
            chosen = [
                word for word in chosen if len(chosen) == 1 or word not in ("rw", "rx", "rwx")
            ]
        return ",".join(chosen) or "none"

    def path(self, verb):
        if verb == "trace":
            return TRACE
        if verb == "heap_trace":
            return HEAP_TRACE
        if verb in ("get", "put"):
            path = self.one(PROC)
            careful = verb == "put" and not self.is_careless
            return self.one(OBEYED) if careful and path not in OBEYED else path
        return quoted(self.one(PATHS, ODD_PATHS))

    def range(self):
        region = self.known_or(self.known.ranges, NAMES)
        is_nothing_mapped = not self.known.ranges and not self.is_careless
        if is_nothing_mapped or self.often(12):
            size = self.one(SIZES, ODD_SIZES, 20)
            return f"@{self.address()}:{size}"
        if self.often(25):
            nr_pages = max(1, self.known.ranges.get(region, 4096) >> 12)
            first = self.random.randrange(min(nr_pages, 64))
            end = self.one((first + 1, nr_pages, first + 9), (first,), 4 * self.is_careless)
            return f"{region} {first}..{end}"
        return region

    def address(self):
        base = self.one(
            [*self.known.ranges, *self.known.ranges, "stack", "brk"], HIGH + HIGHEST, 25
        )
        if self.often(40) or (base in EDGES and not self.is_careless):
            return base
        return f"{base}{self.random.choice('+-')}{self.one(SIZES, ODD_SIZES, 4)}"

    def word_address(self, verb):
        """Return where a word lies: mostly in a range, and as a lock that suits an operation."""
        ranges = sorted(self.known.ranges)
        if not ranges or self.often(50 if self.is_careless else 10):
            return self.address()
        if verb.startswith("lll_") and not self.is_careless:
            return self.one(self.fit_locks(verb))
        return f"{self.one(ranges)}{self.one(('', '', '+4', '+4K', '+64'), ('+4094', '+1'), 4)}"

    def fit_locks(self, verb):
        """Return the ranges whose first word may be given to an operation on locks."""
        known = self.known
        match verb:
            case "lll_lock":
                return sorted(set(known.ranges) - known.locked)
            case "lll_unlock":
                return sorted(known.locked)
        return sorted(known.ranges)

    def name(self, verb, name):
        known = self.known
        if (verb, name) in NEW:
            if verb in MAKES_OBJECTS and not self.is_careless:
                self.nr_objects += 1
                return f"{CAREFUL}{self.nr_objects}"
            return self.one(FILES if name == "file" else NAMES)
        match name:
            case "file":
                return self.known_or(known.files, FILES)
            case "device":
                return self.known_or(known.devices, NAMES)
            case "block":
                return self.known_or(self.fit_blocks(verb), NAMES)
            case "area":
                self.touched_object = self.known_or(self.fit_objects(verb), NAMES)
                return self.touched_object
            case "cache":
                if verb == "kmem_cache_free" and not self.is_careless:
                    return known.objects[self.touched_object].cache
                return self.known_or(self.own(known.caches), NAMES)
            case "ref":
                return self.known_or(self.fit_refs(verb), NAMES)
            case "percpu":
                self.touched_object = self.known_or(self.fit_percpu(verb), NAMES)
                return self.touched_object
            case "release":
                return self.known_or(self.own(known.objects), NAMES)
            case "object":
                self.touched_object = self.known_or(self.fit_objects(verb), NAMES)
                return self.touched_object
            case "pointer":
                return self.known_or(known.mallocs or known.ranges, NAMES)
            case "child":
                return self.known_or(known.children, NAMES)
            case "thread":
                return self.known_or(known.children | known.threads | {FIRST}, NAMES)
        return self.known_or(known.spinning, NAMES)

    # Objects of the kernel's: who is careful has its own, and frees each once.

    def own(self, known):
        if self.is_careless:
            return known
        return [name for name, each in known.items() if each.owner == self.by]

    def fit_objects(self, verb):
        """Return the objects that may be given to an operation."""
        known = self.known
        own = self.own(known.objects)
        if self.is_careless:
            return own
        match verb:
            case "kmem_cache_free":
                return [name for name in own if known.objects[name].cache in known.caches]
            case "krealloc":
                own = [name for name in own if known.objects[name].cache is None]
            case _ if verb in GIVES_BACK:
                return [name for name in own if known.objects[name].how in GIVES_BACK[verb]]
            case "poke" | "peek":
                return [name for name in own if 0 < known.objects[name].size <= MOST_TOUCHED]
        return [name for name in own if not known.objects[name].how]

    def area(self, verb, values):
        """Return what a verb makes; only what is mapped for sure may be touched."""
        block = values.get("block", "")
        if verb == "get_vm_area":
            size = 0
        elif block:
            size = int(values.get("count", 1)) << 12 if block in self.known.blocks else 0
            size *= int(values.get("count", 1)) <= 1 << self.known.blocks[block].size if size else 0
        else:
            size = int(values["length"])
        return Object(self.by, size, "", verb, block)

    def fit_blocks(self, verb):
        """Return the blocks that may be given to an operation: pages that are mapped stay."""
        own = self.own(self.known.blocks)
        if self.is_careless or verb != "free_pages":
            return own
        mapped = {each.block for each in self.known.objects.values()}
        return [name for name in own if name not in mapped]

    def fit_percpu(self, verb):
        """Return the per-CPU areas that may be given to an operation."""
        own = self.own(self.known.percpu)
        if self.is_careless or verb == "free_percpu":
            return own
        return [name for name in own if 0 < self.known.percpu[name].size <= PERCPU_BYTES]

    def fit_refs(self, verb):
        """Return the reference counts that may be given to an operation."""
        own = self.own(self.known.refs)
        return own if self.is_careless else [n for n in own if self.known.refs[n].suits(verb)]

    def touched(self, kind, name):
        """Return the offset of bytes that are touched, or how many they are."""
        if self.is_careless:
            odd = [n for n in (*ODD_NUMBERS, *ODD_SIZES) if is_legal(kind, n)]
            return str(self.one((1, 2, 8, 64, 100), odd, 20))
        objects = self.known.objects | self.known.percpu
        size = objects[self.touched_object].size
        if name == "offset":
            self.first_touched = self.random.randrange(size)
            return str(self.first_touched)
        return str(self.random.randrange(size - self.first_touched) + 1)

    # Operations.

    def operation(self):
        """Return the text of an operation, and remember what it makes."""
        by = self.one((FIRST, FIRST, FIRST, *sorted(self.known.children | self.known.threads)))
        if by in self.known.spinning and not (self.is_careless and self.often(4)):
            by = FIRST
        self.by = by
        verb = self.verb()
        if verb == "spin" and by == FIRST and not self.is_careless:
            by = self.one(sorted(self.known.threads - self.known.spinning), (FIRST,), 0)
        text = self.plain(verb)
        if by == FIRST and (verb == "spin" or not self.often(3)):
            return text
        waits = self.often(60) and verb != "spin"
        if verb == "spin":
            self.known.spinning.add(by)
        return f"{by}{':' if waits else '&'} {text}"

    def verb(self):
        known = self.known
        if not known.ranges and self.often(60) and "mmap" in self.verbs:
            return "mmap"
        verb = self.one(self.verbs)
        # What needs something else before it is drawn again, mostly.
        lacks = (
            (verb in ("dma", "unpin") and not known.devices)
            or (verb == "kill" and not known.children)
            or (verb in ("lll_lock", "lll_unlock") and not self.fit_locks(verb))
            or (verb == "stop" and not known.spinning)
            or (verb == "wait" and known.spinning)
            or (verb == "spin" and known.threads <= known.spinning)
            or ("block" in arguments(verb) and not self.fit_blocks(verb))
            or ("area" in arguments(verb) and not self.fit_objects(verb))
            or ("cache" in arguments(verb) and not self.own(known.caches))
            or ("pointer" in arguments(verb) and not known.mallocs)
            or ("object" in arguments(verb) and not self.fit_objects(verb))
            or ("percpu" in arguments(verb) and not self.fit_percpu(verb))
            or ("ref" in arguments(verb) and not self.fit_refs(verb))
            or ("release" in arguments(verb) and not self.own(known.objects))
            or ("file" in arguments(verb) and verb not in ("open", "mmap") and not known.files)
        )
        seldom = verb in ("exit", "barrier", "race") and not self.often(10)
        refused = OPERATIONS.get(verb) in NOT_YET or lacks
        if seldom or (refused and not (self.is_careless and self.often(10))):
            return self.verb()
        return verb

    def plain(self, verb):
        """Return the text of a verb with its arguments."""
        words, values = [verb], {}
        self.first_touched = 0
        for name, argument in arguments(verb).items():
            ends = {("trace", "limit"), ("heap_trace", "limit"), ("futex_wait", "timeout_ns")}
            limits = (verb, name) in ends
            is_wanted = self.often(95 if limits else 30)
            if not argument.is_required and not is_wanted:
                continue
            if verb == "mmap" and name == "file" and not self.known.files:
                continue
            value = values[name] = self.word(verb, name, argument)
            if verb == "fragment" and name == "keep" and not self.is_careless:
                value = str(min(int(value), max(1, int(values["group"]) - 1)))
            if argument.is_switch:
                words.append(argument.key)
            else:
                words.append(value if argument.key is None else f"{argument.key}={value}")
        if "smp_call" in values and "gfp" in arguments(verb) and not self.is_careless:
            words = [word for word in words if not word.startswith("gfp=")]
            words.append(f"gfp={self.one(MAY_NOT_SLEEP)}")
        if verb == "mmap" and "file" in values and "flags" not in values:
            words.append(f"flags={self.one(('shared', 'private'))}")
        self.remember(verb, values)
        return " ".join(words)

    def remember(self, verb, values):
        known = self.known
        match verb:
            case "mmap" | "heap" | "alias":
                known.ranges[values["name"]] = int(values["length"])
                known.mallocs.discard(values["name"])
                known.locked.discard(values["name"])
            case _ if verb in MALLOCS:
                known.ranges[values["name"]] = min(int(values["length"]), 1 << 20)
                known.mallocs.add(values["name"])
            case "free":
                known.mallocs.discard(values["pointer"])
                known.locked.discard(values["pointer"])
            case "lll_lock" | "lll_trylock":
                known.locked |= {values["address"]} & set(known.ranges)
            case "lll_unlock":
                known.locked.discard(values["address"])
            case "mremap" if "store_as" in values:
                known.ranges[values["store_as"]] = int(values["length"])
            case "open":
                known.files.add(values["file"])
            case "close":
                known.files.discard(values["file"])
            case "pin":
                known.devices.add(values["device"])
            case "unpin":
                known.devices.discard(values["device"])
            case "alloc_pages":
                known.blocks[values["name"]] = Object(self.by, int(values.get("order", 0)), None)
            case "free_pages" if not self.is_careless:
                del known.blocks[values["block"]]
            case "kmem_cache_create":
                known.caches[values["name"]] = Object(self.by, int(values["length"]), None)
            case "kmem_cache_alloc":
                size = known.caches[values["cache"]].size if values["cache"] in known.caches else 0
                known.objects[values["name"]] = Object(self.by, size, values["cache"])
            case "kmalloc" | "kzalloc":
                known.objects[values["name"]] = Object(self.by, int(values["length"]), None)
            case _ if verb in MAKES_AREAS and "name" in values:
                known.objects[values["name"]] = self.area(verb, values)
            case _ if verb in GIVES_BACK and not self.is_careless:
                del known.objects[values["area"]]
            case "krealloc" if values["object"] in known.objects:
                thing = known.objects[values["object"]]
                thing.size = min(thing.size, int(values["length"]))
            case _ if verb in MAKES_PERCPU:
                known.percpu[values["name"]] = Object(self.by, int(values["length"]), None)
            case "free_percpu" if not self.is_careless:
                del known.percpu[values["percpu"]]
            case "percpu_ref_init":
                flags = values.get("flags", "none")
                name = values["name"]
                known.refs[name] = Ref(self.by, flags != "none", "init_dead" not in flags)
                if not self.is_careless:
                    known.objects.pop(values.get("release"), None)
            case "percpu_ref_exit" if not self.is_careless:
                del known.refs[values["ref"]]
            case _ if values.get("ref") in known.refs:
                known.refs[values["ref"]].see(verb)
            case "kfree" | "kmem_cache_free" if not self.is_careless:
                del known.objects[values["object"]]
            case "kmem_cache_destroy" if not self.is_careless:
                del known.caches[values["cache"]]
            case "fork":
                known.children.add(values["child"])
            case "thread":
                known.threads.add(values["name"])
            case "kill":
                known.children.discard(values["child"])
            case "stop":
                known.spinning.discard(values["name"])

    def program(self, length):
        """Return the texts of a program."""
        texts = [self.operation() for _ in range(length)]
        return [*texts, *(f"stop {name}" for name in sorted(self.known.spinning))]


def is_legal(kind, number):
    """Return whether a kind of number takes this one."""
    try:
        kind.read(str(number))
    except ValueError:
        return False
    return True


def quoted(path):
    return f'"{path}"' if " " in path else path
