"""What a log tells of calls, faults and waits: how long each took, and who waited for whom.

May import events, the texts of fields, and the readers of the log.
"""
