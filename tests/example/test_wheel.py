"""The wheel: what it carries, and that a user needs nothing but it."""

import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

from mmactors.arch.native.parts import PARTS
from mmactors.cli.examples import all_examples

ROOT = Path(__file__).parents[2]


def test_the_wheel_carries_the_examples_their_traces_and_the_types():
    """Every example of the checkout, every trace that one runs, and py.typed."""
    wheel = pytest.importorskip("hatchling.builders.wheel")

    builder = wheel.WheelBuilder(str(ROOT))
    places = {file.distribution_path for file in builder.recurse_included_files()}

    examples = "mmactors/examples"
    wanted = {"mmactors/py.typed", "mmactors/__main__.py"}
    wanted |= {
        f"{examples}/{path.relative_to(ROOT / 'configs').as_posix()}"
        for path in (ROOT / "configs").rglob("*.yaml")
    }
    traces = [trace.name for each in all_examples().values() for trace in each.traces().values()]
    wanted |= {f"{examples}/traces/{name}" for name in traces}
    assert traces
    assert set() == wanted - places


@pytest.mark.slow
def test_the_wheel_works_where_the_repository_is_not(tmp_path):
    """Built, installed into a fresh environment, and used in an empty folder."""
    pytest.importorskip("hatchling")
    empty = tmp_path / "empty"
    empty.mkdir()
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    environment["MMACTORS_CACHE_DIR"] = str(tmp_path / "cache")

    def do(*command: object, cwd: Path = empty, **variables: str) -> str:
        done = subprocess.run(
            list(map(str, command)),
            cwd=cwd,
            env=environment | variables,
            capture_output=True,
            text=True,
            check=False,
        )
        assert 0 == done.returncode, done.stderr
        return done.stdout

    venv.create(tmp_path / "venv", with_pip=False)
    python = tmp_path / "venv/bin/python"
    packages = sysconfig.get_path("purelib")
    # As pip does it: what the build requires is on the path, and not in the environment.
    build = f"from hatchling.build import build_wheel; build_wheel({str(tmp_path)!r})"
    do(python, "-c", build, cwd=ROOT, PYTHONPATH=packages)
    (wheel,) = tmp_path.glob("*.whl")
    site = do(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip()
    do(sys.executable, "-m", "pip", "install", "--no-deps", "--quiet", "--target", site, wheel)
    # What it depends on is this environment's; what it is, is not.
    (Path(site) / "dependencies.pth").write_text(packages)

    mmactors = (python, "-m", "mmactors")
    where = do(python, "-c", "import mmactors; print(mmactors.__file__)")
    assert where.startswith(site)
    assert "next    mmactors run demo.yaml" in do(*mmactors, "new", "demo", "--schema")
    assert do(*mmactors, "run", "demo.yaml").startswith("ok: ")
    assert "quickstart" in do(*mmactors, "examples")
    assert "yaml-language-server" in (empty / "demo.yaml").read_text()
    assert do(*mmactors, "schema") == (empty / "mmactors.schema.json").read_text()
    assert "_mmactors()" in do(*mmactors, "completion", "bash")
    assert (Path(site) / "mmactors/py.typed").is_file()
    built = (Path(site) / "mmactors/arch/native/built").iterdir()
    assert set(PARTS) == {each.name.partition(".")[0] for each in built}
    assert not (tmp_path / "cache").exists(), "nothing had to be compiled"
