"""What is wrong with a recorded case of programs is said with its place, never run."""

import gzip
import json
from pathlib import Path

import pytest

from mmactors.cli.main import run_command
from mmactors.errors import UserError
from mmactors.validate.userland import budget, machine
from mmactors.validate.userland.case import read_case
from mmactors.validate.userland.tlb import validate_tlb

USERLAND = Path(__file__).parent.parent / "reference/linux-6.1/userland"
CASES = {
    "tlb": json.loads((USERLAND / "tlb/spin_2cpu.json").read_text()),
    "faults": json.loads((USERLAND / "faults/fork_cow.json").read_text()),
    "mmap_lock": json.loads((USERLAND / "mmap_lock/fault_vs_churn_2cpu.json").read_text()),
}


def changed(tmp_path, change, topic="tlb"):
    """Write a case that `change` has damaged."""
    content = json.loads(json.dumps(CASES[topic]))
    change(content)
    path = tmp_path / "damaged.json"
    path.write_text(json.dumps(content))
    return path


def problems_of(path):
    with pytest.raises(UserError) as caught:
        read_case(path)
    for problem in caught.value.problems:
        assert all((problem.place.file, problem.found, problem.legal, problem.advice))
        assert len(str(problem)) < 1000
    return [problem.found for problem in caught.value.problems]


def maps_with(old, new):
    def change(content):
        assert old in content["begin"]["maps"]
        content["begin"]["maps"] = content["begin"]["maps"].replace(old, new)

    return change


def put(value, *path):
    def change(content):
        for step in path[:-1]:
            content = content[step]
        content[path[-1]] = value

    return change


def drop(*path):
    def change(content):
        for step in path[:-1]:
            content = content[step]
        del content[path[-1]]

    return change


def do(*texts):
    """Return the change to another list of operations."""

    def change(content):
        results = [{"irq": {"TLB": [0] * content["guest"]["vcpus"]}, "ret": 0} for _ in texts]
        content["op_list"] = list(texts)
        content["ops"] = [
            {"i": nth, "op": text, **result}
            for nth, (text, result) in enumerate(zip(texts, results, strict=True))
        ]
        content["texts"] = []
        content["event_sequence"] = {"ops": []}

    return change


