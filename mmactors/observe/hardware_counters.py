"""The hardware's counts over all CPUs, by the names that a scenario's `expect` uses."""

from collections import Counter

from attrs import asdict

from mmactors.hw.hardware import Hardware


def hardware_counters(hardware: Hardware) -> dict[str, int]:
    """Return every count of `HardwareStatistics`, summed; `fetch.l1_misses`, `read_tlb.walks`..."""
    totals: Counter[str] = Counter()
    for cpu in range(hardware.nr_cpus):
        for name, value in asdict(hardware.statistics(cpu)).items():
            if isinstance(value, dict):
                totals.update({f"{name}.{part}": count for part, count in value.items()})
            else:
                totals[name] += value
    return dict(totals)


def nr_accesses(hardware: Hardware) -> int:
    """Return the accesses of user programs: fetches, reads, writes."""
    counts = [hardware.statistics(cpu) for cpu in range(hardware.nr_cpus)]
    return sum(one.fetch.references + one.read.references + one.write.references for one in counts)
