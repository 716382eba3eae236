"""Drift on hand-made records and on exact chains: closed forms, coverage, and a gap of either sign."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import freerun
from freerun.findings.drift import drift
from freerun.findings.evidence import Evidence
from freerun.records.store import Records, RunFolder, load_records
from freerun.results.finding import Estimate, Finding, to_json
from freerun.worlds.chain import row_entropy, stationary_law
from freerun.worlds.markov import MarkovWorld, random_chain
from tests.plans import plan_json


def records(
    entropy: dict[str, np.ndarray],
    surprisal: dict[str, np.ndarray],
    *,
    lengths: dict[str, Any] | None = None,
    **plan: Any,
) -> Records:
    """Arms as arrays [documents, continuations, tokens]; `lengths` cuts texts of an arm short (then they ended by themselves)."""
    rows, columns = [], {"entropy_nats": [], "log_prob_nats": [], "position": []}
    for arm, values in entropy.items():
        n, c, full = values.shape
        cut = np.broadcast_to((lengths or {}).get(arm, full), (n, c))
        for d in range(n):
            for j in range(c):
                stop = int(cut[d, j])
                rows.append((arm, f"d{d}", j, "length" if stop == full else "end_of_text", stop))
                columns["entropy_nats"].append(values[d, j, :stop])
                columns["log_prob_nats"].append(-surprisal[arm][d, j, :stop])
                columns["position"].append(np.arange(stop))
    sequences = {
        "arm": np.array([r[0] for r in rows], object),
        "unit": np.array([r[1] for r in rows], object),
        "document_id": np.array([r[1] for r in rows], object),
        "replicate": np.array([r[2] for r in rows]),
        "end_reason": np.array([r[3] for r in rows], object),
    }
    shape = {"tokens": entropy["real"].shape[2], "continuations": entropy["free"].shape[1]}
    plan = plan_json(**{"prefix": 8, **shape, **plan})
    starts = np.concatenate([[0], np.cumsum([r[4] for r in rows])])
    return Records({"plan": plan}, sequences, {k: np.concatenate(v) for k, v in columns.items()}, starts)


def estimate(finding: Finding, name: str) -> Estimate:
    return next(e for e in finding.estimates if e.name == name)


def flat(value: float, n: int = 6, c: int = 1, length: int = 8) -> np.ndarray:
    """Values around `value` that differ between documents."""
    return value + 0.01 * np.arange(n)[:, None, None] + np.zeros((n, c, length))


def test_the_split_by_hand() -> None:
    # second half, by document: own entropies 3 and 4 (two continuations each: 2, 4 and 4, 4), real 2 and 2.5, losses 2.5 and 2.5
    own = np.array([[[9, 9, 2, 2], [9, 9, 4, 4]], [[9, 9, 4, 4], [9, 9, 4, 4]]], float)
    real = np.array([[[9, 9, 2, 2]], [[9, 9, 2, 3]]], float)
    loss = np.array([[[9, 9, 2, 3]], [[9, 9, 1, 4]]], float)
    finding = drift(Evidence(records({"real": real, "free": own}, {"real": loss, "free": own})))
    context, temperature, total = (
        estimate(finding, f"{name}_late_nats") for name in ("entropy_gap", "temperature_gap", "total_gap")
    )
    assert (context.value, temperature.value, total.value) == pytest.approx((1.25, -0.25, 1.0))
    # differences 1 and 1.5: standard error .25, t quantile 12.706 with one degree of freedom
    assert (context.low, context.high) == pytest.approx((1.25 - 0.25 * 12.7062, 1.25 + 0.25 * 12.7062), abs=1e-4)
    assert context.n == 2
    assert estimate(finding, "entropy_gap_control_nats").value == pytest.approx((-2 + 0) / 2)
    swapped = finding.tables[1].rows
    assert [row[0] for row in swapped] == ["real text", "its own text"]
    assert [row[1].value for row in swapped] == pytest.approx([2.25, 3.5])
    assert swapped[0][2].value == pytest.approx(2.5)
    assert "after 10 tokens or more" in finding.tables[1].title


@pytest.mark.parametrize(
    ("own", "said", "status"),
    [
        (3.5, "lies 0.50 nats a token above that on real text (the same in every document)", "bad"),
        (2.5, "lies 0.50 nats a token below that on real text (the same in every document)", "bad"),
        (
            3.0,
            "cannot be told from that on real text (difference 0.00 nats a token, 95% interval −0.05 to +0.05)",
            "neutral",
        ),
    ],
)
def test_the_sentence_reads_in_either_direction(own: float, said: str, status: str) -> None:
    jitter = np.array([0.1, -0.1, 0.05, -0.05, 0.0, 0.0])[:, None, None] * (0.7 if own == 3.0 else 0.0)
    entropy = {"real": flat(3.0), "free": flat(own) + jitter}
    finding = drift(Evidence(records(entropy, {"real": flat(3.1), "free": flat(own)})))
    assert said in finding.sentence
    assert finding.status == status
    assert "-" not in finding.sentence


def test_documents_whose_own_texts_end_early_have_no_second_half() -> None:
    entropy = {"real": flat(3.0), "free": flat(4.0, c=2)}
    # both texts of document 0 end before the half, one of document 1 does
    cut = np.full((6, 2), 8)
    cut[0], cut[1, 0] = 3, 4
    finding = drift(Evidence(records(entropy, entropy, lengths={"free": cut})))
    assert estimate(finding, "entropy_gap_late_nats").n == 5
    assert estimate(finding, "entropy_gap_control_nats").n == 4
    assert any("25.0% of the free continuations ended early" in note for note in finding.notes)
    gone = drift(Evidence(records(entropy, entropy, lengths={"free": np.full((6, 2), 2)})))
    assert (gone.status, estimate(gone, "entropy_gap_late_nats").value) == ("unknown", None)
    assert "Drift is not known" in gone.sentence


def test_impossible_tokens_are_counted_and_never_averaged() -> None:
    loss = flat(3.0)
    loss[2, 0, 6] = np.inf
    finding = drift(Evidence(records({"real": flat(3.0), "free": flat(3.0)}, {"real": loss, "free": flat(3.0)})))
    assert estimate(finding, "total_gap_late_nats").value == pytest.approx(0.0, abs=1e-9)
    assert any("1 real token is impossible" in note for note in finding.notes)
    plain = to_json(finding)
    assert json.loads(json.dumps(plain, allow_nan=False)) == plain


def test_records_without_entropies_say_that_nothing_is_known() -> None:
    nothing = flat(np.nan)
    finding = drift(Evidence(records({"real": nothing, "free": nothing}, {"real": flat(3.0), "free": flat(3.0)})))
    assert finding.status == "unknown"


def sample(chain: MarkovWorld, first: np.ndarray, length: int, rng: np.random.Generator) -> np.ndarray:
    """States before each token and the last: [texts, length + 1]."""
    cumulative = np.cumsum(chain.transitions, axis=1)
    out = [first]
    for _ in range(length):
        u = rng.random(first.size)[:, None]
        out.append(np.minimum((u > cumulative[out[-1]]).sum(axis=1), chain.n_tokens - 1))
    return np.stack(out, axis=1)


def audited(source: MarkovWorld, model: MarkovWorld, n: int, length: int, rng: np.random.Generator) -> Records:
    """What an audit of `model` on texts of `source` records: one real and two free texts after a prefix of one token."""
    entropies = row_entropy(model.transitions)
    first = rng.choice(source.n_tokens, n, p=stationary_law(source.transitions))
    arms = {
        "real": sample(source, first, length, rng)[:, None],
        "free": sample(model, np.repeat(first, 2), length, rng).reshape(n, 2, length + 1),
    }
    entropy = {arm: entropies[states[..., :-1]] for arm, states in arms.items()}
    surprisal = {arm: -np.log(model.transitions[states[..., :-1], states[..., 1:]]) for arm, states in arms.items()}
    return records(entropy, surprisal, prefix=1)


def test_intervals_of_a_perfect_predictor_cover_zero() -> None:
    """300 runs of 24 documents × 32 tokens; all three gaps, the slope and the control are 0. Misses of each are allowed from 1 to
    28 of 300: with a true miss rate of 5% each leaves that with probability .0005; .003 for all five."""
    rng = np.random.default_rng(21)
    chain = random_chain(8)
    names = (
        "entropy_gap_late_nats",
        "temperature_gap_late_nats",
        "total_gap_late_nats",
        "entropy_slope_gap_nats_per_doubling",
        "entropy_gap_control_nats",
    )
    misses = dict.fromkeys(names, 0)
    for _ in range(300):
        finding = drift(Evidence(audited(chain, chain, 24, 32, rng)))
        for name in names:
            found = estimate(finding, name)
            assert found.low is not None
            assert found.high is not None
            misses[name] += not found.low <= 0.0 <= found.high
    assert all(1 <= n <= 28 for n in misses.values()), misses


def test_the_split_of_a_wrong_model_has_its_closed_form() -> None:
    """Late in the window both chains are stationary: E_P H, CE and E_Q H are sums over their stationary laws. 1,500 documents:
    intervals of ±0.02 nats, each of the three misses with probability .05 at the seed fixed before; held to twice the width."""
    source, model = random_chain(6, seed=2), random_chain(6, seed=4)
    p, q = stationary_law(source.transitions), stationary_law(model.transitions)
    entropies = row_entropy(model.transitions)
    loss = -(p[:, None] * source.transitions * np.log(model.transitions)).sum()
    truth = {
        "entropy_gap_late_nats": q @ entropies - p @ entropies,
        "temperature_gap_late_nats": p @ entropies - loss,
        "total_gap_late_nats": q @ entropies - loss,
    }
    finding = drift(Evidence(audited(source, model, 1500, 48, np.random.default_rng(5))))
    for name, value in truth.items():
        found = estimate(finding, name)
        assert found.value is not None
        assert found.high is not None
        assert found.value == pytest.approx(value, abs=2 * (found.high - found.value))
        assert abs(value) > 0.1  # there is something to find


def test_a_real_audit_says_what_its_records_say(tmp_path: Path) -> None:
    """One number computed a second way, from the parts of a run on disk."""
    run = freerun.audit(
        random_chain(8), random_chain(8).corpus(24, 41, seed=3), out=tmp_path / "r", tokens=32, prefix=8
    )
    held = load_records(RunFolder(Path(run.path)))
    apart = []
    for document in dict.fromkeys(held.sequences["document_id"]):
        late: dict[str, list[float]] = {"real": [], "free": []}
        for i in np.flatnonzero(held.sequences["document_id"] == document):
            if held.sequences["arm"][i] in late:
                late[held.sequences["arm"][i]] += held.tokens["entropy_nats"][held.rows(i)][16:].tolist()
        apart.append(np.mean(late["free"]) - np.mean(late["real"]))
    found = {e["name"]: e for e in run.findings["drift"]["estimates"]}["entropy_gap_late_nats"]
    assert found["value"] == pytest.approx(np.mean(apart))
    assert found["n"] == 24
    assert [s["name"] for s in run.findings["drift"]["charts"][0]["series"]] == [
        "entropy on real text",
        "loss on real text",
        "entropy on its own text",
    ]


def test_a_law_whose_entropy_never_changes_does_not_drift(tmp_path: Path) -> None:
    """Its rows are one law in other orders, and rounding sums them differently: that is no drift, and no trend."""
    law = np.array([0.4, 0.25, 0.2, 0.1, 0.05])
    world = MarkovWorld(np.stack([np.roll(law, i) for i in range(5)]))
    run = freerun.audit(world, world.corpus(48, 73, seed=1), out=tmp_path / "run", documents=48, prefix=8, tokens=64)
    found = run.findings["drift"]
    gap = next(e for e in found["estimates"] if e["name"] == "entropy_gap_late_nats")
    assert abs(gap["value"]) < 1e-12
    assert found["status"] == "neutral"
    assert "cannot be told from that on real text" in found["sentence"]
    assert any("No trend of own against real entropy is seen" in note for note in found["notes"])
    assert not any("−0.00" in card["value"] for card in run.result["headline"])
