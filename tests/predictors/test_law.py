"""One contract over every kind of law: brute force in plain NumPy is what each must agree with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from freerun.errors import BackendError, UsageError
from freerun.predictors import law as law_module
from freerun.predictors import observation as observation_module
from freerun.predictors.law import Dense, Law
from freerun.predictors.observation import BIN_WIDTH_NATS, N_BINS, POWERS, Observation, bin_of
from tests.laws import from_probs

ROWS, IDS = 7, 19
LAST_UNIFORM = 1 - 2.0**-53


# ---- the same things, spelled out -------------------------------------------------------------------------------------


def softmax(logits: np.ndarray) -> np.ndarray:
    weights = np.exp(np.asarray(logits, np.float64) - np.max(logits, axis=1, keepdims=True))
    return weights / weights.sum(1, keepdims=True)


def powered(table: np.ndarray, exponent: float) -> np.ndarray:
    return table**exponent / (table**exponent).sum(1, keepdims=True)


def one_hot(ids: np.ndarray) -> np.ndarray:
    return np.eye(IDS)[ids]


def kept(table: np.ndarray, top_k: int | None, top_p: float | None) -> np.ndarray:
    out = np.zeros_like(table)
    for row, probs in enumerate(table):
        so_far = 0.0
        for n, i in enumerate(sorted(range(len(probs)), key=lambda i: (-probs[i], i))):
            if (top_k is not None and n >= top_k) or (top_p is not None and so_far >= top_p):
                break
            out[row, i] = probs[i]
            so_far += probs[i]
    return out / out.sum(1, keepdims=True)


def with_atom(table: np.ndarray, mass: np.ndarray) -> np.ndarray:
    return np.concatenate([table * (1 - mass[:, None]), mass[:, None]], axis=1)


A = np.random.default_rng(1).normal(size=(ROWS, IDS)) * 3
B = np.random.default_rng(2).normal(size=(ROWS, IDS))
HOLED = np.where(np.random.default_rng(3).random((ROWS, IDS)) < 0.4, -np.inf, A)
HOLED[:, 0], HOLED[:, -1] = -np.inf, -np.inf
WEIGHT = np.linspace(0, 1, ROWS)
MASS = np.linspace(0, 1, ROWS)
TENTH = np.full(ROWS, 0.1)
PICKED = np.array([3, 0, 0, 6, 2])
TIED = np.random.default_rng(4).integers(0, 3, size=(ROWS, IDS)).astype(float)
FLOAT32 = A.astype(np.float32)

PA, PB, PH, PT, P32 = (softmax(x) for x in (A, B, HOLED, TIED, FLOAT32.astype(np.float64)))


def tensor(x: np.ndarray) -> torch.Tensor:
    return torch.as_tensor(x)


LAWS: dict[str, Callable[[], tuple[Law, np.ndarray]]] = {
    "dense": lambda: (Dense(A), PA),
    "dense with impossible ids": lambda: (Dense(HOLED), PH),
    "dense with ties": lambda: (Dense(TIED), PT),
    "dense float32": lambda: (Dense(FLOAT32), P32),
    "dense torch": lambda: (Dense(tensor(A)), PA),
    "dense torch float32": lambda: (Dense(tensor(FLOAT32)), P32),
    "dense torch with impossible ids": lambda: (Dense(tensor(HOLED)), PH),
    "from probabilities": lambda: (from_probs(PH), PH),
    "mixed": lambda: (Dense(A).mixed(WEIGHT, Dense(B)), (1 - WEIGHT[:, None]) * PA + WEIGHT[:, None] * PB),
    "mixed with one weight": lambda: (Dense(HOLED).mixed(0.25, Dense(B)), 0.75 * PH + 0.25 * PB),
    "mixed, torch and numpy": lambda: (Dense(tensor(A)).mixed(TENTH, Dense(HOLED)), 0.9 * PA + 0.1 * PH),
    "mixed, numpy and torch": lambda: (Dense(HOLED).mixed(TENTH, Dense(tensor(A))), 0.9 * PH + 0.1 * PA),
    "tempered": lambda: (Dense(A).tempered(0.7), powered(PA, 1 / 0.7)),
    "tempered, hot, impossible ids": lambda: (Dense(HOLED).tempered(2.5), powered(PH, 1 / 2.5)),
    "greedy": lambda: (Dense(A).tempered(0), one_hot(PA.argmax(1))),
    "greedy with ties": lambda: (Dense(TIED).tempered(0), one_hot(PT.argmax(1))),
    "greedy torch with ties": lambda: (Dense(tensor(TIED)).tempered(0), one_hot(PT.argmax(1))),
    "top-k": lambda: (Dense(A).restricted(top_k=4), kept(PA, 4, None)),
    "top-k with ties": lambda: (Dense(TIED).restricted(top_k=3), kept(PT, 3, None)),
    "top-k beyond the vocabulary": lambda: (Dense(HOLED).restricted(top_k=99), PH),
    "top-p": lambda: (Dense(A).restricted(top_p=0.8), kept(PA, None, 0.8)),
    "top-k and top-p, torch": lambda: (Dense(tensor(A)).restricted(top_k=5, top_p=0.9), kept(PA, 5, 0.9)),
    "with an atom": lambda: (Dense(A).with_atom(MASS), with_atom(PA, MASS)),
    "with an atom, torch": lambda: (Dense(tensor(HOLED)).with_atom(TENTH), with_atom(PH, TENTH)),
    "taken": lambda: (Dense(A).take(PICKED), PA[PICKED]),
    "taken, torch": lambda: (Dense(tensor(HOLED)).take(PICKED), PH[PICKED]),
    "tempered, then top-k, then top-p": lambda: (
        Dense(A).tempered(0.7).restricted(top_k=6, top_p=0.9),
        kept(powered(PA, 1 / 0.7), 6, 0.9),
    ),
    "mixture of a mixture": lambda: (
        Dense(A).mixed(WEIGHT, Dense(tensor(B))).mixed(TENTH, Dense(HOLED)),
        0.9 * ((1 - WEIGHT[:, None]) * PA + WEIGHT[:, None] * PB) + 0.1 * PH,
    ),
    "atom on a mixture, rows taken, heated": lambda: (
        Dense(A).mixed(WEIGHT, Dense(B)).with_atom(0.3).take(PICKED).tempered(1.5),
        powered(with_atom((1 - WEIGHT[:, None]) * PA + WEIGHT[:, None] * PB, np.full(ROWS, 0.3))[PICKED], 1 / 1.5),
    ),
}


@pytest.fixture(params=LAWS)
def made(request: pytest.FixtureRequest) -> tuple[Law, np.ndarray]:
    return LAWS[request.param]()


def log(table: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore"):
        return np.log(table)


def by_hand(table: np.ndarray, ids: np.ndarray, watched: np.ndarray | None = None) -> Observation:
    """Every statistic, one row at a time."""
    columns: dict[str, list] = {f.name: [] for f in fields(Observation)}
    for row, (p, i) in enumerate(zip(table, ids, strict=True)):
        support = p[p > 0]
        entropy = -(support * np.log(support)).sum()
        bins = np.zeros(N_BINS)
        for mass in support:
            bins[min(int(-np.log(mass) / BIN_WIDTH_NATS), N_BINS - 1)] += mass
        columns["token_id"].append(i)
        columns["log_prob_nats"].append(log(p)[i])
        columns["entropy_nats"].append(entropy)
        columns["varentropy_nats2"].append((support * (np.log(support) + entropy) ** 2).sum())
        columns["rank"].append(1 + len([q for q in p if q > p[i]]))
        columns["top_id"].append(p.tolist().index(max(p)))
        columns["top_log_prob_nats"].append(np.log(max(p)))
        columns["cdf_below"].append(p[:i].sum())
        columns["mass_above"].append(sum(p[j] for j in range(len(p)) if (-p[j], j) < (-p[i], i)))
        columns["log_power_sum"].append([np.log((support ** (1 - power)).sum()) for power in POWERS])
        columns["loop_mass"].append(0.0 if watched is None else sum(p[j] for j in watched[row] if j >= 0))
        columns["expected_counts"].append(bins)
    return Observation(**{name: np.array(values) for name, values in columns.items()})


def assert_same(seen: Observation, wanted: Observation, *, atol: float = 1e-12, but: tuple[str, ...] = ()) -> None:
    for f in fields(Observation):
        if f.name in but:
            continue
        np.testing.assert_allclose(
            getattr(seen, f.name), getattr(wanted, f.name), rtol=atol, atol=atol, err_msg=f.name, strict=False
        )


# ---- the contract ----------------------------------------------------------------------------------------------------


def test_masses_sum_to_one(made: tuple[Law, np.ndarray]) -> None:
    law, table = made
    assert (law.n_rows, law.n_tokens) == table.shape
    np.testing.assert_allclose(law.probs().sum(1), 1, atol=1e-12)
    np.testing.assert_allclose(law.probs(), table, atol=1e-12)
    np.testing.assert_allclose(law.log_probs(), log(table), rtol=1e-12, atol=1e-12)


def test_what_is_observed_is_what_the_table_says(made: tuple[Law, np.ndarray]) -> None:
    law, table = made
    rng = np.random.default_rng(5)
    for _ in range(4):
        ids = rng.integers(0, law.n_tokens, law.n_rows)
        watched = np.stack([rng.permutation(law.n_tokens)[:3] for _ in range(law.n_rows)])
        watched[::2, 1] = -1
        # ranks and ties of a table that was computed in another order differ in the last bit: use the law's own table for those
        wanted = by_hand(law.probs(), ids, watched)
        assert_same(law.observe(ids, watched=watched), wanted)
        assert_same(law.observe(ids, watched=watched), by_hand(table, ids, watched), but=("rank", "top_id"))


def test_conveniences_say_what_observe_says(made: tuple[Law, np.ndarray]) -> None:
    law, _ = made
    ids = np.arange(law.n_rows) % law.n_tokens
    seen = law.observe(ids)
    np.testing.assert_array_equal(law.log_prob(ids), seen.log_prob_nats)
    np.testing.assert_array_equal(law.entropy(), seen.entropy_nats)
    np.testing.assert_allclose(law.mass([2, 5, 5, 0]), law.probs()[:, [0, 2, 5]].sum(1), atol=1e-12)
    best, values = law.top(4)
    for row in range(law.n_rows):
        np.testing.assert_allclose(values[row], np.sort(law.log_probs()[row])[::-1][:4])
        np.testing.assert_array_equal(law.log_probs()[row, best[row]], values[row])
    assert law.top(1000)[0].shape == (law.n_rows, law.n_tokens)
    np.testing.assert_array_equal(seen.observed_bin, bin_of(seen.log_prob_nats))


def test_the_sampler_inverts_the_cumulative_sum(made: tuple[Law, np.ndarray]) -> None:
    law, _ = made
    rng = np.random.default_rng(6)
    for _ in range(20):
        u = rng.random(law.n_rows)
        wanted = []
        for p, x in zip(law.probs(), u, strict=True):
            n, so_far, total = 0, 0.0, sum(p.tolist())
            for mass in p.tolist():
                so_far += mass
                if so_far > x * total:
                    break
                n += 1
            wanted.append(n)
        seen = law.observe(uniforms=u)
        assert seen.token_id.tolist() == wanted
        assert_same(seen, law.observe(np.array(wanted)), atol=0)
        lies = seen.cdf_below + np.exp(seen.log_prob_nats)
        assert ((seen.cdf_below <= u + 1e-12) & (u <= lies + 1e-12)).all()


def test_evenly_spaced_uniforms_draw_each_id_as_often_as_its_mass(made: tuple[Law, np.ndarray]) -> None:
    law, table = made
    n = 101
    counts = np.zeros(table.shape)
    for u in (np.arange(n) + 0.5) / n:
        counts[np.arange(law.n_rows), law.sample(np.full(law.n_rows, u))] += 1
    assert np.abs(counts - n * table).max() <= 1 + 1e-6


def test_no_impossible_id_is_ever_drawn(made: tuple[Law, np.ndarray]) -> None:
    law, _ = made
    probs = law.probs()
    edges = np.clip(np.cumsum(probs, axis=1), 0, LAST_UNIFORM).T
    for u in [np.zeros(law.n_rows), np.full(law.n_rows, 2.0**-53), np.full(law.n_rows, LAST_UNIFORM), *edges]:
        for x in (u, np.nextafter(u, 0), np.minimum(np.nextafter(u, 1), LAST_UNIFORM)):
            ids = law.sample(x)
            assert (probs[np.arange(law.n_rows), ids] > 0).all()
            assert np.isfinite(law.observe(uniforms=x).log_prob_nats).all()


def test_blocks_of_rows_change_nothing(made: tuple[Law, np.ndarray], monkeypatch: pytest.MonkeyPatch) -> None:
    law, _ = made
    ids = np.arange(law.n_rows) % law.n_tokens
    watched = np.tile([1, -1, 4], (law.n_rows, 1))
    u = np.random.default_rng(8).random(law.n_rows)

    def everything() -> list:
        best = law.top(3)
        return [
            law.observe(ids, watched=watched),
            law.observe(uniforms=u),
            [*best, law.mass([1])],
        ]

    whole = everything()
    for elements in (1, 2 * law.n_tokens + 1):
        monkeypatch.setattr(law_module, "_BLOCK_ELEMENTS", elements)
        parts = everything()
        assert_same(parts[0], whole[0])
        assert_same(parts[1], whole[1])
        for a, b in zip(parts[2], whole[2], strict=True):
            np.testing.assert_allclose(a, b, atol=1e-12)


def test_a_law_of_any_law_is_what_it_says(made: tuple[Law, np.ndarray]) -> None:
    law, table = made
    other = Dense(np.random.default_rng(10).normal(size=table.shape))
    np.testing.assert_allclose(law.mixed(0.3, other).probs(), 0.7 * table + 0.3 * other.probs(), atol=1e-12)
    np.testing.assert_allclose(law.mixed(0, other).probs(), table, atol=1e-12)
    np.testing.assert_allclose(law.with_atom(0.2).probs(), with_atom(table, np.full(len(table), 0.2)), atol=1e-12)
    np.testing.assert_allclose(law.tempered(1.3).probs(), powered(table, 1 / 1.3), atol=1e-12)
    assert law.tempered(1) is law
    assert law.restricted() is law
    np.testing.assert_allclose(law.take(np.array([1, 1])).probs(), table[[1, 1]], atol=1e-12)


# ---- what must be refused, and what is not known ---------------------------------------------------------------------


def test_ids_and_uniforms_together() -> None:
    seen = Dense(np.zeros((3, 4))).observe(np.array([2, -1, -1]), np.array([0.0, 0.6, 0.99]))
    assert seen.token_id.tolist() == [2, 2, 3]


@pytest.mark.parametrize("logits", [A, tensor(FLOAT32)])
def test_an_id_outside_the_vocabulary_is_refused(logits: object) -> None:
    ids = np.zeros(ROWS, np.int64)
    ids[3] = -1
    with pytest.raises(UsageError, match="token id -1 is negative"):
        Dense(logits).observe(ids)
    ids[3] = IDS
    with pytest.raises(UsageError, match=f"token id {IDS} lies outside this law's vocabulary of {IDS}"):
        Dense(logits).observe(ids)


def test_observing_nothing_is_refused() -> None:
    with pytest.raises(UsageError, match="needs ids"):
        Dense(A).observe()


@pytest.mark.parametrize("make", [np.asarray, tensor], ids=["numpy", "torch"])
@pytest.mark.parametrize("wrap", [lambda d: d, lambda d: d.tempered(0.5), lambda d: d.mixed(0.5, Dense(B))])
def test_a_broken_checkpoint_is_said_to_be_broken(make: Callable, wrap: Callable[[Law], Law]) -> None:
    logits = A.copy()
    logits[2, 4] = np.nan
    with pytest.raises(BackendError, match="NaN or infinite"):
        wrap(Dense(make(logits))).observe(np.zeros(ROWS, np.int64))


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda d: d.mixed(1.5, Dense(B)), "weights must lie in"),
        (lambda d: d.mixed(np.nan, Dense(B)), "weights must lie in"),
        (lambda d: d.mixed(0.5, Dense(B[:, :-1])), "cannot be mixed"),
        (lambda d: d.mixed(0.5, Dense(B[:-1])), "cannot be mixed"),
        (lambda d: d.with_atom(-0.1), "must lie in"),
        (lambda d: d.tempered(-1), "temperature must be"),
        (lambda d: d.tempered(float("nan")), "temperature must be"),
        (lambda d: d.tempered(float("inf")), "temperature must be"),
        (lambda d: d.restricted(top_k=0), "top_k must be"),
        (lambda d: d.restricted(top_p=0.0), "top_p must lie"),
        (lambda d: d.restricted(top_p=1.1), "top_p must lie"),
    ],
)
def test_values_out_of_range_are_refused(spoil: Callable[[Law], Law], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        spoil(Dense(A))


def test_where_mass_is_missing_no_entropy_is_given() -> None:
    table = np.array([[0.5, 0.2, 0.1], [0.25, 0.25, 0.25]])
    law = from_probs(table)
    np.testing.assert_allclose(law.missing, [0.2, 0.25])
    for some, missing in (
        (law, [0.2, 0.25]),
        (law.take(np.array([1])), [0.25]),
        (law.with_atom(0.5), [0.1, 0.125]),
        (law.mixed(0.5, from_probs(np.full((2, 3), 1 / 3))), [0.1, 0.125]),
    ):
        np.testing.assert_allclose(some.missing, missing)
        seen = some.observe(np.zeros(some.n_rows, np.int64))
        assert np.isnan(seen.entropy_nats).all()
        assert np.isnan(seen.varentropy_nats2).all()
        assert np.isnan(seen.log_power_sum).all()
        np.testing.assert_allclose(some.probs().sum(1), 1 - np.array(missing))
        np.testing.assert_allclose(seen.log_prob_nats, np.log(some.probs()[:, 0]))
    seen = law.observe(np.array([2, 0]))
    assert seen.rank.tolist() == [3, 1]
    np.testing.assert_allclose(seen.cdf_below, [0.7, 0.0])  # a mass, not a share of what is known
    for refused in (lambda: law.sample(np.zeros(2)), lambda: law.tempered(0.5), lambda: law.restricted(top_k=2)):
        with pytest.raises(UsageError, match="missing mass cannot be"):
            refused()


@pytest.mark.parametrize("make", [np.asarray, tensor], ids=["numpy", "torch"])
def test_power_sums_of_a_large_vocabulary_are_good_to_a_millionth(make: Callable) -> None:
    assert observation_module._NARROW_ABOVE == 4096
    rng = np.random.default_rng(11)
    for n, spread in ((4097, 1.0), (4097, 8.0), (50_000, 4.0)):
        logits = rng.normal(size=(2, n)) * spread
        p = softmax(logits)
        seen = Dense(make(logits)).observe(np.zeros(2, np.int64))
        wanted = np.stack([np.log((p ** (1 - power)).sum(1)) for power in POWERS], axis=1)
        np.testing.assert_allclose(seen.log_power_sum, wanted, atol=1e-6)
        assert_same(seen, by_hand(p, np.zeros(2, np.int64)), but=("log_power_sum",), atol=1e-11)


def test_bins_are_half_a_nat_and_the_last_one_is_open() -> None:
    below = np.array([0.0, 0.49, 0.5, 15.9, 16.0, 1e9, np.inf])
    assert bin_of(-below).tolist() == [0, 0, 1, 31, 32, 32, 32]
    law = from_probs(np.array([[1 - 1e-8, 1e-8]]))
    counts = law.observe(np.array([0])).expected_counts[0]
    np.testing.assert_allclose([counts[0], counts[32], counts.sum()], [1 - 1e-8, 1e-8, 1])


# ---- any logits at all -----------------------------------------------------------------------------------------------


@st.composite
def tables(draw: st.DrawFn) -> np.ndarray:
    """Logits with −inf and huge values; each row has at least one finite one."""
    shape = (draw(st.integers(1, 4)), draw(st.integers(1, 9)))
    values = st.one_of(
        st.floats(-30, 30), st.just(-np.inf), st.floats(-1e300, 1e300), st.sampled_from([0.0, -745.0, -708.0, 3.0e38])
    )
    logits = draw(hnp.arrays(np.float64, shape, elements=values))
    for row in logits:
        if not np.isfinite(row).any():
            row[draw(st.integers(0, shape[1] - 1))] = draw(st.floats(-1e300, 1e300))
    return logits


@settings(deadline=None, max_examples=40)
@given(logits=tables(), u=st.floats(0, LAST_UNIFORM), data=st.data())
def test_any_logits(logits: np.ndarray, u: float, data: st.DataObject) -> None:
    rows, n = logits.shape
    other = Dense(np.linspace(-1, 1, rows * n).reshape(rows, n))
    temperature = data.draw(st.sampled_from([0.0, 0.5, 1.0, 3.0]))
    top_k = data.draw(st.one_of(st.none(), st.integers(1, n + 1)))
    weight = np.full(rows, data.draw(st.floats(0, 1)))
    for backend in (np.asarray, torch.as_tensor):
        dense = Dense(backend(logits))
        laws = [
            dense,
            dense.tempered(temperature),
            dense.restricted(top_k=top_k),
            dense.mixed(weight, other),
            dense.with_atom(weight),
        ]
        for some in laws:
            probs = some.probs()
            np.testing.assert_allclose(probs.sum(1), 1, atol=1e-12)
            seen = some.observe(uniforms=np.full(rows, u))
            drawn = seen.token_id
            assert (probs[np.arange(rows), drawn] > 0).all()
            np.testing.assert_array_equal(seen.log_prob_nats, some.log_prob(drawn))
            # a probability near the smallest float has too few digits for its logarithm by hand
            tiny = ("log_prob_nats",) if (probs[np.arange(rows), drawn] < 1e-300).any() else ()
            assert_same(seen, by_hand(probs, drawn), atol=1e-9, but=("rank", "top_id", "expected_counts", *tiny))
            np.testing.assert_allclose(seen.expected_counts.sum(1), 1, atol=1e-12)
            assert ((seen.rank >= 1) & (seen.rank <= some.n_tokens)).all()
            assert (seen.varentropy_nats2 >= 0).all()


@settings(deadline=None, max_examples=50)
@given(logits=hnp.arrays(np.float64, (3, 6), elements=st.integers(-5, 5).map(float)), shift=st.integers(-50, 50))
def test_a_shift_of_the_logits_changes_nothing(logits: np.ndarray, shift: int) -> None:
    np.testing.assert_allclose(Dense(logits + shift).log_probs(), Dense(logits).log_probs(), atol=1e-12)


@settings(deadline=None, max_examples=50)
@given(logits=hnp.arrays(np.float64, (2, 8), elements=st.floats(-40, 40)), u=st.floats(0, LAST_UNIFORM))
def test_numpy_and_torch_agree(logits: np.ndarray, u: float) -> None:
    ours, theirs = (Dense(x).observe(np.array([1, 5])) for x in (logits, torch.as_tensor(logits)))
    assert_same(ours, theirs, but=("rank", "expected_counts"))
