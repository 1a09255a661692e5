"""Can a recorded boot fail? Rules of boot are broken one at a time, and a recording says where.

Which four are broken is up to the seed; `-m slow` breaks all of them.
"""

import random
from importlib import import_module
from pathlib import Path

import pytest
from attrs import frozen

from mmactors.validate.memblock.memblock import validate_memblock

RECORDED = Path(__file__).parents[1] / "reference/linux-6.1/kernel/memblock"
SEED = 11
NR_BROKEN = 4


@frozen
class Broken:
    """A rule of boot: where it stands, what a kernel without it does, and who notices where."""

    rule: str
    place: str
    other: object
    recording: str
    first: str
    """How the first difference begins."""

    def __str__(self):
        return self.rule.replace(" ", "-")


def _nothing(*_, **__):
    return None


BROKEN = [
    Broken(
        "an allocation is aligned",
        *("memblock:_round_down", lambda value, _align: value, "1G-c1"),
        first="calls[9]: recorded memblock_reserve: [0x000000003fc00000-",
    ),
    Broken(
        "ranges that touch are one",
        *("regions:_is_one", lambda *_: False, "1G-c1"),
        first="dumps[0].reserved[2]: recorded [0000000001000000-0000000004410fff]",
    ),
    Broken(
        "what is freed can be taken again",
        *("regions:RegionList.remove", _nothing, "1G-c1"),
        first="calls[12]: recorded memblock_reserve: [0x000000003fad4000-",
    ),
    Broken(
        "memory of a node is on that node",
        *("memblock:Memblock._is_skipped", lambda *_: False, "numa2-1G-c2"),
        first="calls[24]: recorded memblock_reserve: [0x000000001ffd5000-",
    ),
    Broken(
        "the end of memory is mapped by small pages",
        *("direct_map:DirectMap._is_memory", lambda *_: True, "5G-c1"),
        first="calls[16]: recorded memblock_phys_alloc_range: 4096 bytes",
    ),
    Broken(
        "mem= takes memory away",
        *("cmdline:_limit", _nothing, "1G-c2-mem700M"),
        first="calls[4]: recorded memblock_add: [0x0000000000100000-0x000000002bbfffff]",
    ),
    Broken(
        "an initramfs out of reach is moved",
        *("bootmem:EarlyBoot._reserve_initrd", _nothing, "1G-c2-mem700M"),
        first="calls[17]: recorded memblock_phys_alloc_range: 1097728 bytes",
    ),
    Broken(
        "a crash kernel begins at 16 MiB",
        *("crashkernel:_CRASH_ALIGN", 1 << 20, "512M-c1-crashkernel64M-hugepages16"),
        first="calls[24]: recorded memblock_phys_alloc_range: 67108864 bytes",
    ),
    Broken(
        "a full list is doubled",
        *("memblock:Memblock._make_room", _nothing, "more/1G-c1-double"),
        first="calls[132]: recorded memblock_reserve: [0x000000000009d000-",
    ),
    Broken(
        "a bitmap has whole words",
        *("percpu_chunk:_LONG_BITS", 32, "512M-c2"),
        first="calls[84]: recorded memblock_alloc_try_nid: 256 bytes",
    ),
    Broken(
        "a bucket for each 8 KiB of memory",
        *("bootmem:_DENTRY_SCALE", 12, "256M-c1"),
        first="calls[112]: recorded memblock_alloc_try_nid: 262144 bytes",
    ),
    Broken(
        "zone Movable begins at a whole block",
        *("movable:_MAX_ORDER_PAGES", 1, "1G-c1-movablecore256M"),
        first="zoneinfo, Node 0, zone DMA32, spanned",
    ),
    Broken(
        "struct pages are initialised later",
        *("zone_init:_first_deferred_pfn", _nothing, "1G-c1"),
        first="memory_line: recorded Memory: 207548K/1048056K",
    ),
    Broken(
        "the first MiB is kept",
        *("bootmem:EarlyBoot._reserve_real_mode", _nothing, "1G-c1"),
        first="calls[5]: recorded memblock_phys_alloc_range: 28672 bytes",
    ),
    Broken(
        "kernelcore= is spread over nodes",
        *("movable:_Spreading.starts", lambda self: dict.fromkeys(self.ranges, 1)),
        "more/numa4-2G-c4-kernelcore1G",
        first="zoneinfo, Node 0, zone DMA, spanned: recorded [4095]",
    ),
]
CHOSEN = random.Random(SEED).sample(BROKEN, NR_BROKEN)


def _validated(recording):
    (result,) = validate_memblock(RECORDED / f"{recording}.json.gz")
    return result


def _break(monkeypatch, broken):
    module, _, name = broken.place.partition(":")
    place = import_module(f"mmactors.mm.boot.{module}")
    *classes, last = name.split(".")
    for each in classes:
        place = getattr(place, each)
    assert hasattr(place, last), "the rule stands elsewhere by now"
    monkeypatch.setattr(place, last, broken.other)


def _assert_fails_where_it_should(broken):
    result = _validated(broken.recording)

    assert not result.passed
    assert result.first_difference.startswith(broken.first)


@pytest.mark.parametrize("broken", CHOSEN, ids=str)
def test_a_boot_without_one_rule_does_not_pass(monkeypatch, broken):
    """The recording differs, and its first difference is where the rule was needed."""
    _break(monkeypatch, broken)

    _assert_fails_where_it_should(broken)


@pytest.mark.slow
@pytest.mark.parametrize("broken", [each for each in BROKEN if each not in CHOSEN], ids=str)
def test_a_boot_without_any_other_rule_does_not_pass(monkeypatch, broken):
    """Those that the seed did not choose."""
    _break(monkeypatch, broken)

    _assert_fails_where_it_should(broken)


@pytest.mark.parametrize("recording", sorted({each.recording for each in BROKEN}))
def test_a_boot_with_all_rules_passes(recording):
    """It is the rule that was missing, not something else."""
    assert _validated(recording).passed
