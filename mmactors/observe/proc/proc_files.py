"""Files of /proc as a program of the machine reads them (fs/proc/, Linux 6.1)."""

from attrs import define

from mmactors.actors.program.process import Process
from mmactors.actors.state.kernel import Kernel
from mmactors.mm.page_alloc.layout import MemoryLayout
from mmactors.observe.proc.of_machine import machine_texts
from mmactors.observe.proc.of_process import process_texts

_SELF = "self"


@define(eq=False)
class ProcFiles:
    """Makes each text anew when it is read."""

    kernel: Kernel
    layout: MemoryLayout

    def read(self, process: Process, path: str) -> str | None:
        """Return a file below /proc as `process` reads it; None: there is none."""
        match path.split("/"):
            case ["", "proc", name]:
                return machine_texts(self.kernel, self.layout, process.table.processes).get(name)
            case ["", "proc", pid, name]:
                whose = process if pid == _SELF else self._process(process, pid)
                return None if whose is None else process_texts(whose).get(name)
        return None

    def is_of_process(self, path: str) -> bool:
        """Say whether a file is one of /proc/PID."""
        return len(path.split("/")) > len(("", "proc", "name"))

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
