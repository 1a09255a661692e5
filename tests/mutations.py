"""Recordings of strangers: whole ones, damaged at random, the same for the same seed.

Structure is damaged (values left out, of another type, nested, huge, negative, texts with control
characters, a key twice), and bytes are (cut, changed, not gzip). As a program,
`python tests/mutations.py FIRST NR` validates NR of them in one process and prints what each kind
of end was reached how often; what is no end of `validate` is a finding.
"""

import gzip
import json
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np

from mmactors.errors import UserError
from mmactors.validate.registry import find_recordings, validate_recordings

REFERENCE = Path(__file__).parent / "reference"
SEEDS = (
    *(
        path
        for topic in ("faults", "mmap_lock", "tlb", "vma")
        for path in sorted((REFERENCE / "linux-6.1/userland" / topic).glob("*.json"))
        if path.name != "counts.json"
    ),
    REFERENCE / "linux-6.1/kernel/buddy/256M-c1-thp-s1.json",
    REFERENCE / "linux-6.1/kernel/slub/256M-c1-fill-s5.json",
    REFERENCE / "linux-6.1/kernel/slab/256M-c1-fill-s5.json",
    REFERENCE / "linux-6.1/kernel/slob/256M-c1-fill-s5.json.gz",
    REFERENCE / "linux-6.1/kernel/slab-compare/256M-c1-fill-s4.json.gz",
    REFERENCE / "linux-6.1/kernel/vmalloc/512M-c1-lifo-s1.json",
    REFERENCE / "linux-6.1/kernel/memblock/more/numa2-1G-c2-off.json",
    REFERENCE / "traces/true.json",
)
ARCHIVES = tuple(
    REFERENCE / f"malloc/{name}.npz"
    for name in ("real_sort", "real_tar", "real_zstd", "syn_realloc_mmap_b", "usable_sizes")
)
VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 2, 5, 63, 64, 4095, 4096, 1 << 31, 1 << 32, 1 << 63, 1 << 64),
    *(
        -(1 << 63),
        10**9,
        10**30,
        0.5,
        -0.0,
        1e308,
        "",
        "x",
        "0",
        "-1",
        "0x10",
        "0xfffffffffffff000",
    ),
    *("\x1b[2J\x07", "\u202e", "\ud800", "a" * 5000, "nop", "T1& spin", "touch A write", "\n"),
    *([], {}, [[]], [1, 2, 3], [3, 2, 1], {"a": 1}, [None], {"per_run": [1]}, [{}]),
)
WORDS = ("0", "1", "9", "99999999", "0x1000", "1G", "16T", "fixed", "none", "P0", "A", "zz", "..")


def places_of(value: object) -> Iterator[tuple[Any, Any]]:
    """Yield each (parent, key) of a JSON value."""
    pairs: list[tuple[Any, Any]] = []
    if isinstance(value, dict):
        pairs = list(value.items())
    elif isinstance(value, list):
        pairs = list(enumerate(value))
    for key, inner in pairs:
        yield value, key
        yield from places_of(inner)


def damaged(content: Any, chance: random.Random) -> Any:
    """Return a copy of a JSON value with up to three damages."""
    content = deepcopy(content)
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        # First a field of the whole, so that long lists are not all that is damaged.
        parent, key = content, chance.choice(list(content))
        if chance.random() < 0.8 and isinstance(parent[key], dict | list) and parent[key]:
            parent, key = chance.choice(list(places_of(parent[key])))
        _damage(parent, key, chance)
        if not content:
            break
    return content


def _damage(parent: Any, key: Any, chance: random.Random) -> None:
    value = parent[key]
    match chance.randrange(7):
        case 0:
            del parent[key]
        case 1 if isinstance(parent, list):
            parent.insert(key, value)
        case 2 if isinstance(value, int):
            parent[key] = value + chance.choice((-1, 1, 4096, -value, 1 << 40))
        case 3 if isinstance(value, str) and value:
            parent[key] = _damaged_text(value, chance)
        case 4:
            parent[key] = [value] if chance.random() < 0.5 else {"x": value}
        case 5 if isinstance(value, list):
            chance.shuffle(value)
        case _:
            parent[key] = deepcopy(chance.choice(VALUES))


def _damaged_text(text: str, chance: random.Random) -> str:
    words = text.split(" ")
    nth = chance.randrange(len(words))
    match chance.randrange(4):
        case 0:
            words[nth] = chance.choice(WORDS)
        case 1:
            del words[nth]
        case 2:
            words.insert(nth, chance.choice(WORDS))
        case _:
            at = chance.randrange(len(text))
            return text[:at] + chance.choice("0f -:\n\t\x1b\xe9") + text[at + 1 :]
    return " ".join(words)


