"""The three parametrisations: a network that knows (x0, eps) yields x0 whichever way it says so."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from loco.diffusion.denoiser import posterior_mean


@given(st.floats(0.01, 0.99), st.integers(0, 10**6))
def test_epsilon_v_and_sample_give_the_same_x0(alpha_bar, seed):
    generator = torch.Generator().manual_seed(seed)
    x0, eps = torch.randn(2, 2, 3, 4, 4, generator=generator, dtype=torch.float64)
    signal, noise = alpha_bar**0.5, (1 - alpha_bar) ** 0.5
    x_t = signal * x0 + noise * eps
    outputs = {"epsilon": eps, "v_prediction": signal * eps - noise * x0, "sample": x0}
    for prediction_type, output in outputs.items():
        found = posterior_mean(x_t, output, alpha_bar, prediction_type)
        torch.testing.assert_close(found, x0, rtol=0, atol=1e-12)


def test_an_unknown_parametrisation_is_named():
    x = torch.zeros(1, 3, 2, 2)
    with pytest.raises(ValueError, match="must be epsilon, v_prediction or sample, found 'flow'"):
        posterior_mean(x, x, 0.5, "flow")
