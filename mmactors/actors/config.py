"""Options of the kernel: what its work costs, and its settings."""

from attrs import frozen

from mmactors.actors.costs import KernelCosts
from mmactors.mm.mm_config import MmConfig
from mmactors.option import option
from mmactors.rules import Rules


@frozen(kw_only=True)
class KernelConfig:
    """The simulated kernel."""

    costs: KernelCosts = option(factory=KernelCosts, doc="What kernel paths cost.")
    vm: MmConfig = option(factory=MmConfig, doc="Settings of address spaces (/proc/sys/vm).")
    rules: Rules = option(
        factory=Rules, doc="What the kernel does right; switching one off brings back a real bug."
    )
