"""Reading and writing files of /proc and /sys: get, snap, put, oomadj (fs/proc/, Linux 6.1).

The texts are made above this layer; a ProcReader, set by the wiring, gives them. What is read is
kept with the run; the log says that it was read. Settings are written here. Left out: /sys but for
the caches of objects and the switches of huge pages, of which there are none; directories; writing
to /proc/PID/comm and what else is not about memory.
"""

import errno
from typing import Final, Protocol

from attrs import define, field

from mmactors.actors.file.truncate import drop_pagecache
from mmactors.actors.program.proc_paths import (
    NO_HUGE_PAGES,
    SYS_SLAB,
    SYSCTL,
    ReadText,
    is_of_caches,
)
from mmactors.actors.program.process import Process
from mmactors.actors.program.thread import UserThread
from mmactors.actors.state.kernel import Kernel
from mmactors.actors.state.namei import walk
from mmactors.engine.cpu import Cpu
from mmactors.label import (
    ANON_VMA,
    NR_VMALLOC_PAGES,
    PAGE_CACHE,
    PAGE_TABLES,
    PAGEBLOCK,
    PAGES,
    PCP,
    PURGE_VMAP_AREAS,
    RSS,
    VM_COMMITTED_AS,
    VMAP_AREAS,
    VMAS,
    VMSTAT,
    Label,
    Mode,
)
from mmactors.mm.syscall.sysctl import (
    VM_SETTINGS,
    VmSysctls,
    parse_number,
    set_vm_sysctl,
)
from mmactors.mm.vmstat import EVENT_ITEM
from mmactors.workload.operation import all as op

_DROP_CACHES: Final = "drop_caches"
_COMPACT_MEMORY: Final = "compact_memory"
_STAT_REFRESH: Final = "stat_refresh"
_OOM_SCORE_ADJ: Final = "/oom_score_adj"
_OOM_SCORE_ADJ_MAX: Final = 1000
_DROP_PAGECACHE: Final = EVENT_ITEM["drop_pagecache"]
_DROP_SLAB: Final = EVENT_ITEM["drop_slab"]

SNAP_FILES: Final = ("vmstat", "meminfo", "buddyinfo", "interrupts")

ProcOperation = op.Get | op.Snap | op.Put | op.Oomadj


class ProcReader(Protocol):
    """Makes the texts of /proc and /sys."""

    def read(self, process: Process, path: str) -> str | None:
        """Return a file of /proc or /sys as `process` reads it; None: there is none."""
        ...

    def is_of_process(self, path: str) -> bool:
        """Say whether a file is one of /proc/PID."""
        ...


