"""`mmactors schema`: the JSON Schema of scenario files, for editors and other tools."""

import json
import sys

from mmactors.scenario.json_schema import scenario_schema


def schema_text() -> str:
    """Return the JSON Schema as a text."""
    return json.dumps(scenario_schema(), indent=1) + "\n"


def schema() -> int:
    """Print the JSON Schema of scenario files."""
    sys.stdout.write(schema_text())
    return 0
