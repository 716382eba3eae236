import dataclasses
import time
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from freerun.errors import DataError
from freerun.stats.detection.likelihood_features import Stops, TokenColumns, length_features, likelihood_features
from freerun.stats.loops.lag_runs import rep_n


def columns(seed: int, n: int, length: int, ids: int = 40) -> TokenColumns:
    rng = np.random.default_rng(seed)
    shape = (n, length)
    return TokenColumns(
        log_prob=-rng.exponential(3, shape).astype(np.float32),
        entropy=rng.exponential(3, shape).astype(np.float32),
        varentropy=rng.exponential(5, shape).astype(np.float32),
        rank=rng.integers(1, 300, shape),
        ids=rng.integers(0, ids, shape).astype(np.int32),
        reference_log_prob=-rng.exponential(3, shape).astype(np.float32),
    )


def named(tokens: TokenColumns, length: int) -> dict[str, np.ndarray]:
    values, names = likelihood_features(tokens, length=length)
    return dict(zip(names, values.T, strict=True))


def test_features_by_hand() -> None:
    tokens = TokenColumns(
        log_prob=np.array([[-1.0, -3.0, -8.0, -4.0, -99.0]]),
        entropy=np.array([[2.0, 2.0, 4.0, 4.0, 0.0]]),
        varentropy=np.array([[1.0, 4.0, 2.0, 2.0, 0.0]]),
        rank=np.array([[1, 10, 101, 1, 5]]),
        ids=np.array([[7, 7, 8, 7, 7]]),
        reference_log_prob=np.array([[-1.0, -1.0, -5.0, -5.0, np.nan]]),
    )
    found = {name: float(value[0]) for name, value in named(tokens, 4).items()}
    place = np.log([1, 2, 3, 4]) - np.log([1, 2, 3, 4]).mean()
    assert found == pytest.approx(
        {
            "surprisal_mean": 4.0,
            "surprisal_sd": (26 / 4) ** 0.5,  # deviations -3 -1 4 0
            "entropy_mean": 3.0,
            "entropy_sd": 1.0,
            "excess_mean": 1.0,
            "self_z": 4 / 9**0.5,
            "log_rank_mean": np.log(1010) / 4,
            "top1_share": 0.5,
            "rank_over_100_share": 0.25,
            "prob_under_0.001_share": 0.25,  # ln .001 = -6.9
            "surprisal_slope": place @ [1, 3, 8, 4] / (place @ place),
            "entropy_slope": place @ [2, 2, 4, 4] / (place @ place),
            "distinct_1": 0.5,
            "rep_2": 0.0,  # 77 78 87
            "lag_run_share": 0.25,  # 7 = 7 at lag 1
            "reference_gain_mean": 1.0,  # (16 - 12)/4
        }
    )
    # at 5 tokens the reference is not known, 77 comes twice, and 7 at lag 3 twice in a row (indices 3, 4)
    longer = named(tokens, 5)
    assert "reference_gain_mean" not in longer
    assert float(longer["rep_2"][0]) == 0.25
    assert float(longer["lag_run_share"][0]) == 0.4


@given(seed=st.integers(0, 1000), length=st.integers(1, 40))
@settings(max_examples=40, deadline=None)
def test_batched_is_one_by_one_and_finite(seed: int, length: int) -> None:
    tokens = columns(seed, 4, 40, ids=3)
    values, names = likelihood_features(tokens, length=length)
    assert values.shape == (4, len(names))
    assert np.isfinite(values).all()
    for i in range(4):
        parts = {f.name: getattr(tokens, f.name)[i : i + 1] for f in dataclasses.fields(tokens)[:6]}
        alone, names_alone = likelihood_features(TokenColumns(**parts), length=length)
        assert names_alone == names
        assert alone[0] == pytest.approx(values[i], abs=1e-12)


def test_tokens_beyond_the_length_change_nothing() -> None:
    tokens = columns(1, 6, 40)
    cut = TokenColumns(**{f.name: getattr(tokens, f.name)[:, :16] for f in dataclasses.fields(tokens)[:6]})
    assert likelihood_features(tokens, length=16)[0].tolist() == likelihood_features(cut, length=16)[0].tolist()


