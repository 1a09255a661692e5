"""What may be set: GLIBC_TUNABLES and mallopt."""
