"""What happens to per-CPU memory (mm/percpu.c, include/trace/events/percpu.h, 6.1)."""

from typing import ClassVar

from attrs import define


@define(kw_only=True)
class PercpuAllocPercpu:
    """An area was handed out."""

    name: ClassVar[str] = "percpu_alloc_percpu"
    subsystem: ClassVar[str] = "percpu"

    call_site: str
    """The function that asks; of a module: its program and the operation."""
    reserved: bool
    """From the part that is set aside for modules' own variables."""
    is_atomic: bool
    """For who may not wait."""
    size: int
    align: int
    base_addr: int
    """Of its chunk."""
    off: int
    """Where in the units of the chunk."""
    ptr: int
    bytes_alloc: int
    """Of all CPUs, and what memory cgroups would be charged besides."""
    gfp_flags: int


@define(kw_only=True)
class PercpuFreePercpu:
    """An area was given back."""

    name: ClassVar[str] = "percpu_free_percpu"
    subsystem: ClassVar[str] = "percpu"

    base_addr: int
    off: int
    ptr: int


@define(kw_only=True)
class PercpuAllocPercpuFail:
    """There was no area."""

    name: ClassVar[str] = "percpu_alloc_percpu_fail"
    subsystem: ClassVar[str] = "percpu"

    reserved: bool
    is_atomic: bool
    size: int
    align: int


@define(kw_only=True)
class PercpuCreateChunk:
    """There is a chunk more, without pages."""

    name: ClassVar[str] = "percpu_create_chunk"
    subsystem: ClassVar[str] = "percpu"

    base_addr: int


@define(kw_only=True)
class PercpuDestroyChunk:
    """There is a chunk less."""

    name: ClassVar[str] = "percpu_destroy_chunk"
    subsystem: ClassVar[str] = "percpu"

    base_addr: int