DAMAGES = {
    "begin is null": put(None, "begin"),
    "begin has no maps": put({}, "begin"),
    "begin.maps is empty": put("", "begin", "maps"),
    "begin.maps, line 0, is 'x'": put("x", "begin", "maps"),
    "end is null": put(None, "end"),
    "guest is null": put(None, "guest"),
    "guest has no memory_mib": drop("guest", "memory_mib"),
    "guest.vcpus is 0": put(0, "guest", "vcpus"),
    "guest.vcpus is the text '2'": put("2", "guest", "vcpus"),
    "guest.vcpus is true": put(True, "guest", "vcpus"),
    "guest.vcpus is 2.0": put(2.0, "guest", "vcpus"),
    "guest.memory_mib is 0": put(0, "guest", "memory_mib"),
    "guest.memory_mib is -1": put(-1, "guest", "memory_mib"),
    "guest.memory_mib is 1000000000": put(10**9, "guest", "memory_mib"),
    "guest.memory_mib is 16: size is 16M: the kernel finds": put(16, "guest", "memory_mib"),
    "guest.mem_total_kb is 300000": put(300_000, "guest", "mem_total_kb"),
    "op_list is 5": put(5, "op_list"),
    "op_list is a list of 0": put([], "op_list"),
    "op_list[0] is 5": put([5], "op_list"),
    "op_list is a list of 513": do(*["nop"] * 513),
    "op_list[1] is 'tuch A write': 'tuch' is not an operation": do("mmap A 4K", "tuch A write"),
    "op_list[0] is 'mmap A': mmap: length is missing": do("mmap A"),
    "op_list[0] is 'mmap A 4K flags=best': mmap: flags is 'best'": do("mmap A 4K flags=best"),
    "op_list[0] is 'T1: ': 'T1:' has no operation behind it": do("T1: "),
    "op_list[0] is 'trace /etc/passwd', which no recorded": do("trace /etc/passwd"),
    "op_list[0] is 'barrier B 2', which no recorded program": do("barrier B 2"),
    "op_list[19] is 'fork C19', the start of one too many": do(*(f"fork C{n}" for n in range(30))),
    "ops is null": put(None, "ops"),
    "ops[0] is 1": put([1], "ops"),
    "ops[0].ret is the text 'x'": put("x", "ops", 0, "ret"),
    "ops[0].i is 7": put(7, "ops", 0, "i"),
    "ops[0].op is 'nop now'": put("nop now", "ops", 0, "op"),
    "ops[0].irq has no TLB": put({}, "ops", 0, "irq"),
    "ops[0].irq.TLB is a list of 1": put([0], "ops", 0, "irq", "TLB"),
    "ops[0].tp.x is [3, 2, 1]": put({"x": [3, 2, 1]}, "ops", 0, "tp"),
    "ops[0] has a signal without sicode": put(11, "ops", 0, "sig"),
    "texts is 5": put(5, "texts"),
    "texts[0].after_op is 999": put([{"after_op": 999, "file": "/proc/self/maps"}], "texts"),
    "texts[0].text, line 0, is 'x'": put(
        [{"after_op": 0, "file": "/proc/self/maps", "text": "x"}], "texts"
    ),
    "texts[0].text, line 0, is 'MemFree: many kB'": put(
        [{"after_op": 0, "file": "/proc/meminfo", "text": "MemFree: many kB"}], "texts"
    ),
    "delta_vmstat is 5": put(5, "delta_vmstat"),
    "event_sequence is a list of 0": put([], "event_sequence"),
    "event_sequence.ops[0] is 1": put([1], "event_sequence", "ops"),
    "event_sequence.ops[0].op is 'op 999'": put(
        [{"op": "op 999", "events": []}], "event_sequence", "ops"
    ),
    "event_sequence.ops[1] is the second of op 0": put(
        [{"op": "op 0", "events": []}] * 2, "event_sequence", "ops"
    ),
    "event_sequence.ops[0].events[0] is the text 'wl cpu0 tlb_flush: pages:all'": put(
        [{"op": "op 0", "events": ["wl cpu0 tlb_flush: pages:all"]}], "event_sequence", "ops"
    ),
    "case is the text 'a\\x1b[2Jb'": put("a\x1b[2Jb", "case"),
    "topic is the text 'slub'": put("slub", "topic"),
    "begin.maps has 0 lines of [heap]": maps_with("[heap]", "/heap"),
    "begin.maps has 0 shared lines": maps_with("rw-s", "rw-p"),
    "begin.maps line 1 is of 0x300000-0x406000": maps_with("00401000-00406", "00300000-00406"),
    "begin.maps line 0 is not of whole pages": maps_with("00400000-", "00400800-"),
    "begin.maps is of": maps_with("100000200000", "1fffff200000"),
    "begin.maps begins with 4 lines of '/wl'": maps_with(
        "00408000-00409000 rw-p", "00408000-00409000 r--p"
    ),
    "begin.maps has a smaller stack": maps_with("7ffffffde000-", "7fffffffe000-"),
}


@pytest.mark.parametrize("found", DAMAGES)
def test_a_damaged_case_is_refused_with_its_place(tmp_path, found):
    """The error names the field that is wrong, by its path in the file."""
    path = changed(tmp_path, DAMAGES[found])

    assert any(each.startswith(found) for each in problems_of(path)), problems_of(path)


def test_a_lost_operation_is_named_and_not_taken_for_a_difference(tmp_path):
    """A list that has lost its first operation does not belong to its results any more."""
    path = changed(tmp_path, drop("op_list", 0))
    nr_results = len(CASES["tlb"]["ops"])

    assert [
        f"ops has {nr_results} results, but op_list {nr_results - 1} operations"
    ] == problems_of(path)


