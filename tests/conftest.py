"""What every test starts from: one thread, a seed, and no deadline on a busy machine."""

import os
import sys
import tempfile

os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when torch is imported
os.environ["LOCO_SLOTS"] = os.path.join(tempfile.gettempdir(), f"loco-test-slots-{os.getpid()}")  # noqa: PTH118
os.environ["PREFECT_HOME"] = os.path.join(tempfile.gettempdir(), f"loco-test-prefect-{os.getpid()}")  # noqa: PTH118

import pytest
from hypothesis import settings

settings.register_profile("loco", deadline=None)
settings.load_profile("loco")


@pytest.fixture(autouse=True)
def _seed():
    if "torch" in sys.modules:  # the registry's tests run without it
        sys.modules["torch"].manual_seed(0)
