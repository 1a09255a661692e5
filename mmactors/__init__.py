"""mmactors: how a multi-processor machine manages memory, as Linux 6.1 does it."""
