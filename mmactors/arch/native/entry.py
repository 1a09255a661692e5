"""The entry of a native function from Python, written in LLVM's language.

An entry has the signature of METH_FASTCALL: it takes values out of Python objects, calls the
function and makes an object of the result. Whole numbers may be anything with `__index__`; arrays
must have the declared type, C order and, unless they are texts, be writable: otherwise TypeError.
It keeps no reference and holds the interpreter's lock.
"""

from typing import Any, Final

from llvmlite import ir
from numba.core import types
from numba.np.arrayobj import make_array, populate_array

from mmactors.arch.native import abi
from mmactors.arch.native.signature import PAIR, ArrayKind, Signature

_BYTE: Final = ir.IntType(8)
_INT: Final = ir.IntType(32)
_WORD: Final = ir.IntType(64)
_POINTER: Final = _BYTE.as_pointer()
_NOTHING: Final = ir.Constant(_POINTER, None)

_TYPES: Final = {
    "PyLong_AsLongLong": ir.FunctionType(_WORD, [_POINTER]),
    "PyLong_FromLongLong": ir.FunctionType(_POINTER, [_WORD]),
    "PyObject_IsTrue": ir.FunctionType(_INT, [_POINTER]),
    "PyBool_FromLong": ir.FunctionType(_POINTER, [_WORD]),
    "PyErr_Occurred": ir.FunctionType(_POINTER, []),
    "PyErr_SetString": ir.FunctionType(ir.VoidType(), [_POINTER, _POINTER]),
    "PyType_IsSubtype": ir.FunctionType(_INT, [_POINTER, _POINTER]),
    "Py_BuildValue": ir.FunctionType(_POINTER, [_POINTER], var_arg=True),
    "Py_NewRef": ir.FunctionType(_POINTER, [_POINTER]),
}


def emit_entry(context: Any, module: Any, descriptor: Any, name: str, signature: Signature) -> None:
    """Add the entry of the function that `descriptor` is Numba's description of."""
    _Entry(context, module, name).emit(descriptor, signature)


