"""The network that only runs forwards: the same answers, and the one that is differentiated stays what it is."""

import torch

from flows.device.models import open_fast, open_model


def test_two_networks_with_the_same_answers(registry):
    record = registry.model("tiny")
    plain, fast = open_model(record, "float64"), open_fast(record, "float64")
    x_t = torch.randn(3, *record.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(plain.posterior_mean(x_t, 0.5), fast.posterior_mean(x_t, 0.5))
    assert plain.network is not fast.network
    _, derivative = torch.func.jvp(lambda x: plain.posterior_mean(x, 0.5), (x_t,), (x_t,))
    assert derivative.isfinite().all()
