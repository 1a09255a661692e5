"""What a failing schedule looks like: rows, a table, a page with lanes, a test to paste.

Bottom up: a teller says what objects are called, relevance which steps matter, rows what each step
saw; a story holds all of it. May import execution, world and engine.
"""
