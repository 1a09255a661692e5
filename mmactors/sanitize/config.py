"""Options of the sanitizers: each checker by its name, all off."""

from typing import Self

from attrs import fields, frozen

from mmactors.option import option


@frozen(kw_only=True)
class SanitizeConfig:
    """What is checked while the machine runs; docs/sanitizers.md says what each finds and costs."""

    stale_tlb: bool = option(
        False,
        doc="Stop an access through a TLB or walk-cache entry whose page or table was freed since.",
    )
    revoked: bool = option(
        False,
        doc="Stop an access through a translation that munmap, mprotect, madvise or a copy on "
        "write took away, when that call has returned.",
    )
    contents: bool = option(
        False,
        doc="Follow what each page holds, store by store: lost writes, and data that is seen where "
        "it must not be. Takes each access by itself, which is slow.",
    )
    page_state: bool = option(
        False,
        doc="Look at each page that is handed out or freed: double free, free while mapped, flags "
        "and references that must not be.",
    )
    objects: bool = option(
        False,
        doc="Follow each object of the kernel's caches: use after free, double free, free into "
        "the wrong cache, writes beside an object, objects lost or on two freelists.",
    )
    heap: bool = option(
        False,
        doc="Follow each block that malloc gives a program: use after free, double free, free of "
        "what is no block, accesses beside a block, blocks that nobody can reach at the end.",
    )
    reserves: bool = option(
        False,
        doc="Hold each passed watermark against the pages that are really free.",
    )
    leaks: bool = option(
        False,
        doc="At the end, look for pages and objects that are not free and that nobody can reach.",
    )
    counters: bool = option(
        False,
        doc="At the end, compare counters with what page tables and free lists really hold.",
    )
    lockdep: bool = option(
        False,
        doc="Report lock orders that could deadlock, also when none did, and sleeping locks in "
        "atomic context (lockdep, might_sleep).",
    )
    panic: bool = option(
        False, doc="The first finding ends the run (panic_on_warn); otherwise it goes on."
    )

    @classmethod
    def everything(cls, *, panic: bool = False) -> Self:
        """Return the options with every checker on."""
        names = (attribute.name for attribute in fields(cls))
        return cls(**dict.fromkeys(names, True) | {"panic": panic})

    @property
    def is_on(self) -> bool:
        """Whether any checker is on."""
        names = (attribute.name for attribute in fields(type(self)))
        return any(getattr(self, name) for name in names if name != "panic")
