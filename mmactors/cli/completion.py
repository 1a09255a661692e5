"""`mmactors completion SHELL`: the script that lets a shell complete verbs and options."""

import sys
from typing import Annotated, Literal

from cyclopts import Parameter

from mmactors.cli.main import make_app


def completion(
    shell: Annotated[Literal["bash", "zsh", "fish"], Parameter(help="Which shell.")],
) -> int:
    """Print a completion script: `source <(mmactors completion bash)`."""
    sys.stdout.write(make_app().generate_completion(shell=shell))
    return 0
