"""Files of /proc as a program of the machine reads them (fs/proc/, Linux 6.1).

They are the texts that a run leaves in its proc/.
"""

from attrs import define

from mmactors.actors.program.process import Process
from mmactors.actors.state.kernel import Kernel
from mmactors.mm.page_alloc.layout import MemoryLayout
from mmactors.observe.proc.link import Link
from mmactors.observe.proc.of_machine import machine_files
from mmactors.observe.proc.of_process import process_texts


@define(eq=False)
class ProcFiles:
    """Makes each text anew when it is read."""

    kernel: Kernel
    layout: MemoryLayout

    def read(self, process: Process, path: str) -> str | None:
        """Return a file below /proc as `process` reads it; None: there is none.

        None, too, for what a link of a process leads to: programs, folders and open files.
        """
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
