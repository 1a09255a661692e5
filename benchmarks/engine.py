"""What the engine costs: switches, run-ahead, messages, locks; SimPy and plain trio beside it.

    python benchmarks/engine.py [--repeat N] [--json FILE]

Prints one line a figure and, with --json, writes all of them with ratios. Each figure is the best
of N repetitions, in processor time, which another load on the host disturbs less than it does the
clock on the wall; on an idle host the two are equal. "Depth" is how many coroutines lie between an
actor's outermost one and the engine's operation; at depth 6 fresh, those six are made anew for each
operation, as kernel paths do.
"""

import argparse
import json
import platform
import time
from collections.abc import Awaitable, Callable, Generator
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import trio

from mmactors.engine.baton import Engine
from mmactors.engine.config import EngineConfig
from mmactors.engine.driver import InlineDriver, TrioDriver
from mmactors.engine.lock.lock_stat import LockStatistics
from mmactors.engine.lock.spinlock import Spinlock
from mmactors.engine.mailbox import Mailbox

NR_SWITCHES = 100_000
NR_OPERATIONS = 500_000


async def at_depth(depth: int, operation: Callable[[], Awaitable[None]]) -> None:
    """Await `operation` below `depth` more coroutines."""
    if depth == 0:
        await operation()
    else:
        await at_depth(depth - 1, operation)


def engine_of(quantum_ns: int, policy: str = "fifo") -> Engine:
    """Return an engine that records its schedule, as all do."""
    return Engine(EngineConfig(quantum_ns=quantum_ns, policy=policy))


def timed_run(engine: Engine, driver: str) -> float:
    """Run to the end and return the seconds it took."""
    if driver == "inline":
        began = time.process_time()
        InlineDriver(engine).run_to_end()
        return time.process_time() - began
    return trio.run(_timed_trio_run, engine)


async def _timed_trio_run(engine: Engine) -> float:
    async with trio.open_nursery() as nursery:
        mover = TrioDriver(engine, nursery)
        began = time.process_time()
        await mover.run()
        elapsed = time.process_time() - began
        await mover.close()
    return elapsed


def switches(driver: str, depth: int, *, fresh: bool, policy: str) -> float:
    """Return switches per second between two actors that only spend."""
    engine = engine_of(0, policy)
    per_actor = NR_SWITCHES // 2

    async def loop() -> None:
        spend = engine.spend
        for _ in range(per_actor):
            await spend(10)

    async def fresh_each_time() -> None:
        async def operation() -> None:
            await engine.spend(10)

        for _ in range(per_actor):
            await at_depth(depth - 1, operation)

    for name in ("a", "b"):
        body = fresh_each_time() if fresh else at_depth(depth, loop)
        engine.spawn(name, body, daemon=False)
    elapsed = timed_run(engine, driver)
    return engine.statistics().switches / elapsed


def run_ahead_ns() -> float:
    """Return the nanoseconds of one `spend` that needs no switch."""
    engine = engine_of(10_000)

    async def body() -> None:
        spend = engine.spend
        for _ in range(NR_OPERATIONS):
            await spend(1)

    engine.spawn("a", body(), daemon=False)
    return timed_run(engine, "inline") / NR_OPERATIONS * 1e9


def spinlock_ns() -> float:
    """Return the nanoseconds of an uncontended acquire and release, counted in lock_stat."""
    engine = engine_of(10_000)
    lock = Spinlock(engine, LockStatistics().of("lock"), name="lock")

    async def body() -> None:
        for _ in range(NR_OPERATIONS):
            if not lock.acquire_nowait():
                await lock.acquire()
            if not lock.release_nowait():
                await lock.release()

    engine.spawn("a", body(), daemon=False)
    return timed_run(engine, "inline") / NR_OPERATIONS * 1e9


def round_trips(driver: str) -> float:
    """Return requests with their replies per second, between a client and a server."""
    engine = engine_of(0)
    mailbox: Mailbox[Any] = Mailbox(engine, "server")
    nr_asks = NR_SWITCHES // 4

    async def serve() -> None:
        while True:
            request = await mailbox.receive()
            await engine.spend(10)
            request.reply.send(request.body)

    async def ask() -> None:
        for number in range(nr_asks):
            await mailbox.ask(number)

    engine.spawn("server", serve())
    engine.spawn("client", ask(), daemon=False)
    return nr_asks / timed_run(engine, driver)


