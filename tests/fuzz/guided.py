"""Fuzz one reader, guided by coverage: `python -m fuzz.guided READER [-max_total_time=S ...]`.

Start it in tests/, in an environment that has atheris; the other arguments are libFuzzer's.
"""

import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["mmactors", "ruamel"]):
    from fuzz.readers import read, seeds

if __name__ == "__main__":
    name = sys.argv.pop(1)
    with tempfile.TemporaryDirectory() as folder:
        corpus, work = Path(folder, "corpus"), Path(folder, "work")
        corpus.mkdir()
        work.mkdir()
        for number, data in enumerate(seeds(name)):
            (corpus / f"seed-{number}").write_bytes(data)
        atheris.Setup([*sys.argv, str(corpus)], lambda data: read(name, data, work))
        atheris.Fuzz()
