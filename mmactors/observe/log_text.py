"""Records of the event log as text: a table for people, and lines like ftrace's."""

from typing import Final

from mmactors.observe.log_filter import EventRecord, fields_of

TABLE_HEAD: Final = f"{'seq':>8} {'time (ns)':>14} {'actor':<16} {'cpu':>3} {'pid':>5}  event"

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

_HEX_FIELDS: Final = frozenset({"address", "pfn", "error_code", "flags", "gfp_flags", "ip"})


def table_line(record: EventRecord) -> str:
    """Return a record as a line below TABLE_HEAD."""
    return (
        f"{record['seq']:>8} {record['t']:>14} {record['actor']:<16} {_number(record['cpu']):>3} "
        f"{_number(record['pid']):>5}  {record['event']} {_fields(record)}"
    ).rstrip()


def ftrace_line(record: EventRecord) -> str:
    """Return a record as /sys/kernel/tracing/trace would show it, but with nanoseconds.

    The five flags are not known and shown as dots; what has no CPU is shown on CPU 0.
    """
    seconds, ns = divmod(record["t"], 1_000_000_000)
    return (
        f"{record['actor'][:16]:>16}-{record['pid'] or 0:<7} [{record['cpu'] or 0:03d}] ..... "
        f"{seconds:5d}.{ns:09d}: {record['event']}: {_fields(record)}"
    ).rstrip()


def _fields(record: EventRecord) -> str:
    return " ".join(f"{name}={_field(name, value)}" for name, value in fields_of(record).items())


def _field(name: str, value: object) -> str:
    match value:
        case None:
            return "(none)"
        case bool():
            return str(int(value))
        case int() if name in _HEX_FIELDS and value >= 0:
            return f"0x{value:x}"
        case _:
            return str(value)


def _number(value: int | None) -> str:
    return "-" if value is None else str(value)
