"""The hardware: TLBs, page walks, caches, coherence, and the compiled access path."""