@define(eq=False, kw_only=True)
class ProcCalls:
    """Runs operations on /proc for all threads of a machine."""

    kernel: Kernel
    reader: ProcReader
    texts: list[ReadText] = field(factory=list, init=False)
    """What was read, in the order in which it was."""

    async def perform(self, thread: UserThread, call: ProcOperation) -> int:
        """Do one operation and return its result."""
        await self.kernel.engine.spend(self.kernel.costs.syscall_ns)
        match call:
            case op.Get(path=path):
                found = self._look_up(thread.process, path)
                if isinstance(found, int):
                    return found
                name = found.strip("/").replace("/", "-")
                result = await self._get(thread, call, found, name)
            case op.Snap(tag=tag):
                # As the recorder does: the counters are brought together before they are read.
                await self._refresh_vm_stats()
                result = 0
                for file in SNAP_FILES:
                    await self._get(thread, call, f"/proc/{file}", f"{tag}.{file}")
            case op.Put(path=path, value=value):
                found = self._look_up(thread.process, path)
                result = found if isinstance(found, int) else await self._put(thread, found, value)
            case op.Oomadj(score=score):
                thread.process.oom_score_adj = score
                result = 0
        return result

    def _look_up(self, process: Process, path: str) -> str | int:
        """Return the path from `/` on; what walk() says, or ENOTDIR: a file with a slash behind."""
        found = walk(path)
        if isinstance(found, int):
            return found
        if found.ends_in_slash and not isinstance(self._text_of(process, found.name), int):
            return -errno.ENOTDIR
        return found.name

    async def _get(self, thread: UserThread, call: ProcOperation, path: str, name: str) -> int:
        """Read a file and keep its text; ENOENT: there is none, EACCES: it can only be written."""
        kernel = self.kernel
        engine = kernel.engine
        if path == SYSCTL + _STAT_REFRESH:
            await self._refresh_vm_stats()
        if engine.wants_step():
            await engine.step(self._reading(path))
        if engine.is_exploring and is_of_caches(path):
            self._touch_caches()
        with engine.guard.suspended():
            text = self._text_of(thread.process, path)
        if isinstance(text, int):
            return text
        engine.observe(text)
        self.texts.append(
            ReadText(
                t_ns=thread.cpu.clock.now,
                pid=thread.process.pid,
                call=str(call),
                path=path,
                name=name,
                text=text,
            )
        )
        return 0

    def _text_of(self, process: Process, path: str) -> str | int:
        name = path.removeprefix(SYSCTL)
        if name != path and name == _STAT_REFRESH:
            return ""
        if name != path and name in (_DROP_CACHES, _COMPACT_MEMORY):
            return -errno.EACCES
        text = NO_HUGE_PAGES.get(path) or self.reader.read(process, path)
        return -errno.ENOENT if text is None else text

    def _reading(self, path: str) -> Label:
        """Return the label of a step that may look at all that files of /proc are made of."""
        names = (PAGE_TABLES, PAGES, PAGEBLOCK, PCP, VMSTAT, RSS, VMAS, ANON_VMA, PAGE_CACHE)
        of_kernel = (VM_COMMITTED_AS, VMAP_AREAS, PURGE_VMAP_AREAS, NR_VMALLOC_PAGES)
        zones = [mailbox.name for mailbox in self.kernel.zone_mailboxes]
        touches = ((name, Mode.READ) for name in (*names, *of_kernel, *zones))
        return Label(f"read {path}", tuple(touches))

    def _touch_caches(self) -> None:
        """Tell a search that the step looks at what all caches have."""
        for name, mode in self.kernel.slab.touched_by_reader():
            self.kernel.engine.touch(name, mode)

    def _sysctls(self) -> VmSysctls:
        return VmSysctls(self.kernel.mm_config, self.kernel.overcommit.policy)

    async def _put(self, thread: UserThread, path: str, value: str) -> int:
        """Write a file.

        ENOENT: there is none; EINVAL: it does not take the value, or a file of a process takes
        none; EIO, EACCES: one of the machine's in /proc, in /sys takes none.
        """
        if path in NO_HUGE_PAGES:
            return 0 if value.strip() == "never" else -errno.EINVAL
        name = path.removeprefix(SYSCTL)
        if name != path:
            return await self._put_sysctl(thread, name, value)
        reader = self.reader
        with self.kernel.engine.guard.suspended():
            is_there = reader.read(thread.process, path) is not None
        if not is_there:
            return -errno.ENOENT
        if path.startswith(SYS_SLAB):
            return -errno.EACCES
        if not reader.is_of_process(path):
            return -errno.EIO
        return self._put_of_process(thread.process, path, value)

    def _put_of_process(self, process: Process, path: str, value: str) -> int:
        if not path.endswith(_OOM_SCORE_ADJ):
            return -errno.EINVAL
        score = parse_number(value)
        if score is None or abs(score) > _OOM_SCORE_ADJ_MAX:
            return -errno.EINVAL
        pid = path.split("/")[2]
        for each in process.table.processes if pid != "self" else [process]:
            if pid in ("self", str(each.pid)):
                each.oom_score_adj = score
        return 0

    async def _put_sysctl(self, thread: UserThread, name: str, value: str) -> int:
        if name == _STAT_REFRESH:
            await self._refresh_vm_stats()
            return 0
        if name not in VM_SETTINGS and name != _DROP_CACHES:
            return -errno.ENOENT
        number = parse_number(value)
        if number is None:
            return -errno.EINVAL
        if name == _DROP_CACHES:
            return await self._drop_caches(thread.cpu, number)
        kernel = self.kernel
        if kernel.engine.wants_step():
            await kernel.engine.step(Label(f"set vm.{name}", ((VMAS, Mode.WRITE),)))
        changed = set_vm_sysctl(self._sysctls(), name, number)
        if isinstance(changed, int):
            return changed
        if changed.config != kernel.mm_config:
            kernel.mm_config = changed.config
            for space in kernel.spaces.values():
                space.mm.config = changed.config
        kernel.overcommit.set_policy(changed.policy)
        if name == "overcommit_memory":
            kernel.overcommit.set_mode(number)
        return 0

    async def _drop_caches(self, cpu: Cpu, number: int) -> int:
        """Drop clean pages of files (1), slab (2), or both (3); 4 only silences the kernel's log.

        No cache of slab here has anything to drop (drop_caches_sysctl_handler).
        """
        if not 1 <= number <= 4:
            return -errno.EINVAL
        kernel = self.kernel
        if number & 1:
            await drop_pagecache(kernel, cpu)
            kernel.count_event(cpu, _DROP_PAGECACHE)
        if number & 2:
            kernel.count_event(cpu, _DROP_SLAB)
        return 0

    async def _refresh_vm_stats(self) -> None:
        """Fold the counters of all CPUs into the global ones (vmstat_refresh)."""
        kernel = self.kernel
        if kernel.engine.wants_step():
            await kernel.engine.step(Label("refresh vm stats", ((VMSTAT, Mode.WRITE),)))
        for cpu in range(len(kernel.cpus)):
            kernel.vmstat.fold(cpu)
