"""`mmactors heap`: what the pages of a program's heap held, and what kept its memory."""

import orjson
import pytest

from mmactors.cli.main import run_command

PROGRAM = [
    *(f"malloc a{nth} {3000 + 40 * nth}" for nth in range(40)),
    *(f"memset a{nth} 1" for nth in range(40)),
    "malloc pin 24",
    *(f"free a{nth}" for nth in range(40)),
]


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("heap")
    lines = "".join(f'      - "{operation}"\n' for operation in PROGRAM)
    other = '  - name: other\n    program: ["mmap A 4K"]\n'
    text = f"processes:\n  - name: frag\n    program:\n{lines}{other}"
    (folder / "a.yaml").write_text(text)
    assert 0 == run_command(["run", str(folder / "a.yaml"), "--out", str(folder / "run"), "-q"])
    return folder / "run"


def test_memory_that_does_not_come_back_is_seen_with_what_keeps_it(run_dir, capsys):
    assert 0 == run_command(["heap", str(run_dir)])
    out = capsys.readouterr().out

    assert "main arena, " in out
    words = " ".join(out.split())  # Lines end where the terminal does.
    assert "of 24 bytes, `pin`" in words
    assert "does not come back: " in words
    assert "FFFFFFFF" in out
    assert sorted(path.name for path in (run_dir / "malloc" / "1").iterdir()) == [
        "heap_map.json", "mallinfo2", "malloc_info.xml", "malloc_stats",
    ]  # fmt: skip


def test_json_has_the_sums(run_dir, capsys):
    assert 0 == run_command(["heap", str(run_dir), "--process", "frag", "--json"])
    (heap,) = orjson.loads(capsys.readouterr().out)["heaps"]
    free = int((run_dir / "malloc/1/mallinfo2").read_text().split("fordblks: ")[1].split()[0])

    assert heap["segments"][0]["pin"]["names"] == ["pin"]
    assert heap["asked_bytes"] == 24
    assert abs(heap["free_bytes"] + heap["top_bytes"] - free) < 100


def test_who_has_no_heap_is_told_with_those_that_have(run_dir, capsys):
    assert 2 == run_command(["heap", str(run_dir), "--process", "other"])
    assert "'other' has no heap; expected a name or pid: frag (1)" in capsys.readouterr().err


@pytest.mark.parametrize("damage", [b"", b"[]", b"{}", b'{"schema": "mmactors.heap_map"}'])
def test_a_damaged_map_is_told(run_dir, tmp_path, capsys, damage):
    path = run_dir / "malloc" / "1" / "heap_map.json"
    whole = path.read_bytes()
    try:
        path.write_bytes(damage)
        assert 2 == run_command(["heap", str(run_dir)])
    finally:
        path.write_bytes(whole)
    assert "it is damaged, or no map of a heap" in capsys.readouterr().err
