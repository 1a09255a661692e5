"""A path that is driven alone: each of its requests is answered at once, by a function.

In a machine others are asked, who take time to answer (actors/state/perform.py).
"""

from collections.abc import Callable, Generator
from typing import TypeVar

Request = TypeVar("Request")
Answer = TypeVar("Answer")
T = TypeVar("T")


def perform(
    steps: Generator[Request, Answer | None, T], answer: Callable[[Request], Answer | None]
) -> T:
    """Drive a path to its end; return its result."""
    given: Answer | None = None
    while True:
        try:
            request = steps.send(given)
        except StopIteration as done:
            result: T = done.value
            return result
        given = answer(request)