class _Entry:
    def __init__(self, context: Any, module: Any, name: str) -> None:
        self.context: Final = context
        self.module: Final = module
        self.name: Final = name
        kind = ir.FunctionType(_POINTER, [_POINTER, _POINTER.as_pointer(), _WORD])
        self.function: Final = ir.Function(module, kind, abi.entry_symbol(name))
        self.builder: Final = ir.IRBuilder(self.function.append_basic_block("entry"))
        self.imports: Final = ir.GlobalVariable(
            module, ir.ArrayType(_POINTER, len(abi.IMPORTS)), abi.IMPORTS_SYMBOL
        )
        self.imports.linkage = "common"
        self.imports.initializer = ir.Constant(self.imports.type.pointee, None)

    def emit(self, descriptor: Any, signature: Signature) -> None:
        builder = self.builder
        _, arguments, count = self.function.args
        wanted = len(signature.parameters)
        self._refuse_unless(
            builder.icmp_signed("==", count, _WORD(wanted)),
            "TypeError",
            f"{self.name}() takes {wanted} arguments",
        )
        values = []
        for index, kind in enumerate(signature.parameters):
            given = builder.load(builder.gep(arguments, [_INT(index)]))
            place = f"{self.name}(), argument {index + 1}"
            if isinstance(kind, ArrayKind):
                values.append(self._array(given, kind, descriptor.argtypes[index], place))
            elif kind is bool:
                values.append(self._flag(given))
            else:
                values.append(self._number(given))
        callee = self.context.declare_function(self.module, descriptor)
        status, result = self.context.call_conv.call_function(
            builder, callee, descriptor.restype, descriptor.argtypes, values
        )
        self._refuse_unless(status.is_ok, "SystemError", f"{self.name}() failed")
        builder.ret(self._object_of(result, signature.result))

    def _number(self, given: Any) -> Any:
        value = self._call("PyLong_AsLongLong", given)
        self._return_if_error(self.builder.icmp_signed("==", value, _WORD(-1)))
        return value

    def _flag(self, given: Any) -> Any:
        value = self._call("PyObject_IsTrue", given)
        self._return_if_error(self.builder.icmp_signed("<", value, _INT(0)))
        return self.builder.icmp_signed("!=", value, _INT(0))

    def _array(self, given: Any, kind: ArrayKind, array_type: Any, place: str) -> Any:
        """Return Numba's view of an array, or refuse what is none of this kind."""
        builder = self.builder
        text = f"{place}: expected an array of {kind.dtype} in C order, {kind.nr_dimensions}-d"
        self._refuse_unless(self._is_array(given), "TypeError", text)
        descr = self._load(given, abi.ARRAY_DESCR, _POINTER)
        number = self._load(descr, abi.DESCR_TYPE_NUM, _INT)
        is_kind = _FALSE
        for type_num in abi.type_nums(kind.dtype):
            is_kind = builder.or_(is_kind, builder.icmp_signed("==", number, _INT(type_num)))
        order = self._load(descr, abi.DESCR_BYTEORDER, _BYTE)
        is_native = builder.icmp_signed("!=", order, _BYTE(ord(">")))
        needed = abi.C_CONTIGUOUS | abi.ALIGNED | (abi.WRITEABLE if kind.is_writable else 0)
        flags = builder.and_(self._load(given, abi.ARRAY_FLAGS, _INT), _INT(needed))
        has_flags = builder.icmp_signed("==", flags, _INT(needed))
        nr_dimensions = self._load(given, abi.ARRAY_ND, _INT)
        has_dimensions = builder.icmp_signed("==", nr_dimensions, _INT(kind.nr_dimensions))
        fits = builder.and_(
            builder.and_(is_kind, is_native), builder.and_(has_flags, has_dimensions)
        )
        self._refuse_unless(fits, "TypeError", text)
        dimensions = self._load(given, abi.ARRAY_DIMENSIONS, _POINTER)
        shape = [self._load(dimensions, 8 * axis, _WORD) for axis in range(kind.nr_dimensions)]
        item_bytes = array_type.dtype.bitwidth // 8
        strides = [_WORD(item_bytes)]
        for length in reversed(shape[1:]):
            strides.insert(0, builder.mul(strides[0], length))
        view = make_array(array_type)(self.context, builder)
        data = self._load(given, abi.ARRAY_DATA, _POINTER)
        populate_array(
            view,
            data=builder.bitcast(data, view.data.type),
            shape=shape,
            strides=strides,
            itemsize=item_bytes,
            meminfo=None,
        )
        return view._getvalue()  # noqa: SLF001 - so Numba's own code reads a structure

    def _is_array(self, given: Any) -> Any:
        """Return whether an object is an array, of numpy's class or one made from it."""
        builder = self.builder
        kind, ndarray = self._load(given, abi.OB_TYPE, _POINTER), self._import("ndarray")
        is_exactly = builder.icmp_unsigned("==", kind, ndarray)
        before = builder.block
        with builder.if_then(builder.not_(is_exactly), likely=False):
            derived = self._call("PyType_IsSubtype", kind, ndarray)
            is_derived = builder.icmp_signed("!=", derived, _INT(0))
            beside = builder.block
        is_array = builder.phi(ir.IntType(1))
        is_array.add_incoming(_TRUE, before)
        is_array.add_incoming(is_derived, beside)
        return is_array

    def _object_of(self, value: Any, result: Any) -> Any:
        builder = self.builder
        if result is int:
            return self._call("PyLong_FromLongLong", value)
        if result is bool:
            number = self.context.cast(builder, value, types.boolean, types.int64)
            return self._call("PyBool_FromLong", number)
        if result is None:
            return self._call("Py_NewRef", self._import("None"))
        assert result == PAIR, f"no object is made of {result}"
        words = [builder.extract_value(value, index) for index in range(2)]
        return self._call("Py_BuildValue", self._text("LL"), *words)

    def _refuse_unless(self, condition: Any, error: str, text: str) -> None:
        """Return with an exception set unless `condition` holds."""
        with self.builder.if_then(self.builder.not_(condition), likely=False):
            self._call("PyErr_SetString", self._import(error), self._text(text))
            self.builder.ret(_NOTHING)

    def _return_if_error(self, may_be: Any) -> None:
        """Return if the value of a number says that an exception may be set, and one is."""
        with self.builder.if_then(may_be, likely=False):
            error = self._call("PyErr_Occurred")
            with self.builder.if_then(self.builder.icmp_unsigned("!=", error, _NOTHING)):
                self.builder.ret(_NOTHING)

    def _import(self, name: str) -> Any:
        place = self.builder.gep(self.imports, [_INT(0), _INT(abi.IMPORTS.index(name))])
        return self.builder.load(place)

    def _call(self, name: str, *arguments: Any) -> Any:
        function = self.builder.bitcast(self._import(name), _TYPES[name].as_pointer())
        return self.builder.call(function, arguments)

    def _load(self, start: Any, offset: int, kind: Any) -> Any:
        place = self.builder.gep(start, [_WORD(offset)])
        return self.builder.load(self.builder.bitcast(place, kind.as_pointer()))

    def _text(self, text: str) -> Any:
        return self.builder.bitcast(self.context.insert_const_string(self.module, text), _POINTER)


_TRUE: Final = ir.Constant(ir.IntType(1), 1)
_FALSE: Final = ir.Constant(ir.IntType(1), 0)
