"""Races of the machine itself: a scenario whose interleavings are searched, from a kept state."""
