"""Some hundreds of mutated files for every reader; `python -m fuzz` goes on for hours."""

import random

import pytest
from fuzz.mutation import mutated
from fuzz.readers import READERS, read, seeds

COUNTS = {"scenario": 60, "log": 40}
COUNT = 300


@pytest.mark.parametrize("name", READERS)
def test_whole_files_are_read(name, tmp_path):
    """Mutations of what is refused at once would show nothing."""
    assert [""] * len(seeds(name)) == [read(name, data, tmp_path) for data in seeds(name)]


@pytest.mark.parametrize("name", READERS)
def test_a_reader_of_a_mutated_file_reads_it_or_says_what_is_wrong(name, tmp_path):
    """In four parts, without control characters; nothing but UserError leaves it."""
    draw = random.Random(name)
    known = seeds(name)
    for number in range(COUNTS.get(name, COUNT)):
        data = mutated(draw.choice(known), known, draw)
        try:
            read(name, data, tmp_path)
        except Exception as error:
            raise AssertionError(f"mutation {number}: {data[:2000]!r}") from error
