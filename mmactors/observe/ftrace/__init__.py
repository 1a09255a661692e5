"""Events as the kernel's own tracing prints them (include/trace/events/, TP_printk, v6.1).

May import events and the names of flags in mm. Recordings of the kernel's texts are in
tests/reference/ftrace.
"""
