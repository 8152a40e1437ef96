"""The parametrisations: a network that knows (x0, eps) yields x0 whichever way it says so, on any path."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from loco.diffusion.denoiser import PREDICTIONS, posterior_mean, prediction


def drawn(seed):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, 2, 3, 4, 4, generator=generator, dtype=torch.float64)


@given(st.floats(0.01, 0.99), st.floats(0.1, 10), st.integers(0, 10**6))
def test_all_predictions_give_the_same_x0(alpha_bar, scale, seed):
    """The velocities are derivatives: v along the angle of a circle, flow along the straight path."""
    x0, eps = drawn(seed)
    signal, noise = scale * alpha_bar**0.5, scale * (1 - alpha_bar) ** 0.5
    x_t = signal * x0 + noise * eps
    outputs = {
        "epsilon": eps,
        "v_prediction": signal * eps - noise * x0,
        "sample": x0,
        "flow": eps - x0,
    }
    assert set(outputs) == set(PREDICTIONS)
    for prediction_type, output in outputs.items():
        found = posterior_mean(x_t, output, signal, noise, prediction_type)
        torch.testing.assert_close(found, x0, rtol=0, atol=1e-9)
        torch.testing.assert_close(
            prediction(x_t, x0, signal, noise, prediction_type), output, rtol=0, atol=1e-8
        )


@given(st.floats(0.01, 0.99), st.integers(0, 10**6))
def test_on_the_straight_path_x0_is_x_minus_t_v(t, seed):
    x0, eps = drawn(seed)
    x_t, v = (1 - t) * x0 + t * eps, eps - x0
    torch.testing.assert_close(posterior_mean(x_t, v, 1 - t, t, "flow"), x_t - t * v, rtol=0, atol=1e-12)


def test_without_signal_v_tells_x0_and_epsilon_does_not():
    x0, eps = drawn(0)
    torch.testing.assert_close(posterior_mean(eps, -x0, 0.0, 1.0, "v_prediction"), x0)
    with pytest.raises(ValueError, match="x0 cannot be told from epsilon where x_t holds no signal"):
        posterior_mean(eps, eps, 0.0, 1.0, "epsilon")


@pytest.mark.parametrize(
    "act",
    [lambda x: posterior_mean(x, x, 0.6, 0.8, "score"), lambda x: prediction(x, x, 0.6, 0.8, "score")],
)
def test_an_unknown_parametrisation_is_named(act):
    with pytest.raises(ValueError, match="must be one of epsilon, v_prediction, sample, flow, found 'score'"):
        act(torch.zeros(1, 3, 2, 2))
