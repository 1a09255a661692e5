"""The tracepoints of per-CPU memory (include/trace/events/percpu.h, Linux 6.1)."""

from typing import assert_never

from mmactors.engine.probe import EngineProbe
from mmactors.events import (
    PercpuAllocPercpu,
    PercpuAllocPercpuFail,
    PercpuCreateChunk,
    PercpuDestroyChunk,
    PercpuFreePercpu,
)
from mmactors.mm.percpu.request import (
    TellAllocPercpu,
    TellAllocPercpuFail,
    TellCreateChunk,
    TellDestroyChunk,
    TellFreePercpu,
)

Told = TellAllocPercpu | TellAllocPercpuFail | TellFreePercpu | TellCreateChunk | TellDestroyChunk


def tell(probe: EngineProbe, told: Told, site: str) -> None:
    """Emit what a path has done for `site`."""
    match told:
        case TellAllocPercpu():
            probe.emit(
                PercpuAllocPercpu(
                    call_site=site,
                    reserved=told.reserved,
                    is_atomic=told.is_atomic,
                    size=told.size,
                    align=told.align,
                    base_addr=told.base_addr,
                    off=told.off,
                    ptr=told.ptr,
                    bytes_alloc=told.bytes_alloc,
                    gfp_flags=told.gfp,
                )
            )
        case TellAllocPercpuFail():
            probe.emit(
                PercpuAllocPercpuFail(
                    reserved=told.reserved,
                    is_atomic=told.is_atomic,
                    size=told.size,
                    align=told.align,
                )
            )
        case TellFreePercpu():
            probe.emit(PercpuFreePercpu(base_addr=told.base_addr, off=told.off, ptr=told.ptr))
        case TellCreateChunk(base_addr=base_addr):
            probe.emit(PercpuCreateChunk(base_addr=base_addr))
        case TellDestroyChunk(base_addr=base_addr):
            probe.emit(PercpuDestroyChunk(base_addr=base_addr))
        case _:
            assert_never(told)