@given(seed=st.integers(0, 500), length=st.integers(2, 70))
@settings(max_examples=40, deadline=None)
def test_repetition_features_are_their_definitions(seed: int, length: int) -> None:
    tokens = columns(seed, 3, 70, ids=2 + seed % 3)
    found = named(tokens, length)
    for i in range(3):
        ids = tokens.ids[i, :length]
        assert found["rep_2"][i] == pytest.approx(rep_n(ids, 2))
        assert found["distinct_1"][i] == pytest.approx(len(set(ids.tolist())) / length)
        longest = 0
        for period in range(1, min(64, length - 1) + 1):
            run = 0
            for t in range(period, length):
                run = run + 1 if ids[t] == ids[t - period] else 0
                longest = max(longest, run)
        assert found["lag_run_share"][i] == pytest.approx(longest / length)
        if length >= 16:
            size = len(zlib.compress(ids.astype(np.int32).tobytes()))
            assert found["zlib_bytes_per_token"][i] == pytest.approx(size / length)
        else:
            assert "zlib_bytes_per_token" not in found


def test_impossible_tokens_stay_finite() -> None:
    tokens = columns(2, 3, 20)
    tokens.log_prob[0, 3] = -np.inf
    tokens.varentropy[1] = 0.0
    values, _ = likelihood_features(tokens, length=20)
    assert np.isfinite(values).all()


def test_unusable_columns_are_refused() -> None:
    tokens = columns(3, 3, 20)
    with pytest.raises(DataError, match="1 to 20 tokens"):
        likelihood_features(tokens, length=21)
    with pytest.raises(DataError, match="shapes"):
        likelihood_features(dataclasses.replace(tokens, ids=tokens.ids[:2]), length=4)
    with pytest.raises(DataError, match="count from 1"):
        likelihood_features(dataclasses.replace(tokens, rank=0 * tokens.rank), length=4)
    with pytest.raises(DataError, match="entropy holds NaN"):
        likelihood_features(dataclasses.replace(tokens, entropy=np.nan * tokens.entropy), length=4)


def test_all_lengths_of_600_texts_are_quick() -> None:
    tokens = columns(4, 600, 128)
    begin = time.process_time()
    for length in (1, 2, 4, 8, 16, 32, 64, 128):
        likelihood_features(tokens, length=length)
    assert time.process_time() - begin < 1.5  # 0.1 s where it was written


@given(seed=st.integers(0, 1000), length=st.integers(1, 40))
@settings(max_examples=40, deadline=None)
def test_texts_of_their_own_length_have_the_features_of_what_they_hold(seed: int, length: int) -> None:
    """The second way: every text alone, in a rectangle that it fills; compression, which has a least length, is left out there."""
    tokens = columns(seed, 5, 40, ids=3)
    rng = np.random.default_rng(seed)
    stops = Stops(rng.integers(1, 41, 5), rng.random(5) < 0.5)
    values, names = likelihood_features(dataclasses.replace(tokens, stops=stops), length=length)
    assert np.isfinite(values).all()
    assert names[-2:] == ("log_tokens", "ended")
    assert values[:, -2:].tolist() == length_features(stops, length=length).tolist()
    for i in range(5):
        n = min(int(stops.n_tokens[i]), length)
        parts = {f.name: getattr(tokens, f.name)[i : i + 1] for f in dataclasses.fields(tokens)[:6]}
        alone, names_alone = likelihood_features(TokenColumns(**parts), length=n)
        same = [names.index(name) for name in names_alone if name in names]
        assert values[i, same] == pytest.approx(alone[0][[names_alone.index(names[j]) for j in same]], abs=1e-12)
        assert values[i, -2] == pytest.approx(np.log(n))
        assert values[i, -1] == float(stops.ended[i] and stops.n_tokens[i] <= length)
    assert ("zlib_bytes_per_token" in names) == (length >= 16)


def test_what_stands_beyond_a_text_is_not_read() -> None:
    tokens = columns(2, 4, 30)
    stops = Stops(np.array([3, 30, 11, 20]), np.array([True, False, True, True]))
    beyond = np.arange(30) >= stops.n_tokens[:, None]
    changed = {
        f.name: np.where(beyond, getattr(tokens, f.name)[::-1], getattr(tokens, f.name))
        for f in dataclasses.fields(tokens)[:6]
    }
    first, second = (
        likelihood_features(t, length=24)[0]
        for t in (dataclasses.replace(tokens, stops=stops), TokenColumns(**changed, stops=stops))
    )
    assert first.tolist() == second.tolist()
