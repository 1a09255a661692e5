"""The areas in the form of the recordings, put in and taken out.

The form is that of linux-6.1/kernel (topic `vmalloc`): addresses in hexadecimal, `free_tree` with
its shape and colours in pre-order. What is known of areas in use are flags, pages and size.
"""

from typing import Any, Final

from mmactors.mm.vmalloc.area_tree import (
    BLACK,
    COLOUR,
    LEFT,
    NEXT,
    PARENT,
    PREV,
    RED,
    RIGHT,
    START,
    SUBTREE_MAX,
    insert_area,
    propagate,
)
from mmactors.mm.vmalloc.kernel_mapping import VMALLOC_START
from mmactors.mm.vmalloc.space import (
    BUSY,
    FREE,
    LAZY,
    NR_PAGES,
    VMALLOC_END,
    VmallocSpace,
)
from mmactors.mm.vmalloc.vm_struct import VmStruct
from mmactors.units import PAGE_SHIFT, ULONG_MAX

State = dict[str, Any]
RAM: Final = "ram"
"""What stands for an area that vm_map_ram has made."""
_COLOURS: Final = {RED: "r", BLACK: "b"}


def page_of_text(text: str) -> int:
    """Return the page of an address; the first byte of all but one counts for the first page."""
    return int(text, 16) >> PAGE_SHIFT


def text_of_page(page: int) -> str:
    """Return the address at which a page begins; that of the first and the last are the space's."""
    if page == 0:
        return "1"
    return f"{ULONG_MAX if page == NR_PAGES - 1 else page << PAGE_SHIFT:x}"


def load_space(space: VmallocSpace, state: State) -> None:
    """Let a space that has nothing but free addresses have what a state says."""
    view = space.view
    for area in list(space.areas_of(FREE)):
        space.forget_area(area)
    view[FREE + LEFT] = 0
    view[FREE + NEXT] = view[FREE + PREV] = FREE
    ends = {page_of_text(first): page_of_text(end) for first, end in state["free"]}
    above: list[int] = []
    made: list[int] = []
    for text, depth, colour in state["free_tree"]:
        first = page_of_text(text)
        area = space.new_area(0, first, ends[first])
        view = space.view
        del above[depth:]
        parent = above[-1] if above else 0
        for word in (LEFT, RIGHT, SUBTREE_MAX):
            view[area + word] = 0
        view[area + PARENT] = parent
        view[area + COLOUR] = RED if colour == "r" else BLACK
        side = LEFT if not parent or first < view[parent + START] else RIGHT
        view[(parent or FREE) + side] = area
        above.append(area)
        made.append(area)
    for area in reversed(made):
        propagate(space.areas, area, view[area + PARENT])
    last = FREE
    for area in sorted(made, key=lambda area: view[area + START]):
        view[last + NEXT], view[area + PREV] = area, last
        last = area
    view[last + NEXT], view[FREE + PREV] = FREE, last
    for first, end in state["lazy"]:
        insert_area(space.areas, LAZY, _new_area(space, first, end))
    space.lazy_nr = state["lazy_pages"]
    for first, end, *known in state["busy"]:
        area = _new_area(space, first, end)
        insert_area(space.areas, BUSY, area)
        if known != [RAM]:
            flags, nr_pages, size = known
            space.vm[area] = VmStruct(
                address=space.start_of(area),
                size=size,
                flags=flags,
                caller=None,
                thing=0,
                nr_pages=nr_pages,
            )


def _new_area(space: VmallocSpace, first: str, end: str) -> int:
    return space.new_area(0, page_of_text(first), page_of_text(end))


def dump_space(space: VmallocSpace) -> State:
    """Return all areas."""
    return {
        "start": f"{VMALLOC_START & ULONG_MAX:x}",
        "end": f"{VMALLOC_END & ULONG_MAX:x}",
        "lazy_pages": space.lazy_nr,
        "busy": [_dump_busy(space, area) for area in space.areas_of(BUSY)],
        "free": [_dump_range(space, area) for area in space.areas_of(FREE)],
        "free_tree": _dump_tree(space),
        "lazy": [_dump_range(space, area) for area in space.areas_of(LAZY)],
    }


def _dump_range(space: VmallocSpace, area: int) -> list[str]:
    first = space.view[area + START]
    return [text_of_page(first), text_of_page(first + space.size_of(area))]


def _dump_busy(space: VmallocSpace, area: int) -> list[Any]:
    vm = space.vm.get(area)
    known: list[Any] = [RAM] if vm is None else [vm.flags, vm.nr_pages, vm.size]
    return [*_dump_range(space, area), *known]


def _dump_tree(space: VmallocSpace) -> list[list[Any]]:
    view = space.view
    tree: list[list[Any]] = []
    pending = [(view[FREE + LEFT], 0)]
    while pending:
        area, depth = pending.pop()
        if area:
            tree.append([text_of_page(view[area + START]), depth, _COLOURS[view[area + COLOUR]]])
            pending += ((view[area + RIGHT], depth + 1), (view[area + LEFT], depth + 1))
    return tree