def test_a_lost_result_is_named(tmp_path):
    """Each operation has its result, unless the recording says that some were not done."""
    found = problems_of(changed(tmp_path, drop("ops", 0)))

    def damage(content):
        del content["ops"][0]
        content["complete_in_all_runs"] = False

    assert found[0].startswith("ops has ")
    assert 1 == read_case(changed(tmp_path, damage)).ops[0]["i"]


def test_all_problems_are_given_at_once_up_to_a_bound(tmp_path):
    """Two hundred wrong results are twenty problems, the last of which counts the others."""

    def damage(content):
        content["guest"]["vcpus"] = "many"
        content["ops"] = [{"i": "x"}] * 200

    found = problems_of(changed(tmp_path, damage))

    assert "guest.vcpus is the text 'many'" == found[0]
    assert 20 == len(found)
    assert "382 more problems" == found[-1]


def test_a_cpu_that_the_guest_lacks_is_refused(tmp_path):
    """Operations name CPUs of the guest."""

    def damage(content):
        content["op_list"][0] = content["ops"][0]["op"] = "cpu 9"

    assert problems_of(changed(tmp_path, damage)) == [
        "op_list[0] is 'cpu 9', but there is no CPU 9"
    ]


def test_a_key_that_is_misspelt_is_asked_for(tmp_path):
    """A key that nobody knows, and that is nearly one that is missing, is no new field."""

    def damage(content):
        content["event_sequenze"] = content.pop("event_sequence")

    path = changed(tmp_path, damage)
    with pytest.raises(UserError) as caught:
        read_case(path)

    assert "did you mean it by 'event_sequenze'?" == caught.value.problems[0].advice


BYTES = {
    "empty.json": b"",
    "list.json": b"[]",
    "cut.json": json.dumps(CASES["tlb"]).encode()[:500],
    "cut.json.gz": gzip.compress(json.dumps(CASES["tlb"]).encode())[:900],
    "plain.json.gz": json.dumps(CASES["tlb"]).encode(),
    "utf16.json": json.dumps(CASES["tlb"]).encode("utf-16"),
    "deep.json": b"[" * 100_000,
    "deeper_than_allowed.json": b'{"topic": ' + b"[" * 40 + b"]" * 40 + b"}",
    "digits.json": b'{"topic": ' + b"9" * 5000 + b"}",
    "wide_number.json": b'{"topic": 36893488147419103232}',
    "nan.json": b'{"topic": NaN}',
    "infinity.json": b'{"topic": [-Infinity]}',
    "twice.json": b'{"topic": "vma", "topic": "tlb"}',
    "surrogate.json": b'{"topic": "\\ud800"}',
    "surrogate_key.json": b'{"\\ud800": 1}',
    "many.json": b"[" + b"0," * 3_000_000 + b"0]",
    "long.json": b'{"case": "' + b"a" * (2 << 20) + b'"}',
    "bomb.json.gz": gzip.compress(b'{"case": "' + bytes(100 << 20), 9),
}


@pytest.mark.parametrize("name", BYTES)
def test_bytes_that_are_no_case_are_an_error_with_four_parts(tmp_path, name):
    """Whatever the bytes are, the user gets place, found, legal and advice."""
    path = tmp_path / name
    path.write_bytes(BYTES[name])

    assert problems_of(path)


def test_what_is_no_regular_file_is_not_waited_for(tmp_path):
    """A device or a folder of a recording's name is refused, a pipe would never end."""
    path = tmp_path / "zero.json"
    path.symlink_to("/dev/zero")

    assert 2 == run_command(["validate", str(path)])


def test_one_damaged_file_does_not_stop_the_others(tmp_path, capsys):
    """The others are compared, and the exit code says that one could not be read."""
    changed(tmp_path, put(None, "ops"))
    (tmp_path / "whole.json").write_text(json.dumps(CASES["tlb"]))

    assert 2 == run_command(["validate", str(tmp_path)])
    out, err = capsys.readouterr()
    assert "userland/tlb: 1 of 1 cases equal" in out
    assert "ops is null" in err


