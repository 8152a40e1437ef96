"""What Prefect's console leaves out here: of what is no bug the command, or the worker, says one line itself."""

import logging

from prefect.exceptions import CancelledRun, CrashedRun, FailedRun, UnfinishedRun

from loco.errors import LocoError

_ENDS = (LocoError, FailedRun, CrashedRun, CancelledRun, UnfinishedRun)
"""What users can do something about, and how a run that was recorded ended: stopped by its limit of failures, say."""

_TOLD = ("Finished in state", "exited with status code")


class Bugs(logging.Filter):
    """Passes what is said of bugs only."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether it is shown."""
        error = record.exc_info[1] if record.exc_info else None
        text = record.getMessage()
        return not isinstance(error, _ENDS) and not any(told in text for told in _TOLD)


def quieten() -> None:
    """Let the console of this process show bugs only; Prefect's server keeps everything."""
    for handler in logging.getLogger().handlers:
        if not any(isinstance(one, Bugs) for one in handler.filters):
            handler.addFilter(Bugs())
