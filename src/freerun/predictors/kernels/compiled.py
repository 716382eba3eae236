# mypy: disable-error-code="no-untyped-def,no-untyped-call,untyped-decorator"
"""The compiled part of `fused`: numba kernels over float32 logits. The only module that imports numba.

With d = (x − max x)·scale and a = e^(d/8) every power that records keep is a product: q ∝ a⁸, q^(5/4) = a⁸·a², q^(9/8) = a⁸·a,
q^(7/8) = a⁴·a²·a, q^(3/4) = a⁴·a², q^(1/2) = a⁴. Sums run in float64, in blocks that fit the first cache.
"""

from typing import Any

import numpy as np
from numba import njit

from freerun.predictors.observation import N_BINS

_BLOCK = 256
_LANES = 4
_LOWEST = -700.0
"""Below e^−700 of the top token a probability counts as nothing in sums and draws; its own log-probability is exact."""
_FREE: Any = {"reassoc", "contract", "nsz"}  # sums in any order; NaN and infinity keep their meaning


@njit(cache=True, nogil=True, fastmath=True)
def _largest(row):
    """Eight running maxima, for a comparison waits on the one before it."""
    m = np.full(8, row[0])
    n = row.size // 8 * 8
    for j in range(0, n, 8):
        for k in range(8):
            m[k] = max(m[k], row[j + k])
    best = m[0]
    for k in range(1, 8):
        best = max(best, m[k])
    for j in range(n, row.size):
        best = max(best, row[j])
    return best


@njit(cache=True, nogil=True, fastmath=_FREE)
def _unequal_to_itself(row):
    n = 0
    for j in range(row.size):
        n += row[j] != row[j]
    return n


@njit(cache=True, nogil=True, fastmath=_FREE)
def _eighth_root(d):
    """e^(d/8) for −700 ≤ d ≤ 0: the series of e^r, r = d/8192, and ten squarings."""
    r = d * (1.0 / 8192.0)
    a = 1.0 + r * (1.0 / 8.0)
    a = 1.0 + r * a * (1.0 / 7.0)
    a = 1.0 + r * a * (1.0 / 6.0)
    a = 1.0 + r * a * (1.0 / 5.0)
    a = 1.0 + r * a * (1.0 / 4.0)
    a = 1.0 + r * a * (1.0 / 3.0)
    a = 1.0 + r * a * (1.0 / 2.0)
    a = 1.0 + r * a
    a = a * a
    a = a * a
    a = a * a
    a = a * a
    a = a * a
    a = a * a
    a = a * a
    a = a * a
    a = a * a
    return a * a


@njit(cache=True, nogil=True, fastmath=_FREE)
def _sums_of_block(row, scale, peak, q, out):
    s0 = 0.0
    s1 = 0.0
    s2 = 0.0
    p0 = 0.0
    p1 = 0.0
    p2 = 0.0
    p3 = 0.0
    p4 = 0.0
    for j in range(row.size):
        d = (np.float64(row[j]) - peak) * scale
        possible = d > _LOWEST
        d = d if possible else _LOWEST
        a = _eighth_root(d)
        a = a if possible else 0.0
        a2 = a * a
        a4 = a2 * a2
        a8 = a4 * a4
        q[j] = a8
        s0 += a8
        s1 += a8 * d
        s2 += a8 * d * d
        p0 += a8 * a2
        p1 += a8 * a
        p2 += a4 * a2 * a
        p3 += a4 * a2
        p4 += a4
    out[0] += s0
    out[1] += s1
    out[2] += s2
    out[3] += p0
    out[4] += p1
    out[5] += p2
    out[6] += p3
    out[7] += p4
    return s0


@njit(cache=True, nogil=True, fastmath=_FREE)
def _mass_of(q):
    total = 0.0
    for j in range(q.size):
        total += q[j]
    return total


@njit(cache=True, nogil=True, fastmath=_FREE)
def _above(row, value):
    n = 0
    for j in range(row.size):
        n += row[j] > value
    return n


@njit(cache=True, nogil=True, fastmath=_FREE)
def _mass_above(row, q, value, token):
    """Mass on ids with larger logits, and on smaller ids with the same."""
    total = 0.0
    for j in range(token):
        total += q[j] * (row[j] >= value)
    for j in range(token, row.size):
        total += q[j] * (row[j] > value)
    return total


