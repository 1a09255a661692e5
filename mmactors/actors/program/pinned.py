"""Pages that a device holds (mm/gup.c, Linux 6.1)."""

from attrs import frozen

from mmactors.actors.state.address_space import AddressSpace


@frozen
class Pinned:
    """A page that a device holds, and where it was found."""

    space: AddressSpace
    address: int
    pfn: int
