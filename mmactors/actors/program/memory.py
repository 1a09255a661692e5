"""The memory actor: the channels between the last-level cache and DRAM.

A CPU's cache misses are looked up inside its own batch; what they cost in queueing is decided here.
The batch's lines occupy the channels one after another, so CPUs that miss at the same time wait for
each other. Left out: banks, rows, refresh.
"""

from typing import Any

from attrs import define, field, frozen

from mmactors.engine.baton import Engine
from mmactors.engine.mailbox import Mailbox, Request


@frozen(kw_only=True)
class TransferLines:
    """Lines read from and written to memory by one CPU between two times, in ns."""

    nr_lines: int
    since_ns: int = field(eq=False)
    """Two messages are equal whatever their times: those name no state of a search."""
    until_ns: int = field(eq=False)


@define(eq=False, kw_only=True)
class MemoryActor:
    """Serves the memory channels."""

    engine: Engine
    mailbox: Mailbox[Request[Any]]
    line_ns: int
    """What one line occupies the channels."""
    busy_until_ns: int = 0
    nr_lines: int = 0
    queued_ns: int = 0
    """The sum of all delays by queueing."""

    async def serve(self) -> None:
        """Answer requests for ever."""
        while True:
            request = await self.mailbox.receive()
            request.reply.send(self.transfer(request.body))

    def transfer(self, lines: TransferLines) -> int:
        """Return by how many ns the batch ends later because the channels were busy."""
        begins_ns = max(self.busy_until_ns, lines.since_ns)
        self.busy_until_ns = begins_ns + lines.nr_lines * self.line_ns
        delay_ns = max(0, self.busy_until_ns - lines.until_ns)
        self.nr_lines += lines.nr_lines
        self.queued_ns += delay_ns
        return delay_ns
