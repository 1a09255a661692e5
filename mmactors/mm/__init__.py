"""The kernel's mechanisms, one file a noun. Nothing here awaits, logs, or reads a clock."""
