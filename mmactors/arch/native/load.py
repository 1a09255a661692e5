"""Native code in this process: an object file becomes functions that Python calls.

LLVM links the file (llvmlite, which comes with Numba); Numba itself is not imported.
"""

import ctypes
from collections.abc import Callable, Iterable
from typing import Any, Final

import llvmlite.binding as llvm
import numpy as np

from mmactors.arch.native import abi

_METH_FASTCALL: Final = 0x80


class _MethodDef(ctypes.Structure):
    """PyMethodDef of the C interface."""

    _fields_ = (
        ("name", ctypes.c_char_p),
        ("function", ctypes.c_void_p),
        ("flags", ctypes.c_int),
        ("doc", ctypes.c_char_p),
    )


class CannotLoadError(Exception):
    """Native code does not run on this machine, or with this numpy."""


class NativeCode:
    """The functions of one object file. They stay for as long as the process."""

    def __init__(self, code: bytes) -> None:
        if not has_known_arrays():
            raise CannotLoadError(f"arrays of numpy {np.__version__} are not as they were")
        llvm.initialize_native_target()
        llvm.initialize_native_asmprinter()
        missing = [name for name in abi.FEATURES if not llvm.get_host_cpu_features().get(name)]
        if missing:
            raise CannotLoadError(f"this processor lacks {', '.join(missing)}")
        machine = llvm.Target.from_triple(llvm.get_process_triple()).create_target_machine()
        self._engine: Final = llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine)
        self._engine.add_object_file(llvm.ObjectFileRef.from_data(code))
        self._engine.finalize_object()
        self._definitions: Final[list[_MethodDef]] = []
        table = self._engine.get_global_value_address(abi.IMPORTS_SYMBOL)
        words = (ctypes.c_void_p * len(abi.IMPORTS)).from_address(table)
        words[:] = list(_imports())

    def function(self, name: str, python: Callable[..., Any]) -> Callable[..., Any] | None:
        """Return the native function of this name, documented as `python` is, if there is one."""
        address = self._engine.get_function_address(abi.entry_symbol(name))
        if not address:
            return None
        doc = (python.__doc__ or "").encode()
        definition = _MethodDef(python.__name__.encode(), address, _METH_FASTCALL, doc)
        self._definitions.append(definition)
        function: Callable[..., Any] = _new_function(
            ctypes.byref(definition), None, python.__module__
        )
        return function


_new_function: Final = ctypes.pythonapi.PyCFunction_NewEx
_new_function.restype = ctypes.py_object
_new_function.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.py_object)


def _imports() -> Iterable[int]:
    for name in abi.FUNCTIONS:
        yield ctypes.cast(getattr(ctypes.pythonapi, name), ctypes.c_void_p).value or 0
    yield from map(id, (None, TypeError, SystemError, np.ndarray))


def has_known_arrays() -> bool:
    """Return whether arrays of this numpy, under this Python, lie where native code reads them."""
    array = np.zeros((3, 5), np.int16)
    start = id(array)
    descr = _word(start + abi.ARRAY_DESCR)
    dimensions = _word(start + abi.ARRAY_DIMENSIONS)
    return (
        _word(start + abi.OB_TYPE) == id(np.ndarray)
        and _word(start + abi.ARRAY_DATA) == array.ctypes.data
        and ctypes.c_int.from_address(start + abi.ARRAY_ND).value == array.ndim
        and (_word(dimensions), _word(dimensions + 8)) == array.shape
        and descr == id(array.dtype)
        and ctypes.c_int.from_address(descr + abi.DESCR_TYPE_NUM).value == array.dtype.num
        and bytes([ctypes.c_ubyte.from_address(descr + abi.DESCR_BYTEORDER).value]) == b"="
        and ctypes.c_int.from_address(start + abi.ARRAY_FLAGS).value & abi.WRITEABLE != 0
    )


def _word(address: int) -> int:
    return ctypes.c_uint64.from_address(address).value
