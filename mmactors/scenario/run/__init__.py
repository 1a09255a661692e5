"""A scenario run by somebody: a program, a notebook, the command line.

`facade` is what `import mmactors` offers; `source` finds the scenario in a path or a dict;
`stepped` is the machine that plain calls move; `outcome` says what came of it, `recording` writes
the run directory, `interrupt` is Ctrl-C. The command line imports it; no other room needs it.
"""
