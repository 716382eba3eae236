"""Σ(surprisal − entropy) along a text: against `self_z`, and the coverage of its band on texts that a law draws."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from freerun.errors import DataError
from freerun.stats.recognition.running import running_excess
from freerun.stats.recognition.self_recognition import self_z


def columns(rng: np.random.Generator, texts: int, tokens: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Texts × tokens, each token drawn from a law of its own."""
    laws = rng.dirichlet(np.full(12, 0.5), (texts, tokens))
    logs = np.log(laws)
    entropy = -(laws * logs).sum(-1)
    variance = (laws * logs**2).sum(-1) - entropy**2
    drawn = (laws.cumsum(-1) < rng.random((texts, tokens, 1))).sum(-1).clip(0, 11)
    return np.take_along_axis(logs, drawn[..., None], -1)[..., 0], entropy, variance


def test_every_beginning_has_the_z_of_self_recognition() -> None:
    log_prob, entropy, variance = (x[0] for x in columns(np.random.default_rng(0), 1, 30))
    path = running_excess(log_prob, entropy, variance)
    for n in range(1, 31):
        whole = self_z(log_prob[:n], entropy[:n], variance[:n], np.zeros(n, int), 1)
        assert path.z[n - 1] == pytest.approx(whole.z_total)
        assert path.sum_nats[n - 1] == pytest.approx(np.sum(-log_prob[:n] - entropy[:n]))
    np.testing.assert_allclose(path.half_width_nats, stats.norm.ppf(0.975) * np.abs(path.sum_nats / path.z))


def test_the_band_holds_at_each_token_by_itself_and_not_at_all_together() -> None:
    """4,000 texts: the share inside at one token is binomial around 95%; ±1.6 points is missed by chance less than once in 10⁵.
    Of all texts far more than 5% leave the band somewhere, which is why it is called pointwise."""
    log_prob, entropy, variance = columns(np.random.default_rng(1), 4000, 80)
    paths = [running_excess(*rows) for rows in zip(log_prob, entropy, variance, strict=True)]
    inside = np.stack([np.abs(p.sum_nats) <= p.half_width_nats for p in paths])
    for t in (19, 39, 79):
        assert abs(inside[:, t].mean() - 0.95) < 0.016
    assert (~inside.all(axis=1)).mean() > 0.15


def test_an_impossible_token_and_unknown_laws() -> None:
    path = running_excess(np.array([-1.0, -np.inf, -1.0]), np.ones(3), np.ones(3))
    assert path.sum_nats.tolist() == [0.0, np.inf, np.inf]
    flat = running_excess(np.zeros(2), np.zeros(2), np.zeros(2))
    assert np.isnan(flat.z).all()
    with pytest.raises(DataError, match="NaN"):
        running_excess(np.zeros(1), np.array([np.nan]), np.zeros(1))
