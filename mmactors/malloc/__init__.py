"""The C libraries' allocators: what `malloc` and its like decide, in user mode.

May import the layers below (arch/, units, errors, rules, label); nothing of mm/, hw/ or workload/.
A package is a library; `request.py` says what they all ask for, `library.py` what they all offer.
"""
