"""Options of the kernel: what its work costs, and its settings."""

from attrs import frozen

from mmactors.actors.state.costs import KernelCosts
from mmactors.mm.area.mm_config import MmConfig
from mmactors.mm.area.overcommit import OvercommitPolicy
from mmactors.option import option
from mmactors.rules import Rules


@frozen(kw_only=True)
class KernelConfig:
    """The simulated kernel."""

    costs: KernelCosts = option(factory=KernelCosts, doc="What kernel paths cost.")
    vm: MmConfig = option(factory=MmConfig, doc="Settings of address spaces (/proc/sys/vm).")
    overcommit: OvercommitPolicy = option(
        factory=OvercommitPolicy, doc="How much memory may be promised (/proc/sys/vm)."
    )
    slab: str = option(
        "slub",
        doc="Which allocator of objects the kernel was built with: SLUB, which Debian's kernel has "
        "and Linux kept, SLAB with an array of free objects for each CPU, or SLOB, which has lists "
        "of pages for all and is for small machines.",
        choices=("slub", "slab", "slob"),
    )
    tables_by_rcu: bool = option(
        default=False,
        doc="Page tables are freed apart from pages and after an RCU grace period, as in a guest "
        "of KVM or Xen; false: among the pages, as on bare hardware.",
    )
    preempt: str = option(
        "voluntary",
        doc="`preempt=` of the kernel's command line; `full`: a thread may be preempted inside the "
        "kernel, and go on on another CPU. Debian's kernel has `voluntary`. It may be on the paths "
        "on which a program's module allocates and frees objects, while interleavings are "
        "explored; everywhere else a thread goes on to its next operation.",
        choices=("voluntary", "full"),
    )
    fail_page_alloc: bool = option(
        default=False,
        doc="Every allocation fails that may not wait for reclaim and may fail (fault injection's "
        "fail_page_alloc with its ignore-gfp-wait).",
    )
    rules: Rules = option(
        factory=Rules, doc="What the kernel does right; switching one off brings back a real bug."
    )
