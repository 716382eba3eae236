"""The row of sums that comes back from a device for each law."""

from __future__ import annotations

from freerun.predictors.observation import N_BINS, POWERS

BLOCK = 1024
TOKEN, TOP, RANK, BROKEN, PEAK, DEPTH, TOTAL, FIRST, SECOND = range(9)
BELOW = SECOND + 1 + len(POWERS)
ABOVE, LOOP = BELOW + 1, BELOW + 2
N_SUMS = LOOP + 1 + N_BINS
"""Columns of the table: the token, the most probable one, how many are more probable than the token, whether the row is broken, the
largest logit, the token's scaled logit less that, Σq, Σq·d, Σq·d², power sums, mass below and above the token, mass watched, bins.
Masses are unnormalised."""
