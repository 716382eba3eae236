"""The numbers of self-recognition, and their sums over documents."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np

from freerun.findings.evidence import Evidence
from freerun.records.schema import ArmName
from freerun.results.quantity import Quantity, Sums
from freerun.stats.recognition.self_recognition import self_z

_quantity = partial(Quantity, "self_recognition")
OWN_Z_TOTAL = _quantity("own_z_total", "z of all own text together", "standard normal", own_text=True, exact=True)
OWN_Z = _quantity("own_z_mean", "Mean z, own text", "z", own_text=True)
OWN_Z_SD = _quantity("own_z_sd", "SD of z, own text (1 expected)", "z", own_text=True)
SAMPLER_P = _quantity(
    "sampler_audit_p", "Sampler audit, p", "p-value", gates=("sampler_p", "sampler"), paired=False, exact=True
)
REAL_Z = _quantity("real_z_mean", "Mean z, real text", "z", gates=("real_z",))
CONTROL_Z_TOTAL = _quantity(
    "control_z_total", "z of the control temperature", "standard normal", own_text=True, exact=True
)
SHARE_E = {
    "own": _quantity("own_share_e_20", "Own texts that the model did not write, by e-value", "share", own_text=True),
    "real": _quantity("real_share_e_20", "Real texts that the model did not write, by e-value", "share"),
}
LR = {
    "own": _quantity(
        "lr_own_mean_nats",
        "Log likelihood ratio of own text, model over reference",
        "nats a text",
        own_text=True,
        against_reference=True,
    ),
    "real": _quantity(
        "lr_real_mean_nats",
        "Log likelihood ratio of real text, model over reference",
        "nats a text",
        against_reference=True,
    ),
}
SHARE_LR = {
    "own": _quantity(
        "own_share_lr_05", "Own texts that the model did not write, by likelihood ratio", "share", own_text=True
    ),
    "real": _quantity("real_share_lr_05", "Real texts that the model did not write, by likelihood ratio", "share"),
}
REAL_RANK_P = _quantity(
    "real_rank_p", "Real text among own text of its prefix, p", "p-value", own_text=True, exact=True
)
Z_AUC = _quantity("z_auc", "AUC of z alone", "AUC", own_text=True)
OWN_SCORE_AUC = _quantity("introspective_auc", "AUC of its best own score", "AUC", own_text=True)
RATIO_AUC = _quantity("reference_lr_auc", "AUC of the likelihood ratio", "AUC", own_text=True)
CHECKING_GAP = _quantity("checking_gap_auc", "Likelihood ratio minus own score", "AUC", own_text=True)
_again = partial(_quantity, paired=False, exact=True)
RESCORED = _again("rescored_tokens", "Own tokens scored again", "tokens")
RESCORING_GAPS = {
    "median": _again("rescoring_gap_median_nats", "Fresh pass against sampler, median difference", "nats"),
    "q90": _again("rescoring_gap_q90_nats", "Fresh pass against sampler, 90% quantile", "nats"),
    "q99": _again("rescoring_gap_q99_nats", "Fresh pass against sampler, 99% quantile", "nats"),
    "largest": _again("rescoring_gap_max_nats", "Fresh pass against sampler, largest difference", "nats"),
}
CDF_GAP = _again("rescoring_cdf_gap_max", "Largest difference of the mass on smaller ids", "mass")
OFF_SHARE = _again("rescoring_off_share", "Texts scored again that are off", "share")
OFF_FROM = _again("rescoring_off_from_token", "the first such token after the cut", "tokens")
FLOOR = _again("rescoring_floor_nats", "Floor of this arithmetic", "nats")
SEEDED_MISSES = _again("seeded_miss_share", "Draws outside the cell of a fresh pass", "share", own_text=True)
SEEDED_FLOOR = _again("seeded_miss_share_by_rounding", "as rounding alone would have it", "share", own_text=True)
SMALLEST_SHARE = _again(
    "smallest_foreign_share", "Tokens from elsewhere that the audit would have seen", "share", own_text=True
)
SMALLEST_CUT = _again(
    "smallest_truncation_kept_mass", "Truncation that the audit would have seen, mass kept", "mass", own_text=True
)
SMALLEST_TEMPERATURE = _again(
    "smallest_temperature_gap",
    "Temperature that the audit would have seen, distance from 1",
    "temperature",
    own_text=True,
)
QUANTITIES = (
    OWN_Z_TOTAL,
    OWN_Z,
    OWN_Z_SD,
    SAMPLER_P,
    SEEDED_MISSES,
    SEEDED_FLOOR,
    SMALLEST_SHARE,
    SMALLEST_CUT,
    SMALLEST_TEMPERATURE,
    REAL_Z,
    CONTROL_Z_TOTAL,
    RESCORED,
    *RESCORING_GAPS.values(),
    CDF_GAP,
    OFF_SHARE,
    OFF_FROM,
    FLOOR,
    *SHARE_E.values(),
    *LR.values(),
    *SHARE_LR.values(),
    REAL_RANK_P,
    Z_AUC,
    OWN_SCORE_AUC,
    RATIO_AUC,
    CHECKING_GAP,
)


def recognition_sums(evidence: Evidence) -> Iterator[Sums]:
    """Mean z and likelihood ratios document by document; nothing where laws are not fully known or a ratio is infinite."""
    tokens, sequences = evidence.records.tokens, evidence.records.sequences
    means: dict[ArmName, Quantity] = {"free": OWN_Z, "real": REAL_Z}
    for arm, quantity in means.items():
        rows, mine = evidence.records.chosen(arm=arm), evidence.tokens_of(arm)
        columns = (tokens[c][mine].astype(np.float64) for c in ("log_prob_nats", "entropy_nats", "varentropy_nats2"))
        log_prob, entropy, varentropy = columns
        if np.isnan(entropy).any() or np.isnan(varentropy).any():
            continue
        index = np.searchsorted(rows, evidence.token_sequence[mine])
        z = self_z(log_prob, entropy, varentropy, index, len(rows)).z_per_sequence
        known = np.isfinite(z)
        tops = evidence.sequence_sums(rows, np.where(known, z, 0.0))
        yield Sums(quantity, tops, evidence.sequence_sums(rows, known))
    ratio = tokens["log_prob_nats"] - evidence.reference_log_prob
    for arm, name in (("free", "own"), ("real", "real")):
        rows = evidence.records.chosen(arm=arm)
        rows = rows if arm == "free" else rows[sequences["split"][rows] == "test"]
        mine = np.isin(evidence.token_sequence, rows)
        if np.isfinite(ratio[mine]).all():
            sums = evidence.token_sums(np.where(mine, ratio, 0.0), mine)
            yield Sums(LR[name], sums, evidence.sequence_sums(rows, 1.0))
