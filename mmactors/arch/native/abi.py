"""What native code and the process that loads it agree on.

Native code has no symbol of Python or numpy in it: what it calls it finds in a table, IMPORTS, that
the loader fills. It reads arrays where numpy's C interface has them (PyArrayObject_fields and
PyArray_Descr, the same in numpy 1 and 2): at offsets from the end of the object's header, whose
size the code was made for. The loader looks whether an array of this process lies so.
"""

import platform
from typing import Final

import numpy as np

FORMAT: Final = 1
"""To be counted up when anything here or in entry.py changes its meaning."""

OBJECT_HEADER: Final = object.__basicsize__
"""Bytes of PyObject_HEAD: 16, in free-threaded Python more; the pointer to the type is last."""
OB_TYPE: Final = OBJECT_HEADER - 8

ARRAY_DATA: Final = OBJECT_HEADER
ARRAY_ND: Final = OBJECT_HEADER + 8
ARRAY_DIMENSIONS: Final = OBJECT_HEADER + 16
ARRAY_STRIDES: Final = OBJECT_HEADER + 24
ARRAY_DESCR: Final = OBJECT_HEADER + 40
ARRAY_FLAGS: Final = OBJECT_HEADER + 48
"""Of PyArrayObject_fields."""
DESCR_BYTEORDER: Final = OBJECT_HEADER + 10
DESCR_TYPE_NUM: Final = OBJECT_HEADER + 12
"""Of PyArray_Descr."""

C_CONTIGUOUS: Final = 0x1
ALIGNED: Final = 0x100
WRITEABLE: Final = 0x400
"""Bits of an array's flags (NPY_ARRAY_*)."""

_C_TYPES: Final = "bhilqBHILQ"


def type_nums(dtype: str) -> list[int]:
    """Return numpy's numbers of the C types that are of this type here: long is one of two."""
    kinds = map(np.dtype, _C_TYPES)
    return [kind.num for kind in kinds if kind == np.dtype(dtype)]


FUNCTIONS: Final = (
    "PyLong_AsLongLong",
    "PyLong_FromLongLong",
    "PyObject_IsTrue",
    "PyBool_FromLong",
    "PyErr_Occurred",
    "PyErr_SetString",
    "PyType_IsSubtype",
    "Py_BuildValue",
    "Py_NewRef",
)
OBJECTS: Final = ("None", "TypeError", "SystemError", "ndarray")
IMPORTS: Final = FUNCTIONS + OBJECTS
"""The words of the table: addresses of functions of the stable C interface, and of objects."""
IMPORTS_SYMBOL: Final = "mmactors_imports"

IS_X86_64: Final = platform.machine().lower() in {"x86_64", "amd64"}
CPU: Final = "x86-64-v2" if IS_X86_64 else ""
"""LLVM's name of the least processor that the code is for; numpy's wheels ask for as much."""
FEATURES: Final = ("sse4.2", "popcnt") if IS_X86_64 else ()
"""What tells such a processor from a lesser one."""

ENTRY: Final = "mmactors_entry_"


def entry_symbol(name: str) -> str:
    """Return the symbol under which native code has the function `name` for Python."""
    return ENTRY + name.replace(".", "_")
