"""What a run shows: the structured log, counters as text, /proc views."""
