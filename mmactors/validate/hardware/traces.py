"""Recorded traces of whole programs against the model: `NAME.npz` beside `NAME.json`.

Four independent sets of truth, one case each: cachegrind and the TLBs are compared on the hardware
that `run` uses (`validate.trace_hardware`), dineroIV and pycachesim on chains of the same cache
(`validate.dinero`, `validate.pycachesim`). A fifth case compares what the trace holds with what
its JSON says, so that a reading error is not taken for a wrong cache.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np
from attrs import Factory, evolve, fields, frozen
from cattrs import Converter, transform_error
from cattrs.errors import BaseValidationError

from mmactors.arch.trace import KIND_MASK, SIZE_MASK, SIZE_SHIFT, Trace
from mmactors.errors import Place, Problem, UserError
from mmactors.units import PAGE_SHIFT
from mmactors.validate.document import read_object
from mmactors.validate.hardware.dinero import DineroCase, validate_dinero
from mmactors.validate.hardware.pycachesim import PycachesimCase, validate_pycachesim
from mmactors.validate.hardware.trace_hardware import (
    CachegrindCase,
    TlbCase,
    validate_cachegrind,
    validate_tlb,
)
from mmactors.validate.limits import (
    ACCESSES_MAX,
    GEOMETRIES_MAX,
    PROBLEMS_MAX,
    TRACE_PAGES_MAX,
)
from mmactors.validate.result import CaseResult
from mmactors.workload.trace.npz import read_npz

T = TypeVar("T")

_FOUND_CHARS_MAX: Final = 300
_KINDS: Final = "ILSM"
"""The letters of lackey, by the number of the kind."""


@frozen(kw_only=True)
class TraceTruth:
    """What NAME.json says of the trace NAME.npz."""

    accesses: int
    counts: dict[str, int]
    max_access_bytes: int
    cachegrind_fields: list[str] = Factory(list)
    tlb_fields: list[str] = Factory(list)
    cachegrind: list[CachegrindCase] = Factory(list)
    tlb: list[TlbCase] = Factory(list)
    dinero: list[DineroCase] = Factory(list)
    pycachesim: list[PycachesimCase] = Factory(list)
    unknown: list[str] = Factory(list)
    """Other fields of the file."""


_DESCRIPTIONS: Final = {"case", "program"}
_KNOWN: Final = _DESCRIPTIONS | {field.name for field in fields(TraceTruth)}


def validate_trace(path: Path) -> Iterator[CaseResult]:
    """Validate one recording, given by its JSON file; yield a result for each set of truth.

    Raises UserError for a file that is no such recording.
    """
    truth = read_truth(path)
    trace = _read_trace(path.with_suffix(".npz"))
    name, file = path.stem, str(path)
    yield _validate_contents(name, file, trace, truth)
    yield from validate_cachegrind(
        f"{name}/cachegrind", file, trace, truth.cachegrind, truth.cachegrind_fields
    )
    yield from validate_tlb(f"{name}/tlb", file, trace, truth.tlb, truth.tlb_fields)
    yield from validate_dinero(f"{name}/dinero", file, trace, truth.dinero)
    yield from validate_pycachesim(f"{name}/pycachesim", file, trace, truth.pycachesim)
    for field in truth.unknown:
        yield CaseResult(
            topic="traces",
            case=f"{name}/{field}",
            path=file,
            not_validated=f"nothing is known of {field!r}",
        )


def _read_trace(path: Path) -> Trace:
    """Return a trace that is held in memory, and whose pages have tables."""
    trace = read_npz(path, limit=ACCESSES_MAX + 1)
    found = None
    if len(trace) > ACCESSES_MAX:
        found = f"more than {ACCESSES_MAX} accesses", f"expected at most {ACCESSES_MAX}"
    elif (nr_pages := len(np.unique(trace.address >> PAGE_SHIFT))) > TRACE_PAGES_MAX:
        found = f"{nr_pages} pages are accessed", f"expected at most {TRACE_PAGES_MAX}"
    if found is not None:
        advice = "record a shorter program, or cut the trace"
        raise UserError(
            Problem(place=Place(str(path)), found=found[0], legal=found[1], advice=advice)
        )
    return trace


def read_truth(path: Path) -> TraceTruth:
    """Read NAME.json; raise UserError with all that is wrong with its form."""
    content = read_object(path)
    try:
        truth = _CONVERTER.structure(content, TraceTruth)
    except BaseValidationError as error:
        raise _bad_truth(path, *transform_error(error)) from None
    for name in ("cachegrind", "tlb", "dinero", "pycachesim"):
        nr_geometries = len(getattr(truth, name))
        if nr_geometries > GEOMETRIES_MAX:
            raise _bad_truth(path, f"{name} has {nr_geometries}, more than {GEOMETRIES_MAX}")
    return evolve(truth, unknown=[field for field in content if field not in _KNOWN])


def _bad_truth(path: Path, *found: str) -> UserError:
    return UserError(
        Problem(
            place=Place(str(path)),
            found=each[:_FOUND_CHARS_MAX],
            legal="expected the truth of a recorded trace",
            advice="tests/reference/traces/README.md describes its fields",
        )
        for each in found[:PROBLEMS_MAX]
    )


def _validate_contents(name: str, file: str, trace: Trace, truth: TraceTruth) -> CaseResult:
    """Compare how many accesses of which kind the trace has, and the longest."""
    result = CaseResult(topic="traces", case=f"{name}/trace", path=file)
    result.compare("accesses", truth.accesses, trace.nr_accesses)
    counts = np.bincount(trace.meta & KIND_MASK, minlength=len(_KINDS)).tolist()
    for letter, count in zip(_KINDS, counts, strict=True):
        result.compare(f"counts.{letter}", truth.counts.get(letter, 0), count)
    longest = int(((trace.meta >> SIZE_SHIFT) & SIZE_MASK).max())
    result.compare("max_access_bytes", truth.max_access_bytes, longest)
    return result


def _converter() -> Converter:
    """Return a converter that takes a value only when it has the type asked for."""
    converter = Converter(detailed_validation=True)

    def exactly(kind: type[T]) -> None:
        def structure(value: Any, _: type[T]) -> T:
            if type(value) is not kind:
                raise TypeError(f"{value!r} is no {kind.__name__}")
            return value

        converter.register_structure_hook(kind, structure)

    for kind in (bool, int, str):
        exactly(kind)
    return converter


_CONVERTER: Final = _converter()