def simpy_timeouts() -> float:
    """Return timeouts per second of two SimPy processes."""
    import simpy  # noqa: PLC0415 - optional

    environment = simpy.Environment()

    def body() -> Generator[Any, Any, None]:
        for _ in range(NR_SWITCHES // 2):
            yield environment.timeout(10)

    environment.process(body())
    environment.process(body())
    began = time.process_time()
    environment.run()
    return NR_SWITCHES / (time.process_time() - began)


def simpy_round_trips() -> float:
    """Return requests with their replies per second through two SimPy stores."""
    import simpy  # noqa: PLC0415 - optional

    environment = simpy.Environment()
    requests, replies = simpy.Store(environment), simpy.Store(environment)
    nr_asks = NR_SWITCHES // 4

    def serve() -> Generator[Any, Any, None]:
        while True:
            number = yield requests.get()
            yield environment.timeout(10)
            yield replies.put(number)

    def ask() -> Generator[Any, Any, None]:
        for number in range(nr_asks):
            yield requests.put(number)
            yield replies.get()

    environment.process(serve())
    client = environment.process(ask())
    began = time.process_time()
    environment.run(until=client)
    return nr_asks / (time.process_time() - began)


def trio_round_trips() -> float:
    """Return requests with their replies per second through two trio memory channels."""
    nr_asks = NR_SWITCHES // 10

    async def main() -> float:
        send_request, receive_request = trio.open_memory_channel[int](0)
        send_reply, receive_reply = trio.open_memory_channel[int](0)

        async def serve() -> None:
            async for number in receive_request:
                await send_reply.send(number)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve)
            began = time.process_time()
            for number in range(nr_asks):
                await send_request.send(number)
                await receive_reply.receive()
            elapsed = time.process_time() - began
            nursery.cancel_scope.cancel()
        return elapsed

    return nr_asks / trio.run(main)


def figures() -> dict[str, tuple[Callable[[], float], str]]:
    """Return what is measured: name, how, and the unit."""
    found: dict[str, tuple[Callable[[], float], str]] = {}
    for driver in ("trio", "inline"):
        for policy in ("fifo", "seeded"):
            for depth, fresh in ((0, False), (6, False), (6, True)):
                name = f"switches, {driver}, {policy}, depth {depth}{' fresh' if fresh else ''}"
                one = partial(switches, driver, depth, fresh=fresh, policy=policy)
                found[name] = (one, "1/s")
        found[f"round trips, {driver}"] = (partial(round_trips, driver), "1/s")
    found["run-ahead"] = (run_ahead_ns, "ns")
    found["spinlock, acquire and release"] = (spinlock_ns, "ns")
    if find_spec("simpy") is not None:
        found["timeouts, SimPy"] = (simpy_timeouts, "1/s")
        found["round trips, SimPy"] = (simpy_round_trips, "1/s")
    found["round trips, trio channels"] = (trio_round_trips, "1/s")
    return found


RATIOS = {
    "switches to SimPy, inline": ("switches, inline, fifo, depth 0", "timeouts, SimPy"),
    "switches to SimPy, trio": ("switches, trio, fifo, depth 0", "timeouts, SimPy"),
    "round trips to SimPy, inline": ("round trips, inline", "round trips, SimPy"),
    "round trips to SimPy, trio": ("round trips, trio", "round trips, SimPy"),
    "round trips to trio channels, trio": ("round trips, trio", "round trips, trio channels"),
}


def version_of(package: str) -> str:
    """Return the installed version."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def measure(repeat: int) -> dict[str, Any]:
    """Return all figures, the best of `repeat` each, with ratios."""
    results: dict[str, Any] = {}
    for name, (function, unit) in figures().items():
        values = [function() for _ in range(repeat)]
        results[name] = {
            "value": round(max(values) if unit == "1/s" else min(values), 1),
            "unit": unit,
            "all": [round(value, 1) for value in values],
        }
    ratios = {
        name: round(results[ours]["value"] / results[other]["value"], 2)
        for name, (ours, other) in RATIOS.items()
        if other in results
    }
    return {
        "benchmark": "engine",
        "python": platform.python_version(),
        "versions": {package: version_of(package) for package in ("mmactors", "trio", "simpy")},
        "results": results,
        "ratios": ratios,
    }


def main() -> None:
    """Measure, print, and write what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    report = measure(arguments.repeat)
    for name, result in report["results"].items():
        print(f"{name:48} {result['value']:>14,.1f} {result['unit']}")
    for name, ratio in report["ratios"].items():
        print(f"{name:48} {ratio:>14,.2f} times")
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
