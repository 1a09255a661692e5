"""Tracing: what the probe says of actors, and what the engine's parts tell it."""
