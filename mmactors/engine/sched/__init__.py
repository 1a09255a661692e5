"""What the scheduler of one CPU does over long times."""
