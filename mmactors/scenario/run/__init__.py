"""A scenario run by somebody: a program, a notebook, the command line.

`facade` is what `import mmactors` offers; `source` finds the scenario in a path or a dict; `stepped`
is the machine that plain calls move; `outcome` says what came of it, `recording` writes the run
directory, `interrupt` is Ctrl-C. It may be imported by the command line; nothing below needs it.
"""
