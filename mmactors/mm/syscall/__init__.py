"""What each system call on memory decides, one file a call.

May import entries/, reclaim/ and what lies below them.
"""
