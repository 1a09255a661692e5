"""Runs an operation list as the recordings' interpreter does, on mm/'s mechanisms.

What stands here is the language: names, ranges, how a result is given back, what a child does
when it starts. What the kernel answers comes from mm/. Operations on files on disk beyond open
and mmap, on cgroups and on disks' state are not modelled yet.
"""

import errno
from collections.abc import Callable
from typing import Any, Final

from attrs import define, field, frozen

from mmactors.mm.area import mman
from mmactors.mm.area.mapped_file import FMODE_READ, FMODE_WRITE, MappedFile, Mapping
from mmactors.mm.area.mm_struct import MmStruct
from mmactors.mm.area.rlimit import with_rlimit
from mmactors.mm.area.sysctl import VmSysctls, is_vm_sysctl, set_vm_sysctl
from mmactors.mm.area.vm_flags import page_align
from mmactors.mm.fault.handle_mm_fault import FaultSignal
from mmactors.mm.syscall.brk import do_brk
from mmactors.mm.syscall.madvise import do_madvise
from mmactors.mm.syscall.mincore import do_mincore
from mmactors.mm.syscall.mlock import do_mlock, do_mlockall, do_munlock, do_munlockall
from mmactors.mm.syscall.mmap import ksys_mmap
from mmactors.mm.syscall.mprotect import do_mprotect
from mmactors.mm.syscall.mremap import do_mremap
from mmactors.mm.syscall.msync import do_msync
from mmactors.mm.syscall.munmap import do_munmap
from mmactors.units import MIB, PAGE_SHIFT, PAGE_SIZE
from mmactors.validate.result import NotModelled
from mmactors.validate.userland.layout import InterpreterLayout
from mmactors.validate.userland.userland_machine import UserlandMachine
from mmactors.validate.userland.userland_task import Task
from mmactors.workload.operation import all as op
from mmactors.workload.touch import touch_pages

_DISK: Final = (0xFE, 0)
_DISK_FILES: Final = {
    "/mnt/f16m": (12, 16),
    "/mnt/f1m": (13, 1),
    "/mnt/f256m": (14, 256),
    "/mnt/f4m": (15, 4),
    "/mnt/f64m": (16, 64),
}
"""Path: inode number, MiB."""
_FIRST_NEW_INODE: Final = 17
_SYSCTL: Final = "/proc/sys/vm/"
_THP: Final = "/sys/kernel/mm/transparent_hugepage/"
_READ_WRITE: Final = mman.PROT_READ | mman.PROT_WRITE


@frozen(kw_only=True)
class OpResult:
    """What one operation gave."""

    ret: int
    minflt: int = 0
    majflt: int = 0
    signal: FaultSignal | None = None
    child_settle_minflt: int | None = None
    is_dead: bool = False
    """Whoever should have done it had ended."""


@define(eq=False)
class _Worker:
    """A process, or a thread of one."""

    task: Task
    files: dict[int, MappedFile] = field(factory=dict)
    is_alive: bool = True


