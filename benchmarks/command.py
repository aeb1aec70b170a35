"""The command line that the benchmarks share: one JSON line last."""

import json
import pathlib
import tempfile
from collections.abc import Callable
from typing import Any

from absl import app, flags

JSON = flags.DEFINE_string("json", None, "File that keeps the result.")


def run(measure: Callable[[pathlib.Path], dict[str, Any]], *required: str) -> None:
    """Measures in a folder that is deleted, prints the result and keeps it.

    Args:
      measure: what to run; returns the JSON object.
      *required: flags that must be given.
    """

    def main(argv: list[str]) -> None:
        del argv
        with tempfile.TemporaryDirectory() as folder:
            line = json.dumps(measure(pathlib.Path(folder)))
        if JSON.value:
            pathlib.Path(JSON.value).write_text(line + "\n")
        print(line)

    flags.mark_flags_as_required(required)
    app.run(main)
