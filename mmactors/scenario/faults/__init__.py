"""Faults that a scenario injects into a run: `faults` in YAML, and who decides when they happen.

`config` is what may be said, `problems` what is wrong in it, `fault_attr` the rule of
lib/fault-inject.c, `decider` answers the engine (engine/chance.py), `spurious` wakes sleepers. To
add one: a class in `config`, a name in engine/chance.py that is asked where it happens, an answer
in `decider`.
"""
