"""The figures of docs/scorers.md, at half their size: names against the renderer's truth, directions toward numbers."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def last_line(script, *sizes):
    done = subprocess.run(
        [sys.executable, ROOT / "benchmarks" / script, *map(str, sizes)],
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PATH": ""},
        check=True,
        capture_output=True,
        text=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_at_least_twelve_attributes_move_most_toward_themselves_and_a_mouth_never_moves_hair():
    found = last_line("toward.py", 8, 12)
    assert found["move_most"] >= 12
    assert found["mouth_moves_no_hair"]


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_eight_names_in_ten_agree_with_the_second_reader_and_most_with_the_renderer():
    found = last_line("names.py", 8, 24)
    assert found["named"] >= 8
    assert found["judge"] >= 0.8 * found["named"]
    assert found["truth"] >= 0.6 * found["named"]