@njit(cache=True, nogil=True, fastmath=_FREE)
def _places(row, scale, peak, log_total, place):
    """Calibration bins of a block: half a nat of −ln q each, the last open."""
    for j in range(row.size):
        depth = (log_total - (np.float64(row[j]) - peak) * scale) * 2.0
        depth = depth if depth < N_BINS - 1.0 else N_BINS - 1.0
        place[j] = np.int32(depth)


@njit(cache=True, nogil=True)
def _drawn(q, block_mass, target):
    """The first id whose cumulative mass exceeds the target; the last possible one if rounding leaves none."""
    held = 0.0
    block = 0
    while block < block_mass.size and held + block_mass[block] <= target:
        held += block_mass[block]
        block += 1
    for j in range(block * _BLOCK, q.size):
        held += q[j]
        if held > target:
            return j
    last = q.size - 1
    while last > 0 and q[last] == 0.0:
        last -= 1
    return last


@njit(cache=True, nogil=True)
def sweep(logits, scale, chosen, uniforms, watched, top, rank, numbers, powers, bins):
    n_rows, n_tokens = logits.shape
    n_blocks = (n_tokens + _BLOCK - 1) // _BLOCK
    q = np.empty(n_tokens)
    block_mass = np.empty(n_blocks)
    place = np.empty(_BLOCK, np.int32)
    lanes = np.empty((_LANES, N_BINS))
    sums = np.empty(8)
    for r in range(n_rows):
        row = logits[r]
        peak32 = _largest(row)
        if _unequal_to_itself(row) > 0 or not np.isfinite(peak32):
            return False
        peak = np.float64(peak32)
        at = 0
        while row[at] != peak32:
            at += 1
        top[r] = at
        sums[:] = 0.0
        for b in range(n_blocks):
            i, j = b * _BLOCK, min((b + 1) * _BLOCK, n_tokens)
            block_mass[b] = _sums_of_block(row[i:j], scale, peak, q[i:j], sums)
        total = 0.0
        for b in range(n_blocks):
            total += block_mass[b]
        log_total = np.log(total)

        if chosen[r] < 0:
            chosen[r] = _drawn(q, block_mass, uniforms[r] * total)
        token = chosen[r]
        below = 0.0
        for b in range(token // _BLOCK):
            below += block_mass[b]
        below += _mass_of(q[token // _BLOCK * _BLOCK : token])
        rank[r] = 1 + _above(row, row[token])
        mean = sums[1] / total
        numbers[r, 0] = (np.float64(row[token]) - peak) * scale - log_total
        numbers[r, 1] = log_total - mean
        numbers[r, 2] = max(sums[2] / total - mean * mean, 0.0)
        numbers[r, 3] = -log_total
        numbers[r, 4] = below / total
        loop = 0.0
        for k in range(watched.shape[1]):
            if watched[r, k] >= 0:
                loop += q[watched[r, k]]
        numbers[r, 5] = loop / total
        numbers[r, 6] = total
        numbers[r, 7] = _mass_above(row, q, row[token], token) / total
        powers[r, 0] = np.log(sums[3]) - 1.25 * log_total
        powers[r, 1] = np.log(sums[4]) - 1.125 * log_total
        powers[r, 2] = np.log(sums[5]) - 0.875 * log_total
        powers[r, 3] = np.log(sums[6]) - 0.75 * log_total
        powers[r, 4] = np.log(sums[7]) - 0.5 * log_total

        lanes[:] = 0.0
        for b in range(n_blocks):
            i, j = b * _BLOCK, min((b + 1) * _BLOCK, n_tokens)
            _places(row[i:j], scale, peak, log_total, place)
            k = 0
            while k + 3 < j - i:
                lanes[0, place[k]] += q[i + k]
                lanes[1, place[k + 1]] += q[i + k + 1]
                lanes[2, place[k + 2]] += q[i + k + 2]
                lanes[3, place[k + 3]] += q[i + k + 3]
                k += 4
            while k < j - i:
                lanes[0, place[k]] += q[i + k]
                k += 1
        for b in range(N_BINS):
            bins[r, b] = (lanes[0, b] + lanes[1, b] + lanes[2, b] + lanes[3, b]) / total
    return True


# ---- two laws --------------------------------------------------------------------------------------------------------


@njit(cache=True, nogil=True, fastmath=_FREE)
def _masses_of_block(row, scale, peak, q):
    """Unnormalised probabilities of a block, and their sum."""
    total = 0.0
    for j in range(row.size):
        d = (np.float64(row[j]) - peak) * scale
        possible = d > _LOWEST
        a = _eighth_root(d if possible else _LOWEST)
        a = a * a
        a = a * a
        a = a * a
        a = a if possible else 0.0
        q[j] = a
        total += a
    return total


@njit(cache=True, nogil=True)
def _normalised(row, scale, q):
    """Peak, its place, and logarithm of the sum of a row's unnormalised probabilities, which go to q; place −1: a broken row."""
    peak32 = _largest(row)
    if _unequal_to_itself(row) > 0 or not np.isfinite(peak32):
        return 0.0, -1, 0.0
    at = 0
    while row[at] != peak32:
        at += 1
    total = 0.0
    for i in range(0, row.size, _BLOCK):
        j = min(i + _BLOCK, row.size)
        total += _masses_of_block(row[i:j], scale, np.float64(peak32), q[i:j])
    return np.float64(peak32), at, np.log(total)


@njit(cache=True, nogil=True, fastmath=_FREE)
def _apart(p_row, p_scale, p_least, p, p_inverse, q_row, q_scale, q_least, q, q_inverse, out):
    """Both divergences, twice the total variation, and both means of ln, of a block of ids that both laws have.

    `…_least` is what is taken off scale · logit to give the log-probability.
    """
    forward = 0.0
    backward = 0.0
    apart = 0.0
    mean_p = 0.0
    mean_q = 0.0
    for j in range(p_row.size):
        log_p = np.float64(p_row[j]) * p_scale - p_least
        log_q = np.float64(q_row[j]) * q_scale - q_least
        a = p[j] * p_inverse
        b = q[j] * q_inverse
        ratio = log_p - log_q
        # a mass too small for a double is known by its logarithm: ratio is infinite where one law alone has none
        forward += (np.inf if ratio == np.inf else a * ratio if a > 0.0 else 0.0) - a + b
        backward += (np.inf if ratio == -np.inf else b * -ratio if b > 0.0 else 0.0) - b + a
        apart += abs(a - b)
        mean_p += a * log_p if a > 0.0 else 0.0
        mean_q += b * log_q if b > 0.0 else 0.0
    out[0] += forward
    out[1] += backward
    out[2] += apart
    out[3] += mean_p
    out[4] += mean_q


@njit(cache=True, nogil=True, fastmath=_FREE)
def _mean_log(row, scale, least, q, inverse):
    """Mean of ln over ids that one law alone has."""
    total = 0.0
    for j in range(row.size):
        b = q[j] * inverse
        total += b * (np.float64(row[j]) * scale - least) if b > 0.0 else 0.0
    return total


@njit(cache=True, nogil=True)
def sweep_two(p_logits, p_scale, q_logits, q_scale, chosen, tops, numbers):
    n_rows, n_p = p_logits.shape
    n_q = q_logits.shape[1]
    p, q = np.empty(n_p), np.empty(n_q)
    sums = np.empty(5)
    for r in range(n_rows):
        p_row, q_row = p_logits[r], q_logits[r]
        p_peak, p_top, p_log = _normalised(p_row, p_scale, p)
        q_peak, q_top, q_log = _normalised(q_row, q_scale, q)
        if p_top < 0 or q_top < 0:
            return False
        p_least, q_least = p_peak * p_scale + p_log, q_peak * q_scale + q_log
        p_inverse, q_inverse = np.exp(-p_log), np.exp(-q_log)
        sums[:] = 0.0
        for i in range(0, n_p, _BLOCK):
            j = min(i + _BLOCK, n_p)
            _apart(
                p_row[i:j], p_scale, p_least, p[i:j], p_inverse, q_row[i:j], q_scale, q_least, q[i:j], q_inverse, sums
            )
        added = _mass_of(q[n_p:]) * q_inverse
        token = chosen[r]
        tops[r, 0], tops[r, 1] = p_top, q_top
        numbers[r, 0] = np.float64(p_row[token]) * p_scale - p_least if token < n_p else -np.inf
        numbers[r, 1] = np.float64(q_row[token]) * q_scale - q_least
        numbers[r, 2] = sums[0] + added
        numbers[r, 3] = np.inf if n_q > n_p and _largest(q_row[n_p:]) > -np.inf else sums[1]
        numbers[r, 4] = 0.5 * (sums[2] + added)
        numbers[r, 5] = -sums[3]
        numbers[r, 6] = -sums[4] - _mean_log(q_row[n_p:], q_scale, q_least, q[n_p:], q_inverse)
        numbers[r, 7] = -p_log
        numbers[r, 8] = -q_log
        numbers[r, 9] = added
    return True