@define(eq=False, kw_only=True)
class Interpreter:
    """The process that runs the list, its children and threads, and the names that all share."""

    machine: UserlandMachine
    layout: InterpreterLayout
    workers: dict[str, _Worker] = field(factory=dict)
    ranges: dict[str, tuple[int, int]] = field(factory=dict)
    descriptors: dict[str, int] = field(factory=dict)
    disk: dict[str, Mapping] = field(factory=dict, init=False)
    next_inode: int = field(default=_FIRST_NEW_INODE, init=False)

    def __attrs_post_init__(self) -> None:
        for path, (inode, size_mib) in _DISK_FILES.items():
            self.disk[path] = Mapping(dev=_DISK, inode=inode, size_bytes=size_mib * MIB)

    def begin(self, name: str, task: Task) -> None:
        """Let a process take part."""
        self.workers[name] = _Worker(task)

    def run(self, operation: op.Operation, *, by: str) -> OpResult:
        """Do an operation; `by` is who does what has no name in front of it."""
        if isinstance(operation, op.By):
            by, operation = operation.name, operation.operation
        worker = self.workers.get(by)
        if worker is None or not worker.is_alive:
            return OpResult(ret=-errno.ESRCH, is_dead=True)
        task = worker.task
        minflt, majflt = task.minflt, task.majflt
        settled: int | None = None
        signal: FaultSignal | None = None
        if isinstance(operation, op.Touch):
            ret, signal = self._touch(worker, operation)
        elif isinstance(operation, op.Fork):
            ret, settled = self._fork(worker, operation)
        else:
            ret = self._run_plain(worker, operation)
        return OpResult(
            ret=ret,
            minflt=task.minflt - minflt,
            majflt=task.majflt - majflt,
            signal=signal,
            child_settle_minflt=settled,
        )

    def _run_plain(self, worker: _Worker, operation: op.PlainOperation) -> int:
        target = getattr(operation, "range", None)
        if target is not None:
            bound = target.resolve(self._bindings(worker))
            if bound is None:
                return -errno.EINVAL
            return self._run_on_range(worker, operation, *bound)
        match operation:
            case op.Mmap():
                return self._mmap(worker, operation)
            case op.Brk(change=change):
                old = worker.task.mm.brk
                new = self._call(worker, lambda mm: do_brk(mm, old + change)) if change else old
                return new - old if change else old
            case op.Heap(name=name, length=length):
                self.ranges[name] = (worker.task.mm.brk - length, length)
                return self.ranges[name][0]
            case op.Alias(name=name, length=length):
                self.ranges[name] = (self._place(worker, operation.address), length)
                return self.ranges[name][0]
            case op.Mlockall(flags=flags):
                return self._call(worker, lambda mm: do_mlockall(mm, flags))
            case op.Munlockall():
                return self._call(worker, do_munlockall)
            case op.Churn():
                return self._churn(worker, operation)
            case _:
                return self._run_system(worker, operation)

    def _run_on_range(
        self, worker: _Worker, operation: op.PlainOperation, start: int, length: int
    ) -> int:
        place = {"start": start, "length": length}
        match operation:
            case op.Munmap():
                return self._call(worker, lambda mm: do_munmap(mm, **place, may_downgrade=True))
            case op.Mprotect(prot=prot):
                return self._call(
                    worker, lambda mm: do_mprotect(mm, **place, prot=prot.value_of_call)
                )
            case op.Mremap():
                return self._mremap(worker, operation, start, length)
            case op.Msync():
                return self._call(worker, lambda mm: do_msync(mm, **place, flags=mman.MS_SYNC))
            case op.Mlock():
                return self._call(worker, lambda mm: do_mlock(mm, **place))
            case op.Mlock2():
                flags = mman.MLOCK_ONFAULT
                return self._call(worker, lambda mm: do_mlock(mm, **place, flags=flags))
            case op.Munlock():
                return self._call(worker, lambda mm: do_munlock(mm, **place))
            case op.Madvise(advice=name):
                advice = getattr(mman, f"MADV_{name}")
                return self._call(worker, lambda mm: do_madvise(mm, **place, advice=advice))
            case op.Mincore():
                whole = length >> PAGE_SHIFT << PAGE_SHIFT
                error, resident = do_mincore(worker.task.mm, start=start, length=whole)
                return error or int(resident.sum())
            case op.Faultloop() | op.Fragment():
                return self._write_and_free(worker, operation, start, length)
            case _:
                raise NotModelled(f"{operation} is not modelled yet")

    def _run_system(self, worker: _Worker, operation: op.PlainOperation) -> int:
        match operation:
            case op.Nop() | op.Cpu() | op.Sleep() | op.Oomadj() | op.Get() | op.Snap() | op.Wait():
                return 0
            case op.Rlimit(name=name, limit=limit):
                limits = with_rlimit(worker.task.mm.rlimits, name, limit)
                if limits is None:
                    # The interpreter knows no other limit.
                    return -errno.EINVAL
                worker.task.mm.rlimits = limits
                return 0
            case op.Put(path=path, value=value):
                return self._put(path, value)
            case op.Open():
                return self._open(worker, operation)
            case op.Close(file=name):
                number = self.descriptors.get(name)
                found = None if number is None else worker.files.pop(number, None)
                return -errno.EBADF if found is None else 0
            case op.Ftruncate(file=name, length=length):
                return self._ftruncate(worker, name, length)
            case op.Unlink(path=path):
                return self._unlink(path)
            case op.Exit():
                self._end(worker)
                return 0
            case op.Kill(child=name):
                child = self.workers.get(name)
                if child is None or not child.is_alive:
                    return -errno.ESRCH
                self._end(child)
                return 0
            case op.Reap():
                return 0
            case _:
                raise NotModelled(f"{operation} is not modelled yet")

    def _call(self, worker: _Worker, steps: Callable[[MmStruct], Any]) -> int:
        task = worker.task
        return int(self.machine.perform(task, steps(task.mm)))

    def _bindings(self, worker: _Worker) -> dict[str, tuple[int, int]]:
        reserved = {"brk": (worker.task.mm.brk, 0), "stack": (self.layout.stack_top, 0)}
        return {**self.ranges, **reserved}

    def _place(self, worker: _Worker, address: op.Address) -> int:
        """Return an address; a name that was never set counts as 0 here."""
        if address.base is None:
            return address.offset
        bound = self._bindings(worker).get(address.base, (0, 0))
        return bound[0] + address.offset

    def _mmap(self, worker: _Worker, call: op.Mmap) -> int:
        hint = 0 if call.address is None else self._place(worker, call.address)
        number = self.descriptors.get(call.file) if call.file is not None else None
        file = None if number is None else worker.files.get(number)
        ret = self._call(
            worker,
            lambda mm: ksys_mmap(
                mm,
                address=hint,
                length=call.length,
                prot=call.prot.value_of_call,
                flags=int(call.flags),
                file=file,
                offset=call.offset,
            ),
        )
        if ret > 0:
            self.ranges[call.name] = (ret, page_align(call.length))
        return ret

    def _mremap(self, worker: _Worker, call: op.Mremap, start: int, length: int) -> int:
        place = 0 if call.address is None else self._place(worker, call.address)
        ret = self._call(
            worker,
            lambda mm: do_mremap(
                mm,
                address=start,
                old_length=length,
                new_length=call.length,
                flags=int(call.flags),
                new_address=place,
            ),
        )
        if ret > 0 and call.result_name is not None:
            self.ranges[call.result_name] = (ret, page_align(call.length))
        return ret

    def _touch(self, worker: _Worker, call: op.Touch) -> tuple[int, FaultSignal | None]:
        bound = call.range.resolve(self._bindings(worker))
        if bound is None:
            return -errno.EINVAL, None
        start, length = bound
        is_write = call.access == "write"
        done = 0
        for page in touch_pages(call, length >> PAGE_SHIFT).tolist():
            address = start + (page << PAGE_SHIFT)
            signal = self.machine.access(worker.task, address, is_write=is_write)
            if signal is not None:
                return done, signal
            done += 1
        return done, None

    def _write(self, worker: _Worker, start: int, length: int) -> None:
        """Write a byte of each page; the interpreter does not survive a signal here."""
        for address in range(start, start + length, PAGE_SIZE):
            if self.machine.access(worker.task, address, is_write=True) is not None:
                raise NotModelled("the interpreter is killed by a signal")

    def _write_and_free(
        self, worker: _Worker, operation: op.Faultloop | op.Fragment, start: int, length: int
    ) -> int:
        def free(first: int, nr_bytes: int) -> int:
            return self._call(
                worker,
                lambda mm: do_madvise(mm, start=first, length=nr_bytes, advice=mman.MADV_DONTNEED),
            )

        if isinstance(operation, op.Faultloop):
            for _ in range(operation.count):
                self._write(worker, start, length)
                free(start, length)
            return operation.count
        self._write(worker, start, length)
        keep = operation.keep * PAGE_SIZE
        group = operation.group * PAGE_SIZE
        for position in range(start, start + length, group):
            error = free(position + keep, group - keep)
            if error:
                return error
        return 0

    def _churn(self, worker: _Worker, call: op.Churn) -> int:
        flags = mman.MAP_PRIVATE | mman.MAP_ANONYMOUS
        for _ in range(call.count):
            place = self._call(
                worker,
                lambda mm: ksys_mmap(
                    mm, address=0, length=call.length, prot=_READ_WRITE, flags=flags
                ),
            )
            if place < 0:
                return place
            if call.touch:
                self._write(worker, place, call.length)
            # The operation's result does not depend on it.
            self._unmap(worker, place, call.length)
        return call.count

    def _unmap(self, worker: _Worker, start: int, length: int) -> int:
        return self._call(
            worker, lambda mm: do_munmap(mm, start=start, length=length, may_downgrade=True)
        )

    def _fork(self, worker: _Worker, call: op.Fork) -> tuple[int, int | None]:
        child = self.machine.fork(worker.task)
        if isinstance(child, int):
            return child, None
        self.workers[call.child] = _Worker(child, dict(worker.files))
        self.layout.start_up(self.machine, child)
        settled = child.minflt
        self.layout.settle(self.machine, worker.task)
        return 0, settled

    def _end(self, worker: _Worker) -> None:
        worker.is_alive = False
        self.machine.exit(worker.task)

    def _open(self, worker: _Worker, call: op.Open) -> int:
        mapping = self.disk.get(call.path)
        number = next(number for number in range(3, 1024) if number not in worker.files)
        if mapping is None:
            if not call.create:
                self.descriptors[call.file] = -errno.ENOENT
                return -errno.ENOENT
            mapping = Mapping(dev=_DISK, inode=self.next_inode, size_bytes=0)
            self.next_inode += 1
            self.disk[call.path] = mapping
        mapping.nr_users += 1
        worker.files[number] = MappedFile(
            mapping=mapping,
            path=call.path,
            mode=FMODE_READ if call.ro else FMODE_READ | FMODE_WRITE,
            aligns_huge=True,
            wants_writenotify=True,
        )
        self.descriptors[call.file] = number
        return 0

    def _ftruncate(self, worker: _Worker, name: str, length: int) -> int:
        file = worker.files.get(self.descriptors.get(name, -1))
        if file is None:
            return -errno.EBADF
        if not file.mode & FMODE_WRITE:
            return -errno.EINVAL
        self.machine.truncate(file.mapping, length)
        return 0

    def _unlink(self, path: str) -> int:
        mapping = self.disk.pop(path, None)
        if mapping is None:
            return -errno.ENOENT
        mapping.is_unlinked = True
        return 0

    def _put(self, path: str, value: str) -> int:
        if path.startswith(_THP) and value == "never":
            return 0
        name = path.removeprefix(_SYSCTL)
        if name == path or not is_vm_sysctl(name):
            raise NotModelled(f"nothing obeys {path} yet")
        machine = self.machine
        sysctls = VmSysctls(machine.config, machine.overcommit.policy)
        try:
            number = int(value)
        except ValueError:
            return -errno.EINVAL
        changed = set_vm_sysctl(sysctls, name, number)
        if isinstance(changed, int):
            return changed
        machine.set_sysctls(changed)
        return 0
