"""All that system calls ask for, as unions: whoever answers, answers each."""

from mmactors.label import Label
from mmactors.mm.area.vma_adjust import RmapRequest
from mmactors.mm.fault.populate import FaultInPages, Populate
from mmactors.mm.syscall import madvise
from mmactors.mm.syscall.mlock import LockPages
from mmactors.mm.syscall.mprotect import ChangeProtection
from mmactors.mm.syscall.mremap import MovePageTables
from mmactors.mm.syscall.msync import LockForReading, SyncFileRange
from mmactors.mm.syscall.munmap import EvictMapping, UnmapRegion
from mmactors.mm.syscall.unmapped_area import AreaSearched

AdviceRequest = (
    madvise.ZapRange
    | madvise.LazyFree
    | madvise.Deactivate
    | madvise.SwapIn
    | madvise.ReadAhead
    | madvise.PunchHole
    | madvise.CollapseHugePages
    | LockPages
    | SyncFileRange
    | LockForReading
)
"""Of madvise, mlock and msync, on pages; areas stay as they are."""

CallRequest = (
    AreaSearched
    | UnmapRegion
    | EvictMapping
    | ChangeProtection
    | MovePageTables
    | Populate
    | FaultInPages
    | RmapRequest
    | AdviceRequest
    | Label
)
