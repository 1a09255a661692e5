"""Sanitizers: checkers that find out when a law of the kernel is broken, and say which and why."""
