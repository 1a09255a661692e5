"""Free blocks that all threads share: by class a list of spans, and chains in transfer."""
