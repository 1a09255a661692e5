"""Files of /proc and /sys/kernel/slab as a program of the machine reads them (Linux 6.1).

Those of /proc are the texts that a run leaves in its proc/.
"""

from attrs import define

from mmactors.actors.program.proc_paths import PERCPU_STATS, SYS_SLAB
from mmactors.actors.program.process import Process
from mmactors.actors.state.kernel import Kernel
from mmactors.mm.page_alloc.layout import MemoryLayout
from mmactors.observe.proc.link import Link
from mmactors.observe.proc.of_machine import machine_files
from mmactors.observe.proc.of_process import process_texts
from mmactors.observe.proc.of_slab import sys_slab_text


@define(eq=False)
class ProcFiles:
    """Makes each text anew when it is read."""

    kernel: Kernel
    layout: MemoryLayout

    def read(self, process: Process, path: str) -> str | None:
        """Return a file of /proc or /sys as `process` reads it; None: there is none.

        None, too, for what a link of a process leads to: programs, folders and open files.
        """
        if path.startswith(SYS_SLAB):
            return sys_slab_text(self.kernel.slab, path.removeprefix(SYS_SLAB))
        if path == PERCPU_STATS:
            return _percpu_stats_text(self.kernel)
        name = path.removeprefix("/proc/")
        if name == path:
            return None
        if name == "mounts":
            name = "self/mounts"
        first, _, rest = name.partition("/")
        if first == "self" or first.isdecimal():
            whose = process if first == "self" else self._process(process, first)
            text = None if whose is None else process_texts(whose).get(rest)
        else:
            make = machine_files(self.kernel, self.layout, process.table.processes).get(name)
            text = None if make is None else make()
        return None if isinstance(text, Link) else text

    def is_of_process(self, path: str) -> bool:
        """Say whether a file is one of /proc/PID."""
        first = path.removeprefix("/proc/").partition("/")[0]
        return first == "self" or first.isdecimal()

    def _process(self, reader: Process, pid: str) -> Process | None:
        """Return a process that was not waited for yet."""
        return next(
            (
                each
                for each in reader.table.processes
                if str(each.pid) == pid and not each.is_reaped
            ),
            None,
        )


def _percpu_stats_text(kernel: Kernel) -> str | None:
    """Return what is counted of per-CPU memory; None: nobody has asked for any yet."""
    if kernel.percpu is None:
        return None
    from mmactors.observe.proc.percpu_stats import percpu_stats  # noqa: PLC0415

    return percpu_stats(kernel.percpu)
