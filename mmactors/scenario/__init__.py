"""Scenarios: YAML to a schema to a wired machine."""
