"""`python -m mmactors` is `mmactors`."""

from mmactors.cli.main import main

main()
