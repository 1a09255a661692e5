"""Entries as calls change them: zap, copy, change protection, move; the gather; TLB state.

May import fault/ and what lies below it.
"""
