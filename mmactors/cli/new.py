"""`mmactors new NAME --from EXAMPLE`: a scenario of one's own, made from an example."""

import re
from pathlib import Path
from typing import Annotated, Final

from cyclopts import Parameter

from mmactors.cli.examples import Example, example_called
from mmactors.cli.schema import schema_text
from mmactors.cli.terminal.screen import say
from mmactors.errors import Place, Problem, UserError

SCHEMA: Final = "mmactors.schema.json"
_TRACES: Final = Path("traces")
_NAME: Final = re.compile(r"[A-Za-z0-9_][\w.-]{0,63}", re.ASCII)


def new(
    name: Annotated[str, Parameter(help="The scenario becomes NAME.yaml in this folder.")],
    *,
    example: Annotated[
        str, Parameter(name="--from", help="The example; see mmactors examples.")
    ] = "quickstart",
    schema: Annotated[
        bool,
        Parameter(
            help=f"Write {SCHEMA}, too, and name it for editors that know YAML.", negative=""
        ),
    ] = False,
    force: Annotated[bool, Parameter(help="Replace what is there.", negative="")] = False,
) -> int:
    """Write a scenario of your own from an example, with the traces that it runs."""
    name = name.removesuffix(".yaml")
    if _NAME.fullmatch(name) is None:
        raise UserError(_bad_name(name))
    chosen = example_called(example, "--from")
    files = _files_of(chosen, name, with_schema=schema)
    there = [path for path, data in files.items() if not _is_free(path, data)]
    if there and not force:
        raise UserError(_is_there(path) for path in there)
    try:
        for path, data in files.items():
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(data)
    except OSError as error:
        raise UserError(_unwritable(error)) from None
    say("".join(f"wrote   {path}\n" for path in files))
    say(f"next    mmactors {chosen.verb} {name}.yaml\n")
    return 0


def _files_of(example: Example, name: str, *, with_schema: bool) -> dict[Path, bytes]:
    """Return what is to be written: path to contents."""
    text = example.text
    files = {}
    for written, trace in example.traces().items():
        place = _TRACES / trace.name
        text = text.replace(f"trace {written}", f"trace {place.as_posix()}")
        files[place] = trace.read_bytes()
    folder = "configs/races" if example.verb == "explore" else "configs"
    text = text.replace(f"{folder}/{example.name}.yaml", f"{name}.yaml")
    if with_schema:
        text = f"# yaml-language-server: $schema={SCHEMA}\n{text}"
        files[Path(SCHEMA)] = schema_text().encode()
    return {Path(f"{name}.yaml"): text.encode(), **files}


def _is_free(path: Path, data: bytes) -> bool:
    """Return whether nothing is lost by writing: a trace or schema may be there already."""
    if not path.exists():
        return True
    return path.suffix != ".yaml" and path.is_file() and path.read_bytes() == data


def _bad_name(name: str) -> Problem:
    proposed = re.sub(r"[^\w.-]+", "-", name, flags=re.ASCII).strip("-.")
    return Problem(
        place=Place("NAME"),
        found=f"{name[:80]!r} is not the name of a scenario",
        legal="expected up to 64 of A-Z a-z 0-9 _ . -, a letter, digit or _ first",
        advice=f"did you mean {proposed[:64]}?" if proposed else "write mmactors new demo",
    )


def _is_there(path: Path) -> Problem:
    return Problem(
        place=Place(str(path)),
        found="it is there already",
        legal="expected a name that is free",
        advice="choose another NAME, or replace it with --force",
    )


def _unwritable(error: OSError) -> Problem:
    return Problem(
        place=Place(str(error.filename or ".")),
        found=error.strerror or type(error).__name__,
        legal="expected a folder that can be written",
        advice="go to another folder, or check its permissions",
    )
