"""Which recordings there are below a path, and what runs each kind of them against the model.

A recording is recognised by its content: an .npz of accesses beside its .json, or a JSON object
(plain or gzip) that names its topic. Files that are no recordings are passed over in a folder, and
are errors when they are named themselves. A topic without a validator is listed, never passed.
"""

import importlib
import json
import re
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

from attrs import define, frozen

from mmactors.errors import Place, Problem, UserError
from mmactors.given_file import open_given
from mmactors.validate.document import cut, read_head
from mmactors.validate.result import CaseResult
from mmactors.workload.trace.archive import ARCHIVE_ERRORS

Validator = Callable[[Path], Iterator[CaseResult]]

VALIDATORS: Final = {
    "traces": "mmactors.validate.hardware.traces:validate_trace",
    "buddy": "mmactors.validate.buddy.buddy:validate_buddy",
    "slab": "mmactors.validate.slab.slab:validate_slab",
    "slub": "mmactors.validate.slub.slub:validate_slub",
    "slab-compare": "mmactors.validate.slab_compare.slab_compare:validate_slab_compare",
    "slob": "mmactors.validate.slob.slob:validate_slob",
    "percpu": "mmactors.validate.percpu.percpu:validate_percpu",
    "memblock": "mmactors.validate.memblock.memblock:validate_memblock",
    "malloc": "mmactors.validate.malloc.malloc:validate_malloc",
    "malloc/jemalloc": "mmactors.validate.malloc.jemalloc_geometry:validate_jemalloc_geometry",
    "malloc/tcmalloc": "mmactors.validate.malloc.tcmalloc_geometry:validate_tcmalloc_geometry",
    "malloc/usable_sizes": "mmactors.validate.malloc.usable_sizes:validate_usable_sizes",
    "vmalloc": "mmactors.validate.vmalloc.vmalloc:validate_vmalloc",
    "userland/faults": "mmactors.validate.userland.faults:validate_faults",
    "userland/mmap_lock": "mmactors.validate.userland.tlb:validate_tlb",
    "userland/tlb": "mmactors.validate.userland.tlb:validate_tlb",
    "userland/vma": "mmactors.validate.userland.vma:validate_vma",
}
"""By topic: `module:function`, imported when the first recording of the topic is found."""

_HEAD_BYTES: Final = 4096
_TOPIC = re.compile(rb'"topic"\s*:\s*"([\w.-]{1,60})"')
_GEOMETRIES: Final = {"jemalloc": b'"opt.tcache_max"', "tcmalloc": b'"max_small"'}
"""By library a key near the begin of the JSON file that says how it lays out memory."""
_SUFFIXES: Final = (".json", ".json.gz", ".npz")


@frozen(kw_only=True)
class Recording:
    """One file of a known format."""

    topic: str
    path: Path


@define(kw_only=True)
class TopicTotals:
    """The sum over all cases of one topic."""

    topic: str
    cases: int = 0
    passed: int = 0
    failed: int = 0
    not_validated: int = 0
    compared: int = 0
    equal: int = 0
    listed: int = 0

    def add(self, result: CaseResult) -> None:
        """Count one case."""
        self.cases += 1
        self.compared += result.compared
        self.equal += result.equal
        self.listed += result.listed
        if result.not_validated is not None:
            self.not_validated += 1
        elif result.passed:
            self.passed += 1
        else:
            self.failed += 1


def find_recordings(paths: Sequence[Path]) -> tuple[list[Recording], list[Problem]]:
    """Return the recordings named and those below the folders named, by path.

    The problems are of paths that are missing, damaged, or no recordings although they were named.
    """
    found: dict[Path, Recording] = {}
    problems: list[Problem] = []
    for path in paths:
        if not path.exists():
            problems.append(_no_recording(path, "no such file or folder"))
            continue
        is_folder = path.is_dir()
        files = sorted(path.rglob("*")) if is_folder else [path]
        nr_found = 0
        for file in files:
            if is_folder and not file.is_file():
                continue
            try:
                recording = _recognise(file)
            except UserError as error:
                problems += error.problems
                nr_found += 1
                continue
            if recording is not None:
                found[recording.path] = recording
                nr_found += 1
        if not nr_found:
            what = "a folder without recordings" if is_folder else "no recording of a known format"
            problems.append(_no_recording(path, what))
    return list(found.values()), problems


