"""Writes the generated files of docs/: `python -m mmactors.scenario.generate docs`."""

import json
import sys
from pathlib import Path

from mmactors.left_out import left_out_document
from mmactors.scenario.counter_names import counters_reference
from mmactors.scenario.event_names import events_reference
from mmactors.scenario.json_schema import scenario_schema
from mmactors.scenario.reference import scenario_reference


def generated_files() -> dict[str, str]:
    """Return the texts of the generated files by name."""
    return {
        "scenario.schema.json": json.dumps(scenario_schema(), indent=1) + "\n",
        "scenario.md": scenario_reference(),
        "events.md": events_reference(),
        "counters.md": counters_reference(),
        "left-out.md": left_out_document(),
    }


def main() -> None:
    """Write the generated files to the folder that the command line names."""
    for name, text in generated_files().items():
        (Path(sys.argv[1]) / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
