"""Random programs that make, use and destroy caches of objects, with processes and files."""

import random

from attrs import evolve
from machines import scenario_of

from mmactors.actors.state.config import KernelConfig
from mmactors.sanitize.config import SanitizeConfig
from mmactors.scenario.faults.config import FailPageAlloc, FailSlab, FaultsConfig
from mmactors.units import MIB
from mmactors.workload.operation.all import parse_operation
from mmactors.workload.program import check_program

ALLOCATORS = ("slub", "slab", "slob")
NR_CPUS = 3
CACHE_SIZES = (8, 24, 64, 100, 200, 700, 1024, 3000, 8192)
KMALLOC_SIZES = (8, 32, 100, 192, 500, 2000, 4000, 4090, 9000, 20000)
FLAGS = (
    *("", "", " flags=hwcache_align", " flags=reclaim_account"),
    *(" flags=typesafe_by_rcu", " flags=typesafe_by_rcu,noleaktrace"),
)


class Author:
    """Writes the program of one process; its names are nobody else's."""

    def __init__(self, draw, name):
        self.draw, self.name = draw, name
        self.texts, self.operations = [], []
        self.caches, self.objects = [], []
        self.threads = [""]
        self.nr_names = 0

    def add(self, text):
        """Add an operation if it fits; say whether it did."""
        operations = [*self.operations, parse_operation(text)]
        fits = not check_program(operations)
        if fits:
            self.operations = operations
            self.texts.append(text)
        return fits

    def new_name(self, letter):
        self.nr_names += 1
        return f"{letter}{self.name}{self.nr_names}"

    def program(self):
        """Return a program that frees all it has allocated."""
        if self.draw.random() < 0.6 and self.add(f"thread T cpu={self.draw.randrange(NR_CPUS)}"):
            self.threads.append("T: ")
        steps = (self.create, self.alloc, self.alloc, self.kmalloc, self.kmalloc, self.free)
        more = (
            self.free,
            self.free,
            self.krealloc,
            self.shrink,
            self.destroy,
            self.map,
            self.write,
        )
        for _ in range(self.draw.randrange(20, 70)):
            self.draw.choice((*steps, *more))()
        if self.draw.random() < 0.5:
            self.add(f"fork P{self.name}")
        while self.objects:
            self.free()
        while self.caches:
            self.destroy()
        return self.texts

    def create(self):
        name = self.new_name("C")
        size, flags = self.draw.choice(CACHE_SIZES), self.draw.choice(FLAGS)
        if self.add(f"{self.draw.choice(self.threads)}kmem_cache_create {name} size={size}{flags}"):
            self.caches.append(name)

    def alloc(self):
        if self.caches:
            cache, name = self.draw.choice(self.caches), self.new_name("O")
            node = self.draw.choice(("", "", " node=0", " node=1"))
            who = self.draw.choice(self.threads)
            if self.add(f"{who}kmem_cache_alloc {name} cache={cache}{node}"):
                self.objects.append((name, cache))

    def kmalloc(self):
        name, size = self.new_name("O"), self.draw.choice(KMALLOC_SIZES)
        if self.add(f"{self.draw.choice(self.threads)}kmalloc {name} size={size}"):
            self.objects.append((name, None))

    def free(self):
        if self.objects:
            name, cache = self.objects.pop(self.draw.randrange(len(self.objects)))
            who = self.draw.choice(self.threads)
            where = self.draw.choice(("", "", f" smp_call={self.draw.randrange(NR_CPUS)}"))
            call = f"kfree {name}" if cache is None else f"kmem_cache_free {name} cache={cache}"
            assert self.add(f"{who}{call}{where}")

    def krealloc(self):
        names = [name for name, cache in self.objects if cache is None]
        if names:
            name, size = self.draw.choice(names), self.draw.choice((16, 300, 5000))
            self.add(f"{self.draw.choice(self.threads)}krealloc {name} size={size}")

    def shrink(self):
        if self.caches:
            self.add(
                f"{self.draw.choice(self.threads)}kmem_cache_shrink {self.draw.choice(self.caches)}"
            )

    def destroy(self):
        if self.caches:
            cache = self.caches.pop(self.draw.randrange(len(self.caches)))
            for each in [each for each in self.objects if each[1] == cache]:
                self.objects.remove(each)
                self.add(f"kmem_cache_free {each[0]} cache={cache}")
            self.add(f"kmem_cache_destroy {cache}")

    def map(self):
        name = self.new_name("M")
        self.add(f"mmap {name} 64K")
        self.add(f"touch {name} write")

    def write(self):
        name = self.new_name("F")
        self.add(f"open {name} /data/{name} create")
        self.add(f"write {name} 0 16K bs=4K")
        self.add(f"close {name}")


def scenario(slab, seed, *, fails=False):
    """Return the scenario of a seed: three processes on three CPUs and two nodes, all watched.

    `fails`: allocations of pages do, and of objects where the allocator asks.
    """
    draw = random.Random(seed)
    programs = [Author(draw, name).program() for name in "xyz"]
    made = scenario_of(
        *programs,
        cpus=NR_CPUS,
        size=96 * MIB,
        nr_nodes=2,
        kernel=KernelConfig(slab=slab),
        policy="seeded",
        seed=seed,
        quantum_ns=draw.choice((0, 1000)),
    )
    faults = made.faults
    if fails:
        always = {"times": -1, "ignore_gfp_wait": False}
        probability = draw.choice((5, 20, 40))
        faults = FaultsConfig(
            fail_page_alloc=FailPageAlloc(probability=probability, min_order=0, **always),
            failslab=FailSlab(probability=0 if slab == "slob" else 10, **always),
        )
    return evolve(made, sanitize=SanitizeConfig.everything(), faults=faults)
