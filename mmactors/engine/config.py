"""Options of the engine."""

from attrs import frozen

from mmactors.option import option


@frozen(kw_only=True)
class EngineConfig:
    """How the interleaving is chosen and how long a run may take."""

    seed: int = option(0, doc="Permutes ties and drives jitter and generators.", minimum=0)
    policy: str = option(
        "fifo",
        doc="Who goes first among those that could: in order of arrival, or permuted by the seed.",
        choices=("fifo", "seeded"),
    )
    jitter_percent: int = option(
        0,
        doc="With policy seeded: each cost varies by up to this much of itself.",
        minimum=0,
        maximum=100,
    )
    quantum_ns: int = option(
        10_000,
        doc="How far a CPU may run ahead of the others; 0 is exact.",
        unit="ns",
        minimum=0,
    )
    step_budget: int = option(
        1_000_000_000,
        doc="A run that takes more switches than this is reported as a livelock.",
        minimum=1,
    )
    driver: str = option(
        "trio",
        doc="trio: each actor is a trio task. inline: all actors in one task, faster, same log.",
        choices=("trio", "inline"),
    )
    guard: bool = option(
        False,
        doc="Check every access to shared state against the declared label of its step.",
    )
