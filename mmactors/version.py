"""The version: here alone, for the package, its wheel, and the runs that it writes."""

from typing import Final

__version__: Final = "0.1.0"
