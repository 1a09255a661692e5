"""Records of the event log as text: a table for people, and lines like ftrace's."""

from typing import Final

from attrs import define, field

from mmactors.observe.field_text import field_texts
from mmactors.observe.ftrace.event_text import COMM_LENGTH, event_text
from mmactors.observe.log_read import EventRecord
from mmactors.plain_text import plain

TABLE_HEAD: Final = (
    f"{'seq':>8} {'time (ns)':>14} {'actor':<16} "
    f"{'cpu':>3} {'pid':>5} {'tid':>5} {'span':>8}  event"
)

FTRACE_HEAD: Final = """\
# tracer: nop
#
#                                _-----=> irqs-off/BH-disabled
#                               / _----=> need-resched
#                              | / _---=> hardirq/softirq
#                              || / _--=> preempt-depth
#                              ||| / _-=> migrate-disable
#                              |||| /     delay
#           TASK-PID     CPU#  |||||  TIMESTAMP  FUNCTION
#              | |         |   |||||     |         |"""


def table_line(record: EventRecord) -> str:
    """Return a record as a line below TABLE_HEAD; last, what led to it and for whom it was done."""
    fields = "".join(f" {name}={text}" for name, text in field_texts(record))
    return (
        f"{record['seq']:>8} {record['t']:>14} {plain(record['actor']):<16} "
        f"{_number(record['cpu']):>3} {_number(record['pid']):>5} {_number(record['tid']):>5} "
        f"{_number(record.get('span')):>8}  {plain(record['event'])}{fields}{_why(record)}"
    ).rstrip()


def _why(record: EventRecord) -> str:
    parts = []
    if "cause" in record:
        parts.append(f"because of {record['cause']}")
    if "for_actor" in record:
        parts.append(f"for {plain(str(record['for_actor']))}")
    return f"  ({', '.join(parts)})" if parts else ""


def _number(value: int | None) -> str:
    return "-" if value is None else str(value)


@define(eq=False)
class FtraceText:
    """Shows records as /sys/kernel/tracing/trace would, but with nanoseconds.

    The five flags are not known and shown as dots. What an actor without a CPU does, the kernel
    does in the context of whoever asked for it, so that is who is shown.
    """

    _tids: dict[str, int] = field(factory=dict, init=False)
    """Of the actors seen so far."""

    def see(self, record: EventRecord) -> None:
        """Learn which thread an actor is, also from records that are not shown."""
        if record["tid"] is not None:
            self._tids[record["actor"]] = record["tid"]

    def line(self, record: EventRecord) -> str:
        """Return a record as a line."""
        self.see(record)
        actor, cpu, tid = record["actor"], record["cpu"], record["tid"]
        if cpu is None and "for_actor" in record:
            actor, cpu = record["for_actor"], record.get("for_cpu")
            tid = self._tids.get(actor, record.get("for_pid"))
        comm = "<idle>" if tid is None and cpu is not None else plain(actor[:COMM_LENGTH])
        seconds, ns = divmod(record["t"], 1_000_000_000)
        return (
            f"{comm:>16}-{tid or 0:<7} [{cpu or 0:03d}] ..... {seconds:5d}.{ns:09d}: "
            f"{plain(record['event'])}: {event_text(record)}"
        ).rstrip()
