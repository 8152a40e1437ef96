"""loco bench discover: the keys that programs read, on the embedded model; and what cannot be asked."""

import pytest


@pytest.mark.slow
def test_six_regions_beat_the_published_procedure(loco):
    [told] = loco("--json", "bench", "discover").json
    assert told["rois"] == ["mouth", "eyes", "nose", "brows", "hair", "skin"]
    assert told["power"]["products"] == 4800
    assert told["products_ratio"] > 16
    assert told["subspace_error"] <= 0.01
    assert told["subspace_error"] <= told["subspace_error_power"]
    assert told["further_roi_products"] <= 40


def test_an_unknown_region(loco):
    assert (
        "the faces have no region 'tail'; they have: "
        in loco("bench", "discover", "--roi", "tail", code=2).err
    )
