"""The numbers of `verify`, each defined once."""

from __future__ import annotations

from functools import partial

from freerun.results.quantity import LEAST_SEQUENCES, Quantity

_match = partial(Quantity, "match", paired=False)
_rollout = partial(Quantity, "rollout_against_trainer", paired=False)
_drift = partial(Quantity, "drift", paired=False)
_ends = partial(Quantity, "ends", paired=False)

MATCH_P = _match("match_p", "All tests together, p", "p-value", exact=True)
SMALLEST_TEMPERATURE = _match("smallest_temperature", "Smallest change of temperature seen", "share", exact=True)
SMALLEST_CUT = _match("smallest_cut", "Mildest truncation seen, mean mass kept", "share", exact=True)
SMALLEST_TOP_SHARE = _match(
    "smallest_top_share", "Smallest share of tokens replaced by the most probable one", "share", exact=True
)
FLOOR = _match("floor_nats", "Noise floor of log-probabilities, root mean square", "nats", exact=True)
SEED_CORRELATION = _match("seed_correlation", "Correlation of draws between completions", "correlation", exact=True)
EXCESS = _match("excess_surprisal_nats", "Mean surprisal minus entropy", "nats")

LOGPROB_GAP = _rollout("mean_abs_gap_nats", "Mean absolute log-prob gap", "nats", gates=("logprob_gap",))
OUTSIDE_BAND = _rollout(
    "outside_band", "Share of ratios outside 0.9 to 1.1", "share", gates=("outside_band",), least=LEAST_SEQUENCES
)
ESS = _rollout("ess_token", "Effective sample size by token", "share", exact=True, gates=("ess",))
"""Kish's, of the tokens in the file: a number that is known exactly, and a gate on it is about this file alone. It has no interval for
other files: in simulations the lower limit of one missed 4% to 11%."""
K1 = _rollout("k1_nats", "KL(engine‖trainer), k1", "nats", gates=("kl_nats",))
K3 = _rollout("k3_nats", "KL(engine‖trainer), k3", "nats")
MEAN_RATIO = _rollout("mean_ratio", "Mean ratio trainer/engine", "ratio")

END_RATE = _ends("ends_over_expected", "Ends of text over those expected", "ratio", events=True)
ENTROPY_SLOPE = _drift(
    "entropy_slope_nats_per_doubling", "Slope of the declared law's entropy in position", "nats per doubling"
)
SURPRISAL_SLOPE = _drift("surprisal_slope_nats_per_doubling", "the same of surprisal", "nats per doubling")

VERIFY_GATES = {name: q for q in (LOGPROB_GAP, OUTSIDE_BAND, ESS, K1) for name in q.gates}
"""What `--fail-on` can name."""