def validate_recordings(recordings: Iterable[Recording]) -> Iterator[CaseResult | UserError]:
    """Yield the results of each recording, or the error of one that cannot be read."""
    validators: dict[str, Validator] = {}
    for recording in recordings:
        name = VALIDATORS.get(recording.topic)
        if name is None:
            yield CaseResult(
                topic=recording.topic,
                case=_case_name(recording.path),
                path=str(recording.path),
                not_validated=f"the topic {recording.topic} is not modelled yet",
            )
            continue
        if recording.topic not in validators:
            module, _, function = name.partition(":")
            validators[recording.topic] = getattr(importlib.import_module(module), function)
        try:
            yield from validators[recording.topic](recording.path)
        except UserError as error:
            yield error


def _recognise(path: Path) -> Recording | None:
    if not path.name.endswith(_SUFFIXES):
        return None
    topic = _topic_of_npz(path) if path.suffix == ".npz" else _topic_of_json(path)
    if topic == "traces" and path.suffix == ".npz":
        path = path.with_suffix(".json")  # the truth names the case; its trace lies beside it
    return None if topic is None else Recording(topic=topic, path=path)


def _topic_of_npz(path: Path) -> str | None:
    if path.with_suffix(".json").is_file():
        return "traces"
    try:
        with open_given(path) as file, zipfile.ZipFile(file) as archive:
            names = set(archive.namelist())
    except ARCHIVE_ERRORS as error:
        what = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise UserError(_no_recording(path, cut(what))) from None
    if {"kind.npy", "di.npy", "dd.npy"} <= names:
        return "trace without its .json"
    if "glibc.usable_0_65536.npy" in names:
        return "malloc/usable_sizes"
    return "malloc" if {"op.npy", "tid.npy"} <= names else None


def _topic_of_json(path: Path) -> str | None:
    head = read_head(path, _HEAD_BYTES)
    match = _TOPIC.search(head)
    for library, key in _GEOMETRIES.items():
        if key in head:
            return f"malloc/{library}"
    if match is None:
        return "traces" if b'"accesses"' in head and b'"cachegrind' in head else None
    topic = match[1].decode()
    is_userland = re.match(rb'\s*\{\s*"case"', head) is not None
    return f"userland/{topic}" if is_userland or f"userland/{topic}" in VALIDATORS else topic


def _case_name(path: Path) -> str:
    return path.name.removesuffix(".gz").rpartition(".")[0]


def _no_recording(path: Path, found: str) -> Problem:
    return Problem(
        place=Place(str(path)),
        found=found,
        legal="expected recordings: NAME.npz with NAME.json or of a heap trace,"
        " or .json or .json.gz with a topic",
        advice="tests/reference has some, with READMEs of the formats",
    )


def report_json(results: Sequence[CaseResult], totals: Sequence[TopicTotals]) -> str:
    """Return an object with `cases` and `totals`."""
    return json.dumps(
        {
            "cases": [
                {
                    "topic": result.topic,
                    "case": result.case,
                    "path": result.path,
                    "passed": result.passed,
                    "compared": result.compared,
                    "equal": result.equal,
                    "listed": result.listed,
                    "first_difference": result.first_difference,
                    "not_validated": result.not_validated,
                }
                for result in results
            ],
            "totals": [
                {
                    "topic": total.topic,
                    "cases": total.cases,
                    "passed": total.passed,
                    "failed": total.failed,
                    "not_validated": total.not_validated,
                    "compared": total.compared,
                    "equal": total.equal,
                    "listed": total.listed,
                }
                for total in totals
            ],
        },
        indent=1,
    )
