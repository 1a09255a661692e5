"""`python -m mmactors.cli` is `mmactors`."""

from mmactors.cli.main import main

main()
