"""System calls on files: open, close, unlink, ftruncate, read, write, fsync, advice (fs/, 6.1).

As other system calls they end with the kernel's result in the log (sys_exit). A write holds the
inode's i_rwsem from its first page to its last, also while it faults in what it copies from
(mm/filemap.c, generic_perform_write). Left out: offsets inside a page (a part of a page is a page),
O_DIRECT, throttling of writers.
"""

import errno
from typing import Final

from attrs import define

from mmactors.actors.alloc.page_alloc import put_and_free_page
from mmactors.actors.file.dcache import do_unlinkat, path_openat
from mmactors.actors.file.fadvise import vfs_fadvise
from mmactors.actors.file.filemap import find_get_page, find_or_create_page, mark_page_accessed
from mmactors.actors.file.readahead import read_ahead_of, use_mark
from mmactors.actors.file.truncate import fput, iput, truncate_setsize
from mmactors.actors.file.writeback import vfs_fsync_range
from mmactors.actors.program.thread import UserThread
from mmactors.actors.program.uaccess import copy_from_user_atomic, fault_in_readable
from mmactors.actors.state.inode import Inode
from mmactors.actors.state.kernel import Kernel
from mmactors.actors.state.namei import getname
from mmactors.label import Label, Mode, data, i_size, open_files, page
from mmactors.mm.area.mapped_file import ALLOC_FILE, FMODE_READ, FMODE_WRITE, MappedFile
from mmactors.mm.fault.dirty import folio_mark_dirty
from mmactors.mm.page_alloc.gfp import GFP_KERNEL, GFP_ZERO
from mmactors.mm.slab.kernel_caches import FILP
from mmactors.units import PAGE_SHIFT, ULONG_MAX
from mmactors.workload.operation import all as op
from mmactors.workload.touch import block_offsets

_OFFSET_MAX: Final = ULONG_MAX >> 1
"""Of loff_t; what ends behind it is EINVAL (rw_verify_area, fs/read_write.c)."""

FileOperation = (
    op.Open | op.Close | op.Unlink | op.Ftruncate | op.Read | op.Write | op.Fsync
    | op.Fadvise | op.Readahead
)  # fmt: skip


