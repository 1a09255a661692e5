"""The verbs about programs' heaps: what they hold, how traces read, libraries side by side."""
