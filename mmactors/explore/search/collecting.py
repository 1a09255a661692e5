"""What the garbage collector need not look at while a search runs: all that was there before.

A search makes and drops a world for each schedule, so that the collector of old objects comes again
and again. The modules of this package and its compiled functions are hundreds of thousands of
objects, and none of them goes away: to look at all takes 0.1 s, in the middle of a schedule, where
nobody can look at the clock.
"""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def old_set_aside() -> Iterator[None]:
    """Keep what there is out of collections inside; leave it alone if somebody else does so."""
    if gc.get_freeze_count() > 0:
        yield
        return
    gc.collect(1)  # Young garbage is not to grow old by this; what stays is counted as old.
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
