"""What a verb writes to, its process's streams and a line that changes; texts and tables."""
