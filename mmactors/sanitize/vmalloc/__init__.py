"""Checkers of the kernel's own mappings: who has which area, and what TLBs may know of them."""
