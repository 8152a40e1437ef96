"""`prefect.yaml`: what it deploys exists, and its parameters are such as the flow takes."""

import inspect
from pathlib import Path

import yaml

from flows.engine.options import Runner
from flows.jobs import asked
from tests.flows.helpers import REPOSITORY


def test_its_entry_point_and_its_parameters():
    [deployment] = yaml.safe_load((REPOSITORY / "prefect.yaml").read_text())["deployments"]
    path, name = deployment["entrypoint"].split(":")
    source = (REPOSITORY / path).read_text()
    assert f"def {name}(" in source
    from flows.orchestration import decorators

    parameters = inspect.signature(getattr(decorators, name).fn).parameters
    assert set(deployment["parameters"]) <= set(parameters)
    job = asked(deployment["parameters"]["kind"], deployment["parameters"]["job"])
    assert (job.rois, job.runner) == (("hair", "mouth"), Runner("processes", 2))
    assert Path(deployment["parameters"]["home"]).is_absolute()
