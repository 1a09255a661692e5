"""The one signature of a compiled function, from its annotations.

A parameter is a whole number (int64), a flag, or an array of the types of arch/column.py; of a
union the array counts. A result is a whole number, a flag, two whole numbers, or nothing.
"""

import inspect
from collections.abc import Callable
from types import NoneType, UnionType
from typing import Any, Final, Union, get_args, get_origin

import numpy as np
from attrs import frozen
from numpy.typing import NDArray


@frozen
class ArrayKind:
    """An array in C order."""

    dtype: str
    """numpy's name. Arrays of uint8 are texts: they are read only."""
    nr_dimensions: int

    @property
    def is_writable(self) -> bool:
        """Whether functions may write to arrays of this kind."""
        return self.dtype != "uint8"


Kind = type[int] | type[bool] | ArrayKind
_ARRAYS: Final = (np.ndarray, NDArray)
"""What array types come from: NDArray is a type of its own from numpy 2.5 on."""
PAIR: Final = tuple[int, int]
RESULTS: Final = (int, bool, None, PAIR)


@frozen
class Signature:
    """What a compiled function takes and gives."""

    parameters: tuple[Kind, ...]
    result: Any
    """One of RESULTS."""


def signature_of(function: Callable[..., Any]) -> Signature:
    """Return what the annotations of `function` say; TypeError if they say something else."""
    name = f"{function.__module__}.{function.__qualname__}"
    signature = inspect.signature(function, eval_str=True)
    kinds = tuple(
        _kind_of(parameter.annotation, f"{name}({parameter.name})")
        for parameter in signature.parameters.values()
    )
    result = signature.return_annotation
    if result is NoneType:
        result = None
    if result not in RESULTS:
        raise TypeError(f"{name} returns {result}; compiled functions return one of {RESULTS}")
    return Signature(kinds, result)


def _kind_of(annotation: Any, place: str) -> Kind:
    if annotation is int or annotation is bool:
        kind: Kind = annotation
        return kind
    if get_origin(annotation) in {UnionType, Union}:
        arrays = [each for each in get_args(annotation) if get_origin(each) in _ARRAYS]
        annotation = arrays[0] if len(arrays) == 1 else annotation
    if get_origin(annotation) not in _ARRAYS:
        raise TypeError(f"{place} is {annotation}; expected int, bool or an array")
    if get_origin(annotation) is NDArray:
        (scalar,) = get_args(annotation)
        return ArrayKind(np.dtype(scalar).name, 1)
    shape, dtype = get_args(annotation)
    dimensions = get_args(shape)
    (scalar,) = get_args(dtype)
    return ArrayKind(np.dtype(scalar).name, 1 if Ellipsis in dimensions else len(dimensions))