@pytest.mark.parametrize("text", ["cgrm g", "C: idle", "mremap A len=8K old=4K"])
def test_what_only_the_recorder_can_do_is_not_the_recording_s_fault(tmp_path, text):
    """Its own words are not modelled; they are no reason to record it again."""
    path = changed(tmp_path, do("mmap A 4K", "fork C", text))

    (result,) = validate_tlb(path)

    assert result.not_validated.startswith("op_list[2] is not modelled")


HUGE = "64T flags=private,anon,noreserve"
ENDLESS = {
    "more than 1ms of work for the kernel": [
        [f"mmap A {HUGE}", "touch A read"],
        [f"mmap A {HUGE}", "madvise A POPULATE_READ"],
        [f"mmap A {HUGE} prot=r", "mlock A"],
        [f"mmap A {HUGE},populate prot=r"],
        ["mlockall 2", f"mmap A {HUGE} prot=r"],
        ["churn 1000000000 4K"],
        ["churn 1000000000 4K touch"],
        ["mmap A 1M", "faultloop A 1000000000000"],
        ["mmap A 100M", "fragment A 2 keep=1"],
        ["open F /mnt/f256m", "read F 0 16M bs=1"],
    ],
    "more than 50,000 accesses to memory": [
        ["mmap A 64K", "touch A write passes=1000000000000"],
        ["mmap A 64K", "touch A write", "touch A write order=rand:5 count=1000000000000"],
        ["mmap A 64K", "thread T cpu=1", "T& touch A read passes=1000000000", "wait"],
    ],
    "more than 400,000 switches between threads": [
        ["thread T cpu=1", "T& churn 1000000000 64K", "churn 1000000000 64K"],
    ],
}


@pytest.mark.parametrize(("found", "texts"), [(f, t) for f in ENDLESS for t in ENDLESS[f]])
def test_a_case_that_would_take_for_ever_is_refused(tmp_path, monkeypatch, capsys, found, texts):
    """By what is done, not by a clock; however few words ask for it."""
    monkeypatch.setattr(budget, "SYSTEM_NS_MAX", 1_000_000)
    monkeypatch.setattr(budget, "ACCESSES_OF_CASE_MAX", 50_000)
    monkeypatch.setattr(machine, "SWITCHES_MAX", 2_000)

    assert 2 == run_command(["validate", str(changed(tmp_path, do(*texts)))])
    assert f"op_list asks for {found}" in capsys.readouterr().err


def test_all_runs_of_a_case_share_its_budget(tmp_path, monkeypatch):
    """A case of faults is run with each phase that it may have begun in."""
    path = changed(tmp_path, lambda _content: None, topic="faults")
    case = read_case(path)
    machine.run_recorded(case, watch=lambda *_: None)
    monkeypatch.setattr(budget, "SYSTEM_NS_MAX", case.budget.done.system_ns * 3 // 2)

    with pytest.raises(UserError, match="of work for the kernel"):
        machine.run_recorded(case, watch=lambda *_: None)


@pytest.mark.parametrize("text", [f"mmap A {HUGE}", "mmap A 64T flags=shared,anon,noreserve"])
def test_a_call_on_64_tib_takes_no_longer_than_on_its_pages(tmp_path, text):
    """mincore of so much answers at once, as do all calls on pages that are not there."""
    calls = ["mincore A", "msync A", "mprotect A prot=r", "munlock A"]
    advices = [f"madvise A {name}" for name in ("DONTNEED", "COLD", "PAGEOUT", "WILLNEED", "FREE")]
    path = changed(tmp_path, do(text, *calls, *advices, "mremap A len=32T", "munmap A"))

    (result,) = validate_tlb(path)

    assert result.not_validated is None
