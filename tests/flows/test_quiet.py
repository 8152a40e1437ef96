"""What a worker's screen shows of a run's end: bugs with their traceback, all else in the worker's own line."""

import io
import logging

import pytest

from flows.server import alone
from loco.errors import InputError
from tests.registry.builders import make_run


@pytest.fixture
def screen(home):
    """What Prefect's loggers show on a console like theirs."""
    alone.isolate()
    from flows.orchestration.quiet import quieten

    text = io.StringIO()
    handler = logging.StreamHandler(text)
    logging.getLogger().addHandler(handler)
    quieten()
    yield text
    logging.getLogger().removeHandler(handler)


def ended_by(error):
    """The end of a flow run's process, as Prefect has it."""
    from prefect.engine import handle_engine_signals

    with pytest.raises(SystemExit) as caught, handle_engine_signals():
        raise error
    return caught.value.code


@pytest.mark.parametrize("status", ["stopped", "cancelled", "failed"])
def test_an_end_that_is_recorded_shows_no_traceback(screen, status):
    from flows.orchestration.decorators import _state

    state = _state(make_run(status=status))
    with pytest.raises(Exception) as raised:  # noqa: PT011  (Prefect's, of each state another)
        state.result()
    assert ended_by(raised.value) == 1
    assert screen.getvalue() == ""


def test_what_users_can_mend_shows_none_and_a_bug_does(screen):
    assert ended_by(InputError("no such dataset")) == 1
    assert screen.getvalue() == ""
    assert ended_by(ZeroDivisionError("a bug")) == 1
    assert "Traceback" in screen.getvalue()


def test_the_workers_own_line_is_the_only_one_of_a_failed_process(screen):
    logger = logging.getLogger("prefect.runner.flow_run_executor")
    logger.error("Process exited with status code: 1. It failed.")
    assert screen.getvalue() == ""
    logger.error("Flow run 'x' could not start: no memory")
    assert "could not start" in screen.getvalue()
