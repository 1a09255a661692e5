"""What a verb writes to: the streams of its process, a line that changes, texts and tables, what a run ends with."""
