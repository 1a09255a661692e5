"""The text of ltrace: calls of a heap's functions, each in one line, or begun and resumed later.

    ltrace -f -e malloc+calloc+realloc+free+memalign+posix_memalign+aligned_alloc -o FILE PROGRAM

Lines of other functions are passed over. Processes of -f are taken for threads of one process, and
numbered as they appear. An allocation is a row where it returned, a free where it was called, for
from there on another thread can be given the address. Which line a row is from is where the call
began.

ltrace sees calls from one library to another, and not those inside of the C library: what strdup or
getline allocate is not seen, and their free is one of an unseen object. So an address that is freed
again was allocated unseen; unless the program died of it, which is its fault.

The result of posix_memalign is shown if ltrace has the prototype
`int posix_memalign(+array(addr,1)*, ulong, ulong);` (-F FILE). Otherwise the call is left out, and
what is freed later was not seen to be allocated.

What the C library itself calls (`libc.so.6->`) is left out: ltrace 0.7.3 names another function
there than the one that is called.

A call inside of another one of these functions by the same thread is a part of it, as with
`-x malloc@libc.so.6` beside -e, and left out.
"""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from attrs import define, field

from mmactors.arch.heap_trace import (
    CALLOC,
    MALLOC,
    MALLOC_TRIM,
    MALLOPT,
    MEMALIGN,
    REALLOC,
    THREAD_BEGIN,
    THREAD_END,
    HeapOperations,
)
from mmactors.errors import UserError
from mmactors.limits import HEAP_TRACE_THREADS_MAX
from mmactors.units import PAGE_SIZE
from mmactors.workload.heap_trace.addresses import FAILED, RecordedRows, as_column
from mmactors.workload.heap_trace.ltrace_line import (
    LINE,
    PLAIN_ADDRESS,
    BadCall,
    address_of,
    arguments_of,
    column_of_call,
    int_of,
    number_of,
    pointed_to,
)
from mmactors.workload.heap_trace.rows import ADDRESS_END
from mmactors.workload.trace.input import bad_trace, quoted, read_whole_lines

FROM_LIBC: Final = "calls by the C library, which ltrace names wrongly"
OTHERS: Final = "lines of other functions"
INNER: Final = "calls inside of others"
UNFINISHED: Final = "calls without an end"
WITHOUT_BEGINNING: Final = "ends of calls without a beginning"
NOT_SHOWN: Final = "calls of posix_memalign whose result is not shown"
_PLAIN_DIGITS: Final = 19
_DIED_OF_IT: Final = (b"killed by SIGABRT", b"killed by SIGSEGV", b"killed by SIGBUS")
_LEGAL_PRODUCT: Final = "expected a product of at most 64 bits, or the result nil"
_LEGAL: Final = "expected calls as ltrace writes them, such as 'prog->malloc(100) = 0x55c468dc5500'"
_ADVICE: Final = "keep the program's own output out of the trace with ltrace -o FILE"


@define(eq=False)
class _Call:
    """A call of a heap's function."""

    name: str
    arguments: bytes
    line: int
    object: int | None = None
    """Of realloc: what it is about, if that was seen to be allocated."""
    is_done: bool = False
    """Of free: its row has been made."""


@define(eq=False)
class _Thread:
    tid: int
    calls: list[_Call] = field(factory=list)
    """Those that have begun, the innermost last."""
    outer: _Call | None = None
    """The one of them that counts."""


def read_ltrace(path: Path, notes: Counter[str]) -> Iterator[HeapOperations]:
    """Yield the trace in pieces.

    Raises UserError with line and column for a text that is not of this form.
    """
    recording = _Recording(path, notes)
    line = 1
    for block in read_whole_lines(path, legal=_LEGAL, advice=_ADVICE):
        recording.read(block, line)
        line += block.count(b"\n")
        yield recording.rows.take()
    recording.end()
    yield recording.rows.take()


