"""Symbolic links of /proc: /proc/self, /proc/PID/exe, /proc/PID/fd/N (fs/proc/, Linux 6.1)."""


class Link(str):
    """What a link leads to, as readlink gives it; it stands where a file has its text.

    Nobody here follows it: it is a path of the simulated machine, not of the host.
    """

    __slots__ = ()
