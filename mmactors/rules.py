"""The kernel's rules that real bugs broke: one field a rule, named by what the right kernel does.

A bug is a rule switched off (docs/ARCHITECTURE.md). Each rule is read in exactly one statement, in
a path that ordinary runs execute too, so that a race is a difference of rules plus a scenario. A
rule whose code is not of Linux 6.1 names its release. All rules hold unless a scenario says
otherwise under `kernel: {rules: ...}`.
"""

from attrs import frozen

from mmactors.option import option


@frozen(kw_only=True)
class Rules:
    """What the right kernel does."""

    migrate_collect_flushes_under_ptl: bool = option(
        True,
        doc="Collecting pages for device memory flushes the TLBs before it lets go of the "
        "page-table lock (60bae7370896, v6.1).",
    )
