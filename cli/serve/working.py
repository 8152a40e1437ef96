"""A job that the page started, in a process of its own: what it is comes as JSON on standard input."""

import json
import sys
from pathlib import Path
from typing import Any


def main() -> None:
    """Do the job under the run's id that was told; a job that cannot begin is recorded as failed."""
    told: dict[str, Any] = json.loads(sys.stdin.buffer.read())
    from flows.engine.record import catalogue, fail_unbegun
    from flows.jobs import asked
    from flows.start import run
    from loco.errors import LocoError
    from registry.home import Home

    home = Home(Path(told["home"]))
    try:
        run(home, told["url"], asked(told["kind"], told["spec"]), None, told["run_id"])
    except LocoError as error:
        fail_unbegun(catalogue(home, told["url"]), told["kind"], told["spec"], told["run_id"], {}, error)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
