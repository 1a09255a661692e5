"""Memory from the system and back to it: the program break, mapped chunks, trims."""
