"""Recordings of the real thing, run against the model."""