class _Recording:
    """What is known after each line."""

    def __init__(self, path: Path, notes: Counter[str]) -> None:
        self._path = path
        self._notes = notes
        self.rows: Final = RecordedRows(notes)
        self._threads: Final[dict[bytes, _Thread]] = {}
        self._nr_threads = 0

    def read(self, block: bytes, first: int) -> None:
        """Take lines, the first of which is the line `first` of the file."""
        calls = LINE.findall(block)
        if len(calls) != block.count(b"\n"):
            raise self._unknown_line(block, first)
        line = first
        try:
            for line, call in enumerate(calls, first):
                self._take(line, *call)
        except BadCall as error:
            text = block.split(b"\n")[line - first]
            column = text.find(error.text, text.find(b"(") + 1)
            raise bad_trace(
                self._path,
                f"the call is {quoted(text)}",
                error.legal,
                _ADVICE,
                line=line,
                column=max(column, text.find(error.text), 0) + 1,
            ) from None

    def end(self) -> None:
        """Take the end of the file."""
        for thread in self._threads.values():
            self._leave_out(thread, is_killed=False)

    def _take(
        self,
        line: int,
        pid: bytes,
        only_pid: bytes,
        libc: bytes,
        name: bytes,
        arguments: bytes,
        result: bytes,
        unfinished: bytes,
        resumed: bytes,
        rest: bytes,
        late_result: bytes,
        mark: bytes,
        text: bytes,
    ) -> None:
        key = pid or only_pid
        thread = self._threads.get(key)
        if name:
            if thread is None:
                thread = self._begin(key, line)
            is_outer = thread.outer is None and not libc
            if is_outer and result and self._plain(thread, line, name, arguments, result):
                return
            call = _Call(name.decode(), arguments, line)
            if unfinished:
                thread.calls.append(call)
            if is_outer:
                self._enter(thread, call)
                if unfinished:
                    thread.outer = call
                else:
                    self._leave(thread, call, result)
            else:
                self._notes[FROM_LIBC if libc else INNER] += 1
        elif resumed:
            self._resume(thread, resumed.decode(), rest, late_result)
        elif not mark:
            self._notes[OTHERS] += 1
        elif mark == b"+++" and thread is not None and text.startswith((b"exited", b"killed")):
            self._leave_out(thread, is_killed=text.startswith(_DIED_OF_IT))
            if thread.tid != 0:
                self.rows.add(THREAD_END, line, tid=thread.tid)
                del self._threads[key]
        elif text.startswith(b"Called exec") and self._nr_threads:
            raise BadCall(text, "expected one program, from its start to its end")

    def _plain(
        self, thread: _Thread, line: int, name: bytes, arguments: bytes, result: bytes
    ) -> bool:
        """Do at once what most calls are; return whether this is one of them."""
        if name == b"malloc":
            # The line's pattern has looked at the result.
            if arguments.isdigit() and len(arguments) < _PLAIN_DIGITS and result[:2] == b"0x":
                address = int(result, 16)
                if 0 < address < ADDRESS_END:
                    size = int(arguments)
                    self.rows.allocate(MALLOC, line, address, tid=thread.tid, size=size)
                    return True
        elif name == b"free" and PLAIN_ADDRESS.fullmatch(arguments) is not None:
            self.rows.free(line, int(arguments, 16), tid=thread.tid, is_again=False)
            return True
        return False

    def _begin(self, key: bytes, line: int) -> _Thread:
        if self._nr_threads == HEAP_TRACE_THREADS_MAX:
            raise BadCall(key, f"expected at most {HEAP_TRACE_THREADS_MAX:,} threads")
        thread = self._threads[key] = _Thread(self._nr_threads)
        self._nr_threads += 1
        if thread.tid:
            self.rows.add(THREAD_BEGIN, line, tid=thread.tid)
        return thread

    def _resume(self, thread: _Thread | None, name: str, rest: bytes, result: bytes) -> None:
        calls = [] if thread is None else thread.calls
        index = len(calls) - 1
        while index >= 0 and calls[index].name != name:
            index -= 1
        if thread is None or index < 0:
            self._notes[WITHOUT_BEGINNING] += 1
            return
        call = calls[index]
        if call is thread.outer:
            thread.outer = None
            call.arguments += rest
            self._leave(thread, call, result)
        elif thread.outer in calls[index:]:
            self._leave_out(thread, is_killed=False)
        del calls[index:]

    def _leave_out(self, thread: _Thread, *, is_killed: bool) -> None:
        """Leave out the call that a thread is in, whose end is not to come."""
        call = thread.outer
        thread.outer = None
        if call is None:
            return
        if call.object is not None:
            self.rows.put_object(address_of(call.arguments), call.object)
        if call.name == "free" and is_killed and not call.is_done:
            self.rows.free(call.line, address_of(call.arguments), tid=thread.tid)
        elif not call.is_done:
            self._notes[UNFINISHED] += 1

    def _enter(self, thread: _Thread, call: _Call) -> None:
        """Do what is done as soon as a call begins: its object is gone."""
        if call.name in ("free", "realloc", "reallocarray"):
            address = address_of(call.arguments)
            if call.name != "free":
                call.object = self.rows.take_object(address)
            elif address == 0:
                call.is_done = True
            elif self.rows.has_object(address):
                self.rows.free(call.line, address, tid=thread.tid)
                call.is_done = True

    def _leave(self, thread: _Thread, call: _Call, result: bytes) -> None:
        tid, line = thread.tid, call.line
        match call.name:
            case "free":
                if not call.is_done:
                    address = address_of(call.arguments)
                    self.rows.free(line, address, tid=tid, is_again=False)
            case "malloc":
                (size,) = arguments_of(call.name, call.arguments)
                self._made(MALLOC, thread, call, result, size)
            case "calloc":
                members, size = arguments_of(call.name, call.arguments)
                self._made(CALLOC, thread, call, result, members * size, members)
            case "realloc":
                before, size = arguments_of(call.name, call.arguments)
                self._moved(thread, call, result, before, size)
            case "reallocarray":
                before, members, size = arguments_of(call.name, call.arguments)
                self._moved(thread, call, result, before, members * size)
            case "memalign" | "aligned_alloc":
                alignment, size = arguments_of(call.name, call.arguments)
                self._made(MEMALIGN, thread, call, result, size, alignment)
            case "posix_memalign":
                self._posix_memalign(thread, call, result)
            case "valloc" | "pvalloc":
                (size,) = arguments_of(call.name, call.arguments)
                if call.name == "pvalloc":
                    size = -(-size // PAGE_SIZE) * PAGE_SIZE
                self._made(MEMALIGN, thread, call, result, size, PAGE_SIZE)
            case "malloc_trim":
                (pad,) = arguments_of(call.name, call.arguments)
                self.rows.add(MALLOC_TRIM, line, tid=tid, size=as_column(pad))
            case _:
                assert call.name == "mallopt", f"{call.name} has no rule"
                parameter, value = arguments_of(call.name, call.arguments)
                self.rows.add(MALLOPT, line, tid=tid, size=int_of(value), arg=int_of(parameter))

    def _made(
        self, op: int, thread: _Thread, call: _Call, result: bytes, size: int, arg: int = 0
    ) -> None:
        address = address_of(result)
        if address == 0:
            self._notes[FAILED] += 1
        elif size >> 64:
            raise BadCall(call.arguments, _LEGAL_PRODUCT)
        else:
            self.rows.allocate(op, call.line, address, tid=thread.tid, size=size, arg=arg)

    def _moved(self, thread: _Thread, call: _Call, result: bytes, before: int, size: int) -> None:
        tid, line, after = thread.tid, call.line, address_of(result)
        if size >> 64 and after:
            raise BadCall(call.arguments, _LEGAL_PRODUCT)
        if after == 0 and (size or before == 0):
            self._notes[FAILED] += 1
            if call.object is not None:
                self.rows.put_object(before, call.object)
        elif call.object is None:
            if before:
                self.rows.free(line, before, tid=tid, is_again=False)
            if after:
                self.rows.allocate(REALLOC, line, after, tid=tid, size=size)
        elif after and size:
            self.rows.reallocate(line, call.object, after, tid=tid, size=size)
        else:
            # realloc(p, 0) has freed it; not all libraries return nil.
            self.rows.add(REALLOC, line, tid=tid, number=call.object)
            if after:
                self.rows.allocate(MALLOC, line, after, tid=tid, size=0)

    def _posix_memalign(self, thread: _Thread, call: _Call, result: bytes) -> None:
        shown = pointed_to(call.arguments)
        if number_of(result) != 0:
            self._notes[FAILED] += 1
        elif shown is None:
            self._notes[NOT_SHOWN] += 1
        else:
            _, _, rest = call.arguments.partition(b"], ")
            alignment, size = arguments_of("memalign", rest)
            self._made(MEMALIGN, thread, call, shown, size, alignment)

    def _unknown_line(self, block: bytes, first: int) -> UserError:
        line, text = next(
            (line, text)
            for line, text in enumerate(block.split(b"\n"), first)
            if LINE.fullmatch(text) is None
        )
        found = f"the line is {quoted(text)}"
        column = column_of_call(text)
        return bad_trace(self._path, found, _LEGAL, _ADVICE, line=line, column=column)