def write_mutation(seed: int, folder: Path, contents: dict[Path, Any]) -> Path:
    """Write the recording of a seed into a folder; return its path."""
    chance = random.Random(seed)
    source = chance.choice(SEEDS)
    if chance.random() < 0.1:
        return write_archive(chance, folder / f"{seed}.npz", contents)
    if source not in contents:
        data = source.read_bytes()
        contents[source] = json.loads(gzip.decompress(data) if source.suffix == ".gz" else data)
    content = damaged(contents[source], chance)
    is_packed = chance.random() < 0.2 and source.name != "true.json"
    path = folder / f"{seed}.json{'.gz' if is_packed else ''}"
    text = json.dumps(content)
    if chance.random() < 0.05:
        text = text.replace('": ', '": 1, "case": ', 1)  # perhaps a key twice
    data = text.encode()
    if is_packed:
        data = gzip.compress(data, 1)
    if chance.random() < 0.1:
        data = _damaged_bytes(data, chance)
    path.write_bytes(data)
    if source.name == "true.json":
        npz = source.with_suffix(".npz").read_bytes()
        path.with_suffix(".npz").write_bytes(
            _damaged_bytes(npz, chance) if chance.random() < 0.3 else npz
        )
    return path


def write_archive(chance: random.Random, path: Path, contents: dict[Path, Any]) -> Path:
    """Write an archive of arrays with up to three damages; return its path."""
    source = chance.choice(ARCHIVES)
    if source not in contents:
        with np.load(source) as archive:
            contents[source] = dict(archive)
        if source.stem == "usable_sizes":
            # A few thousand requests do.
            contents[source] = {name: each[:3000] for name, each in contents[source].items()}
    arrays = dict(contents[source])
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        name = chance.choice(list(arrays))
        array = arrays.pop(name)
        is_json = name.endswith("meta") and array is contents[source].get(name)
        array = _damaged_array(array, chance, is_json=is_json)
        if array is not None:
            arrays[name if chance.random() < 0.98 else f"{name}_"] = array
    np.savez(path, **arrays)
    if chance.random() < 0.1:
        path.write_bytes(_damaged_bytes(path.read_bytes(), chance))
    return path


def _damaged_array(array: Any, chance: random.Random, *, is_json: bool) -> Any:
    """Return a copy of an array with one damage; None: it is left out."""
    if is_json and chance.random() < 0.9:
        text = json.dumps(damaged(json.loads(array.tobytes()), chance))
        return np.frombuffer(text.encode(), np.uint8)
    match chance.randrange(8):
        case 0:
            return None
        case 1:
            return array[: chance.randrange(len(array) + 1)]
        case 2:
            types = (np.uint8, np.int16, np.uint32, np.int32, np.int64, np.uint64, np.float64)
            return array.astype(chance.choice(types))
        case 3:
            return array.reshape(-1, 1) if array.ndim == 1 else np.asfortranarray(array)
        case 4 if len(array):
            first = chance.randrange(len(array))
            return np.concatenate([array[first:], array[:first]])
        case _ if array.size:
            array = array.copy()
            flat = array.reshape(-1)
            nth = chance.randrange(len(flat))
            value = chance.choice(
                (-100, -2, -1, 0, 1, 2, 3, 16, 4096, 1 << 17, 1 << 31, 1 << 46, (1 << 63) - 1)
            )
            if chance.random() < 0.5:
                value += int(flat[nth])
            flat[nth] = np.array(value & (1 << 64) - 1, np.uint64).astype(array.dtype)
            return array
        case _:
            return array


def _damaged_bytes(data: bytes, chance: random.Random) -> bytes:
    at = chance.randrange(len(data))
    if chance.random() < 0.3:
        return data[:at]
    return data[:at] + chance.randbytes(chance.randrange(1, 9)) + data[at + 4 :]


def end_of(path: Path) -> str:
    """Validate one recording; return the kind of its end. Whatever it raises is a finding."""
    recordings, problems = find_recordings([path])
    ends = []
    for result in validate_recordings(recordings):
        if isinstance(result, UserError):
            problems += result.problems
        elif result.not_validated is not None:
            ends.append("not validated")
        else:
            ends.append("equal" if result.passed else "differs")
    if not problems:
        return "differs" if "differs" in ends else ends[0]
    assert len(problems) <= 40, path
    assert max(len(str(problem)) for problem in problems) < 4000, problems
    assert all(each.found and each.legal and each.advice for each in problems), problems
    return "refused"


def main() -> None:
    """Validate mutations FIRST to FIRST + NR."""
    first, nr = map(int, sys.argv[1:3])
    ends: Counter[str] = Counter()
    slowest: list[tuple[float, int]] = []
    contents: dict[Path, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(first, first + nr):
            began = time.monotonic()
            path = write_mutation(seed, Path(folder), contents)
            try:
                ends[end_of(path)] += 1
            except Exception as error:  # noqa: BLE001 - each kind of finding is counted
                kind = f"FINDING {type(error).__name__}: {str(error)[:150]}"
                ends["finding"] += 1
                sys.stdout.write(f"{seed}: {kind}\n")
                sys.stdout.flush()
            for file in Path(folder).iterdir():
                file.unlink()
            slowest = sorted([*slowest, (time.monotonic() - began, seed)])[-5:]
    sys.stdout.write(f"{dict(ends)}\nslowest: {slowest[::-1]}\n")


if __name__ == "__main__":
    main()
