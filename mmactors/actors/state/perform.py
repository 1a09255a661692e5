"""Driving a mechanism: the one loop between a generator of mm/ and who answers what it asks for.

Each room has one answerer, whose `match` over the requests of its mechanisms ends in
`assert_never`: a request that nobody answers is an error of the type checker. Faults have the loop
written out in fault/page_work.py, where what nearly every one of them asks for is answered without
a coroutine of its own.
"""

from collections.abc import Awaitable, Callable, Generator
from typing import TypeVar

R = TypeVar("R")
A = TypeVar("A")
T = TypeVar("T")


async def perform(
    steps: Generator[R, A | None, T],
    answer: Callable[[R], Awaitable[A | None]],
    *,
    before: Callable[[R | None], Awaitable[None]] | None = None,
) -> T:
    """Drive `steps` to their end, each request answered by `answer`; return their result.

    `before` is awaited each time before they go on, with what they asked for last, None: nothing
    yet. It is where a step says what they touch from there to the next request.
    """
    request: R | None = None
    reply: A | None = None
    while True:
        if before is not None:
            await before(request)
        try:
            request = steps.send(reply)
        except StopIteration as done:
            result: T = done.value
            return result
        reply = await answer(request)