@define(eq=False, kw_only=True)
class FileCalls:
    """Runs operations on files for all threads of a machine."""

    kernel: Kernel

    async def perform(self, thread: UserThread, call: FileOperation) -> int:
        """Do one operation and return its result."""
        await self.kernel.engine.spend(self.kernel.costs.syscall_ns)
        files = thread.process.files
        match call:
            case op.Open():
                return await self._open(thread, call)
            case op.Unlink(path=path):
                inode = await do_unlinkat(self.kernel, path)
                if isinstance(inode, int):
                    return inode
                await iput(self.kernel, thread.cpu, inode)
                return 0
        mode = Mode.WRITE if isinstance(call, op.Close) else Mode.READ
        self.kernel.engine.touch(open_files(thread.process.pid), mode)
        file = files.get(call.file)
        if file is None:
            return -errno.EBADF  # its open failed
        inode = self.kernel.file_system.inode_of(file.mapping)
        match call:
            case op.Close(file=name):
                await fput(self.kernel, thread.cpu, files.remove(name))
                return 0
            case op.Ftruncate(length=length):
                return await self._ftruncate(thread, file, inode, length)
            case op.Read():
                return await self._read(thread, file, inode, call)
            case op.Write():
                return await self._write(thread, file, inode, call)
            case op.Fsync():
                return await self._fsync(thread, inode)
            case op.Fadvise(offset=offset, length=length, advice=advice):
                return await vfs_fadvise(self.kernel, thread.cpu, file, offset, length, advice)
            case op.Readahead(offset=offset, length=length):
                return await vfs_fadvise(self.kernel, thread.cpu, file, offset, length, "WILLNEED")

    async def _open(self, thread: UserThread, call: op.Open) -> int:
        """Open a file; it is an object before the path is looked up (path_openat)."""
        kernel = self.kernel
        error = getname(call.path)
        if error:
            return error
        gfp = GFP_KERNEL | GFP_ZERO
        thing = await kernel.objects.kmem_cache_alloc(FILP, ALLOC_FILE, gfp)
        if not thing:
            return -errno.ENOMEM
        mode = FMODE_READ if call.ro else FMODE_READ | FMODE_WRITE
        file = await path_openat(kernel, call.path, may_create=call.create, mode=mode)
        if isinstance(file, int):
            kernel.objects.free_by_rcu(FILP, thing, "file_free_rcu")
            return file
        file.thing, file.f_count = thing, 1
        kernel.engine.touch(open_files(thread.process.pid), Mode.WRITE)
        thread.process.files.install(call.file, file)
        return 0

    async def _ftruncate(
        self, thread: UserThread, file: MappedFile, inode: Inode, length: int
    ) -> int:
        if not file.mode & FMODE_WRITE:
            return -errno.EINVAL
        async with inode.i_rwsem.write():
            await truncate_setsize(self.kernel, thread.cpu, inode, length)
        return 0

    async def _fsync(self, thread: UserThread, inode: Inode) -> int:
        checks = self.kernel.checks
        if checks is not None:
            checks.fsync_began(inode.mapping)
        await vfs_fsync_range(self.kernel, thread.cpu, inode)
        if checks is not None:
            checks.sync_ended()
        return 0

    async def _read(self, thread: UserThread, file: MappedFile, inode: Inode, call: op.Read) -> int:
        """Read blocks up to the end of the file (filemap_read, shmem_file_read_iter).

        Who goes on in a page does not use it anew: in the one that the open file was last read in,
        or, of shared memory, in any but from its beginning.
        """
        ioac = thread.task.ioac
        nr_bytes = 0
        if call.offset + call.length > _OFFSET_MAX:
            return -errno.EINVAL
        for offset in block_offsets(call):
            end = min(offset + call.block_bytes, call.offset + call.length)
            ioac.syscr += 1
            if self.kernel.engine.wants_step():
                await self.kernel.engine.step(inode.size_label("read i_size", Mode.READ))
            nr_asked = -(-end >> PAGE_SHIFT)
            size_bytes = file.mapping.size_bytes
            end = min(end, size_bytes)
            for index in range(offset >> PAGE_SHIFT, -(-end >> PAGE_SHIFT)):
                if inode.mapping.is_shmem:
                    is_used = offset <= index << PAGE_SHIFT
                else:
                    is_used = (file.f_ra.prev_pos - 1) >> PAGE_SHIFT != index
                asked = nr_asked - index, size_bytes
                error = await self._read_page(thread, file, inode, index, *asked, is_used=is_used)
                if error and index <= offset >> PAGE_SHIFT:
                    return nr_bytes or error
                if error:
                    end = index << PAGE_SHIFT  # A short read; whoever reads goes on behind it.
                    break
                file.f_ra.prev_pos = min(end, (index + 1) << PAGE_SHIFT)
            if end <= offset or thread.must_end:
                break
            nr_bytes += end - offset
            ioac.rchar += end - offset
            await thread.give_turn()
        return nr_bytes

    async def _read_page(
        self,
        thread: UserThread,
        file: MappedFile,
        inode: Inode,
        index: int,
        nr_asked: int,
        size_bytes: int,
        *,
        is_used: bool,
    ) -> int:
        """Read one page of the `nr_asked` that are wanted from it on; return 0 or minus the errno.

        Where a file in memory has no page, the reader gets zeros, and no page is made (SGP_READ).
        """
        kernel = self.kernel
        cpu = thread.cpu
        is_on_disk = not inode.mapping.is_shmem
        if is_on_disk and thread.must_end:
            return -errno.EINTR
        pfn = await find_get_page(kernel, cpu, inode, index)
        if pfn is None and is_on_disk:
            await read_ahead_of(kernel, cpu, file, index, nr_asked, size_bytes)
            pfn = await find_get_page(kernel, cpu, inode, index)
        if pfn is not None and is_on_disk:
            await use_mark(kernel, cpu, file, index, pfn, nr_asked, size_bytes)
        if pfn is None and not is_on_disk:
            await kernel.engine.spend(kernel.costs.copy_user_page_ns)
            return 0
        if pfn is None:
            pfn = await find_or_create_page(kernel, cpu, inode, index)
            if pfn < 0:
                return pfn
            await kernel.page_locks.unlock(pfn)
        if is_used:
            await mark_page_accessed(kernel, cpu, pfn)
        if kernel.engine.wants_step():
            await kernel.engine.step(Label(f"read {pfn:#x}", ((data(pfn), Mode.READ),)))
        if kernel.checks is not None:
            kernel.checks.file_access(inode.mapping, index, pfn, is_write=False)
        await kernel.engine.spend(kernel.costs.copy_user_page_ns)
        await put_and_free_page(kernel, cpu, pfn)
        return 0

    async def _write(
        self, thread: UserThread, file: MappedFile, inode: Inode, call: op.Write
    ) -> int:
        """Write blocks, each with i_rwsem held (generic_file_write_iter)."""
        if not file.mode & FMODE_WRITE:
            return -errno.EBADF
        source = None
        if call.source is not None:
            bound = call.source.resolve(thread.process.bindings)
            if bound is None:
                return -errno.EINVAL
            source = bound[0]
            # Each block is written from the start (access_ok in vfs_write).
            if source + min(call.block_bytes, call.length) > thread.space.mm.task_size:
                return -errno.EFAULT
        if call.offset + call.length > _OFFSET_MAX:
            return -errno.EINVAL
        ioac = thread.task.ioac
        nr_bytes = 0
        for offset in block_offsets(call):
            end = min(offset + call.block_bytes, call.offset + call.length)
            ioac.syscw += 1
            async with inode.i_rwsem.write():
                nr_written = await self._perform_write(thread, inode, offset, end, source)
            if nr_written < 0:
                return nr_bytes or nr_written
            nr_bytes += nr_written
            ioac.wchar += nr_written
            if nr_written < end - offset and thread.must_end:
                break
            await thread.give_turn()
        return nr_bytes

    async def _perform_write(
        self, thread: UserThread, inode: Inode, offset: int, end: int, source: int | None
    ) -> int:
        """Write `[offset, end)`, page after page (generic_perform_write).

        Return how many bytes were written, fewer if an error came; if none, minus the errno.
        """
        start = offset
        while offset < end:
            page_end = min(end, ((offset >> PAGE_SHIFT) + 1) << PAGE_SHIFT)
            if source is not None and not await fault_in_readable(thread, source):
                return offset - start or -errno.EFAULT
            if thread.must_end:
                return offset - start or -errno.EINTR
            pfn = await find_or_create_page(self.kernel, thread.cpu, inode, offset >> PAGE_SHIFT)
            if pfn < 0:
                return offset - start or pfn
            # With the page locked a fault on this very page would wait for itself: so none may be.
            is_copied = source is None or await copy_from_user_atomic(thread, source)
            if inode.mapping.is_shmem:
                await mark_page_accessed(self.kernel, thread.cpu, pfn)  # SGP_WRITE
            if is_copied:
                await self._write_end(thread, inode, pfn, page_end)
            await self.kernel.page_locks.unlock(pfn)
            await put_and_free_page(self.kernel, thread.cpu, pfn)
            if is_copied:
                if source is not None:
                    source += page_end - offset
                offset = page_end
        return end - start

    async def _write_end(self, thread: UserThread, inode: Inode, pfn: int, end: int) -> None:
        """Let a locked page hold what was written, up to byte `end` of the file."""
        kernel = self.kernel
        if kernel.engine.wants_step():
            touches = (
                (data(pfn), Mode.WRITE),
                (page(pfn), Mode.WRITE),
                (i_size(inode.number), Mode.WRITE),
            )
            await kernel.engine.step(Label(f"write {pfn:#x}", touches))
        if kernel.checks is not None:
            index = (end - 1) >> PAGE_SHIFT
            kernel.checks.file_access(inode.mapping, index, pfn, is_write=True)
        folio_mark_dirty(kernel.fault_context(thread.cpu), pfn)
        inode.mapping.size_bytes = max(inode.mapping.size_bytes, end)
        await kernel.engine.spend(kernel.costs.copy_user_page_ns)
