"""The text of an event after its name, by the format of its tracepoint (TP_printk, v6.1).

A format has the tracepoint's words, and for each value the field and how it is printed; what has no
format here has no tracepoint, and prints all its fields by their names. Where the model does not
have what the kernel prints: a lock prints its name in the place of its address, a sanitizer's
report what it found, a call site its function without the place in it, an instruction that is not
known is at 0x0, and who has no system call number prints the call's fields. Pointers are those of a
kernel booted with `nokaslr no_hash_pointers`.
"""

import string
from collections.abc import Callable, Sequence
from typing import Any, Final

from mmactors.mm.page_alloc.order import PAGEBLOCK_ORDER
from mmactors.observe.field_text import field_texts
from mmactors.observe.ftrace.names import (
    CONTENTION_FLAGS,
    TLB_FLUSH_REASONS,
    flag_names,
    gfp_names,
    symbol_name,
    task_state,
)
from mmactors.observe.log_read import EventRecord
from mmactors.plain_text import plain
from mmactors.units import ULONG_MAX

VMEMMAP_START: Final = 0xFFFF_EA00_0000_0000
"""Where struct page of pfn 0 is (Documentation/x86/x86_64/mm.rst)."""
SIZEOF_STRUCT_PAGE: Final = 64
COMM_LENGTH: Final = 15
"""TASK_COMM_LEN without the end."""

_ALLOCATED: Final = (
    "call_site={call_site:text} ptr={ptr:p} bytes_req={bytes_req:d} bytes_alloc={bytes_alloc:d} "
    "gfp_flags={gfp_flags:gfp} node={node:d}"
)

FORMATS: Final = {
    "page_fault_user": "address={address:ps} ip={ip:ps} error_code={error_code:x}",
    "page_fault_kernel": "address={address:ps} ip={ip:ps} error_code={error_code:x}",
    "mm_page_alloc": "page={pfn:page} pfn={pfn:pfn} order={order:d} migratetype={migratetype:d} "
    "gfp_flags={gfp_flags:gfp}",
    "kmem_cache_alloc": f"{_ALLOCATED} accounted={{accounted:bool}}",
    "kmalloc": f"{_ALLOCATED} accounted={{accounted:bool}}",
    "kmem_cache_free": "call_site={call_site:text} ptr={ptr:p} name={name:text}",
    "kfree": "call_site={call_site:text} ptr={ptr:p}",
    "percpu_alloc_percpu": "call_site={call_site:text} reserved={reserved:d} "
    "is_atomic={is_atomic:d} size={size:d} align={align:d} base_addr={base_addr:p} off={off:d} "
    "ptr={ptr:p} bytes_alloc={bytes_alloc:d} gfp_flags={gfp_flags:gfp}",
    "percpu_free_percpu": "base_addr={base_addr:p} off={off:d} ptr={ptr:p}",
    "percpu_alloc_percpu_fail": "reserved={reserved:d} is_atomic={is_atomic:d} size={size:d} "
    "align={align:d}",
    "percpu_create_chunk": "base_addr={base_addr:p}",
    "percpu_destroy_chunk": "base_addr={base_addr:p}",
    "console": "{msg:text}",
    "mm_page_free": "page={pfn:page} pfn={pfn:pfn} order={order:d}",
    "mm_page_free_batched": "page={pfn:page} pfn={pfn:pfn} order=0",
    "mm_page_alloc_zone_locked": "page={pfn:page} pfn={pfn:pfn} order={order:d} "
    "migratetype={migratetype:d} percpu_refill={percpu_refill:d}",
    "mm_page_pcpu_drain": "page={pfn:page} pfn={pfn:pfn} order={order:d} "
    "migratetype={migratetype:d}",
    "mm_page_alloc_extfrag": "page={pfn:page} pfn={pfn:pfn} alloc_order={alloc_order:d} "
    f"fallback_order={{fallback_order:d}} pageblock_order={PAGEBLOCK_ORDER} "
    "alloc_migratetype={alloc_migratetype:d} fallback_migratetype={fallback_migratetype:d} "
    "fragmenting={fallback_order:fragmenting} change_ownership={change_ownership:d}",
    "mm_vmscan_wakeup_kswapd": "nid={nid:d} order={order:d} gfp_flags={gfp_flags:gfp}",
    "vm_unmapped_area": "addr={addr:x} err={err:d} total_vm={total_vm:x} flags={flags:x} "
    "len={length:x} lo={low_limit:x} hi={high_limit:x} mask={align_mask:x} ofs={align_offset:x}",
    "tlb_flush": "pages:{pages:d} reason:{reason:reason} ({reason:d})",
    "sched_switch": "prev_comm={prev_comm:comm} prev_pid={prev_pid:d} prev_prio={prev_prio:d} "
    "prev_state={prev_state:state} ==> next_comm={next_comm:comm} next_pid={next_pid:d} "
    "next_prio={next_prio:d}",
    "sched_waking": "comm={comm:comm} pid={task_pid:d} prio={prio:d} target_cpu={target_cpu:03d}",
    "sched_wakeup_new": "comm={comm:comm} pid={task_pid:d} prio={prio:d} "
    "target_cpu={target_cpu:03d}",
    "sched_migrate_task": "comm={comm:comm} pid={task_pid:d} prio={prio:d} orig_cpu={orig_cpu:d} "
    "dest_cpu={dest_cpu:d}",
    "sched_process_exit": "comm={comm:comm} pid={task_pid:d} prio={prio:d}",
    "sched_process_fork": "comm={parent_comm:comm} pid={parent_pid:d} child_comm={child_comm:comm} "
    "child_pid={child_pid:d}",
    "signal_generate": "sig={sig:d} errno={errno:d} code={code:d} comm={comm:comm} "
    "pid={task_pid:d} grp={group:d} res={result:d}",
    "sys_enter": "NR {nr:d} ({args:args})",
    "sys_exit": "NR {nr:d} = {ret:d}",
    "contention_begin": "{lock:text} (flags={flags:contention})",
    "contention_end": "{lock:text} (ret={ret:d})",
    "error_report_end": "[{error_detector:text}] {finding:text}",
}
"""By event; each is a tracepoint of the kernel's."""


