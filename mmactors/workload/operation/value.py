"""Values in operations: protections, flags, orders, with the words they are written as."""

import re
from enum import IntFlag
from typing import Final

from attrs import frozen

from mmactors.workload.operation.address import NUMBER_MAX
from mmactors.workload.operation.grammar import Kind, flags, integer

COUNT: Final = integer(1, (1 << 62) - 1)


class Prot(IntFlag):
    """PROT_* of mmap and mprotect (include/uapi/asm-generic/mman-common.h)."""

    READ = 1
    WRITE = 2
    EXEC = 4
    GROWSDOWN = 0x0100_0000
    GROWSUP = 0x0200_0000

    @property
    def value_of_call(self) -> int:
        """The call's argument: the word `growsdown` stands for reading and writing, too."""
        return int(self) | (int(Prot.READ | Prot.WRITE) if Prot.GROWSDOWN in self else 0)


class MapFlag(IntFlag):
    """MAP_* of mmap, x86 (include/uapi/asm-generic/mman-common.h, arch/x86's 32BIT)."""

    SHARED = 0x01
    PRIVATE = 0x02
    FIXED = 0x10
    ANONYMOUS = 0x20
    MAP_32BIT = 0x40
    GROWSDOWN = 0x0100
    LOCKED = 0x2000
    NORESERVE = 0x4000
    POPULATE = 0x8000
    STACK = 0x2_0000
    HUGETLB = 0x4_0000
    FIXED_NOREPLACE = 0x10_0000


class MremapFlag(IntFlag):
    """MREMAP_* (include/uapi/linux/mman.h)."""

    MAYMOVE = 1
    FIXED = 2
    DONTUNMAP = 4


class MsyncFlag(IntFlag):
    """MS_* (include/uapi/asm-generic/mman-common.h)."""

    ASYNC = 1
    INVALIDATE = 2
    SYNC = 4


MAP_FLAGS: Final = flags(
    MapFlag,
    {
        "shared": MapFlag.SHARED,
        "private": MapFlag.PRIVATE,
        "anon": MapFlag.ANONYMOUS,
        "fixed": MapFlag.FIXED,
        "noreplace": MapFlag.FIXED_NOREPLACE,
        "32bit": MapFlag.MAP_32BIT,
        "growsdown": MapFlag.GROWSDOWN,
        "locked": MapFlag.LOCKED,
        "noreserve": MapFlag.NORESERVE,
        "populate": MapFlag.POPULATE,
        "stack": MapFlag.STACK,
        "hugetlb": MapFlag.HUGETLB,
    },
)
MREMAP_FLAGS: Final = flags(
    MremapFlag,
    {
        "maymove": MremapFlag.MAYMOVE,
        "fixed": MremapFlag.FIXED,
        "dontunmap": MremapFlag.DONTUNMAP,
    },
)
MSYNC_FLAGS: Final = flags(
    MsyncFlag,
    {
        "async": MsyncFlag.ASYNC,
        "invalidate": MsyncFlag.INVALIDATE,
        "sync": MsyncFlag.SYNC,
    },
)
_PROT_LETTERS: Final = {"r": Prot.READ, "w": Prot.WRITE, "x": Prot.EXEC}
_PROT_WORDS: Final = {"growsdown": Prot.GROWSDOWN, "growsup": Prot.GROWSUP}


def _read_prot(text: str) -> Prot:
    prot = Prot(0)
    for word in () if text == "none" else text.split(","):
        if word in _PROT_WORDS:
            prot |= _PROT_WORDS[word]
        elif not word or len(set(word)) < len(word) or not set(word) <= set(_PROT_LETTERS):
            raise ValueError(text)
        else:
            for letter in word:
                prot |= _PROT_LETTERS[letter]
    return prot


def _write_prot(prot: Prot) -> str:
    letters = "".join(letter for letter, flag in _PROT_LETTERS.items() if flag in prot)
    words = [word for word, flag in _PROT_WORDS.items() if flag in prot]
    return ",".join([letters, *words] if letters else words) or "none"


PROT: Final = Kind(
    "PROT",
    "expected letters of rwx, growsdown or growsup with commas between, or none",
    _read_prot,
    _write_prot,
    ("r", "rw", "rx", "rwx", "none", "growsdown", "growsup"),
)


@frozen
class Order:
    """In which order pages or blocks are visited: ascending, descending, or random by a seed."""

    is_reverse: bool = False
    seed: int | None = None

    @classmethod
    def parse(cls, text: str) -> "Order":
        """Return the order that `rev` or `rand:SEED` means; ValueError if none."""
        if text == "rev":
            return cls(is_reverse=True)
        match = re.fullmatch(r"rand:(0x[0-9a-fA-F]{1,16}|[0-9]{1,20})", text)
        if match is None or int(match[1], 0) > NUMBER_MAX:
            raise ValueError(text)
        return cls(seed=int(match[1], 0))

    def __str__(self) -> str:
        return "rev" if self.is_reverse else f"rand:{self.seed}"


ASCENDING: Final = Order()
ORDER: Final = Kind("rev|rand:SEED", "expected rev or rand:SEED", Order.parse, str, ("rev",))


def _read_block_order(text: str) -> Order:
    order = Order.parse(text)
    if order.seed is None:
        raise ValueError(text)
    return order


BLOCK_ORDER: Final = Kind("rand:SEED", "expected rand:SEED", _read_block_order, str)
