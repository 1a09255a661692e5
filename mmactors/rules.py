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

    anon_vma_counts_areas_apart: bool = option(
        True,
        doc="An anon_vma counts the areas that use it apart from its children, so that none is "
        "taken over that still has an area (2555283eb40d, v6.1).",
    )
    anon_vma_prepare_locks_new: bool = option(
        True,
        doc="Linking the first area to a new anon_vma takes its lock, as a walk may have found the "
        "object by a page of its last user (d9d332e0874f, v2.6.28).",
    )
    migrate_collect_flushes_under_ptl: bool = option(
        True,
        doc="Collecting pages for device memory flushes the TLBs before it lets go of the "
        "page-table lock (60bae7370896, v6.1).",
    )
    free_pages_frees_tails: bool = option(
        True,
        doc="__free_pages gives the tail pages of a block that is not compound back itself when "
        "somebody else still holds its first page (e320d3012d25, v5.10).",
    )
    free_pcppages_rereads_isolated_type: bool = option(
        True,
        doc="Draining a CPU's list looks at the pageblock's type again, under zone->lock, while "
        "any pageblock is isolated (51bb1a4093cc, v3.18).",
    )
    offline_disables_pcp: bool = option(
        True,
        doc="Taking memory offline keeps pages off the CPUs' lists meanwhile (ec6e8c7e0314, "
        "v5.11; before, 968318261221, v5.9, drained them again and again).",
    )