def _hexadecimal(value: int) -> str:
    return f"0x{value & ULONG_MAX:x}"


def _page(pfn: int | None) -> str:
    pointer = 0 if pfn is None else VMEMMAP_START + pfn * SIZEOF_STRUCT_PAGE
    return f"{pointer:016x}"


def _args(values: Sequence[int]) -> str:
    return ", ".join(f"{value & ULONG_MAX:x}" for value in values)


_KINDS: Final[dict[str, Callable[[Any], str]]] = {
    "args": _args,
    "bool": lambda value: "true" if value else "false",
    "comm": lambda comm: plain(comm[:COMM_LENGTH]),
    "contention": lambda flags: flag_names(flags, CONTENTION_FLAGS),
    "d": lambda value: str(int(value)),
    "03d": lambda value: f"{value:03d}",
    "fragmenting": lambda order: str(int(order < PAGEBLOCK_ORDER)),
    "gfp": gfp_names,
    "p": lambda pointer: f"{pointer:016x}",
    "page": _page,
    "pfn": lambda pfn: _hexadecimal(pfn or 0),
    "ps": lambda address: _hexadecimal(address or 0),
    "reason": lambda reason: symbol_name(reason, TLB_FLUSH_REASONS),
    "state": task_state,
    "text": plain,
    "x": _hexadecimal,
}
"""How a value is printed."""

_Parts = tuple[tuple[str, str | None, Callable[[Any], str] | None], ...]


def _compile(text: str) -> _Parts:
    return tuple(
        (words, name, None if kind is None else _KINDS[kind])
        for words, name, kind, _ in string.Formatter().parse(text)
    )


_COMPILED: Final[dict[str, _Parts]] = {name: _compile(text) for name, text in FORMATS.items()}


def event_text(record: EventRecord) -> str:
    """Return what the kernel prints after the event's name and a colon."""
    parts = _COMPILED.get(record["event"])
    if parts is None or record.get("nr", 0) is None:
        return " ".join(f"{name}={text}" for name, text in field_texts(record))
    return "".join(
        words if name is None or show is None else words + show(record[name])
        for words, name, show in parts
    )
