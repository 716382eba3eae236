"""Is every law the one of a fresh pass? Tried when a model is loaded, on a few hundred tokens, before anything is believed.

Transformers' models differ in what they keep of what they have read: keys, recurrent states, nothing at all; in how they count
positions, mask padding and switch rotary frequencies. None of it is taken on trust. The law after a context is, by definition,
what one pass over that context alone says: one row, nothing kept, nothing after it. Every way in which this package reads a model
(whole, in pieces, token by token, after rows were taken, repeated or joined) must give that law, or a slower way is taken.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from jaxtyping import Float

from freerun.errors import BackendError, DataError
from freerun.files import write_atomically
from freerun.predictors.base import Ids
from freerun.predictors.huggingface.predictor import HuggingFacePredictor
from freerun.predictors.huggingface.reading import LADDER, Reading
from freerun.predictors.huggingface.states import HFState
from freerun.predictors.kernels.attention import gather_queries, leave_queries

VERSION = 1
"""Of what is tried. Raise it when something more is, and all models are tried again."""
LARGEST_GAP_NATS = 1e-3
"""Largest difference of log-probability in float32, over ids with a probability of at least `SEEN`."""
LARGEST_TV_FP32 = 1e-3
LARGEST_MEAN_TV_BF16 = 0.06
"""In bf16 two ways of computing one law differ by rounding: by 0.01 to 0.03 in total variation, while states that do not fit give
0.2 and more."""
_LARGEST_TV_OF_A_FUNCTION = 1e-2
"""Between two passes of one shape over the same text; more is not rounding."""
SEEN = 1e-4
MOST_TOKENS = 256
"""A rotary switch later than this is not crossed: it is known from the config, and crossing it would cost too much."""
_STEPS = 4
_PIECE_TOKENS = 15
_SMALL = 20_000_000
"""A model of fewer parameters is tried on longer texts, for it costs nothing: ties and roundings that are rare show there."""


@dataclass(frozen=True)
class Trial:
    """What was found out about a model: how it may be read, whether its output layer may be asked by itself, whether fresh
    passes say nothing of caches, whether its hidden states are those that logits are made from."""

    reading: Reading
    split: bool
    unasked: bool
    shows_hidden: bool
    grouped: bool


@torch.inference_mode()
def settle(predictor: HuggingFacePredictor, *, known_as: str | None = None) -> Trial:
    """Try how a model may be read, and read it so from here on. `known_as`: a hash of its weights and tokenizer, under which
    the answer is kept in the cache.

    Raises:
        BackendError: two passes over one text differ, a law looks at what comes after it, or no way of reading gives the laws of
            fresh passes.
    """
    place = _place(predictor, known_as)
    trial = _remembered(place)
    if trial is None:
        trial = _tried(predictor)
        _remember(place, trial)
    _apply(predictor, trial)
    return trial


def _apply(predictor: HuggingFacePredictor, trial: Trial) -> None:
    predictor.reading, predictor.passes.split = trial.reading, trial.split
    predictor.passes.unasked = trial.unasked
    if trial.grouped:
        gather_queries(predictor.model)
    if not trial.shows_hidden:
        predictor.show_no_hidden_states()


# ---- the trial ---------------------------------------------------------------------------------------------------------


def _tried(predictor: HuggingFacePredictor) -> Trial:
    truth = Truth(predictor)
    rows = _texts(predictor)
    _check_function(predictor, truth, rows[0])
    predictor.passes.unasked = not _same_unkept(predictor, rows[0])
    split = _can_split(predictor, rows[0])
    why: list[str] = []
    ladder = [r for r in LADDER if predictor.passes.can_keep or not r.keeps]
    for reading in ladder:
        for parted in (True, False) if split else (False,):
            predictor.reading, predictor.passes.split = reading, parted
            if (gap := _scores_apart(predictor, truth, rows)) is None:
                break
        else:
            why.append(f"scored: {gap}")
            continue
        if (gap := _steps_apart(predictor, truth, rows)) is None:
            grouped = _can_group(predictor, truth, rows)
            return Trial(reading, parted, predictor.passes.unasked, predictor.passes.listens, grouped)
        why.append(gap)
    raise BackendError(
        f"{predictor.identity.name}: no way of reading this model gives the laws of fresh passes over the same text (the last one "
        f"tried: {why[-1]}), so nothing that is measured on it could be trusted"
    )


class Truth:
    """Laws by definition: a fresh pass over a context alone."""

    def __init__(self, predictor: HuggingFacePredictor) -> None:
        self.predictor = predictor
        self._known: dict[bytes, torch.Tensor] = {}

    def law(self, ids: Ids) -> torch.Tensor:
        """Log-probabilities after a text, float64, [vocabulary]."""
        key = np.asarray(ids, np.int64).tobytes()
        if key not in self._known:
            said = self.predictor.passes.plain_logits(self._seen(ids)[None])[0, -1]
            self._known[key] = _log_law(said)
        return self._known[key]

    def _seen(self, ids: Ids) -> Ids:
        rule = self.predictor.context
        lead = np.array(rule.lead, np.int64)
        return np.concatenate([lead, np.asarray(ids, np.int64)[rule.first_seen(len(ids)) :]])

    def apart(self, cases: Sequence[tuple[Ids, torch.Tensor]]) -> str | None:
        """How far logits are from the laws after their texts, in words; None where only rounding parts them."""
        gaps, tvs = [], []
        for ids, said in cases:
            wanted, got = self.law(ids), _log_law(said)
            if got.shape != wanted.shape or not bool((got.isfinite() | (got == -torch.inf)).all()):
                return f"no law after {len(ids)} tokens"
            tvs.append(0.5 * float((got.exp() - wanted.exp()).abs().sum()))
            mattering = (wanted >= np.log(SEEN)) | (got >= np.log(SEEN))
            # in a law as flat as that of an untrained model no token matters by itself; the total variation then says it all
            gaps.append(float((got - wanted)[mattering].abs().max()) if bool(mattering.any()) else 0.0)
        if cases[0][1].dtype == torch.float32:
            if max(gaps) <= LARGEST_GAP_NATS and max(tvs) <= LARGEST_TV_FP32:
                return None
        elif float(np.mean(tvs)) <= LARGEST_MEAN_TV_BF16:
            return None
        return f"off by up to {max(gaps):.2g} nats, {max(tvs):.2g} in total variation"


def _log_law(logits: torch.Tensor) -> Float[torch.Tensor, " vocabulary"]:
    return torch.log_softmax(logits.double(), dim=-1)


def _texts(predictor: HuggingFacePredictor) -> list[Ids]:
    """Three texts of two lengths, long enough to cross what can be crossed, of ids that a text can hold."""
    config, rule = predictor.model.config, predictor.context
    special = {
        int(v) for n, v in config.to_dict().items() if n.endswith(("token_id", "token_index")) and isinstance(v, int)
    }
    special |= set(getattr(predictor.tokenizer, "all_special_ids", ()))
    usual = np.array([i for i in range(predictor.n_tokens) if i not in special] or list(range(predictor.n_tokens)))
    crossings = [s.at - len(rule.lead) for s in predictor.passes.switches]
    near = [c for c in crossings if 2 < c <= MOST_TOKENS and (rule.window is None or c < rule.window)]
    middle = near[0] - 1 if near else 37 if _is_small(predictor) else 17
    if rule.window is not None and not near:
        middle = max(1, min(middle, rule.window - 1))
    lengths = (middle, max(1, middle // 2), middle)
    rng = np.random.default_rng(20261127)
    texts = [rng.choice(usual, n + _STEPS + 1).astype(np.int64) for n in lengths]
    for name, at in (("pad_token_id", 1), ("eos_token_id", 2), ("pad_token_id", -2)):  # own text may hold them
        value = getattr(config, name, None)
        if isinstance(value, int) and 0 <= value < predictor.n_tokens and len(texts[0]) > 4:
            texts[0][at] = value
    return texts


def _is_small(predictor: HuggingFacePredictor) -> bool:
    return bool(sum(p.numel() for p in predictor.model.parameters()) < _SMALL)


def _check_function(predictor: HuggingFacePredictor, truth: Truth, ids: Ids) -> None:
    """The law is a function of the text before it: the same twice, and the same whatever comes after."""
    name = predictor.identity.name
    seen = truth._seen(ids[: min(len(ids), (predictor.context.window or len(ids)))])
    first, again = (predictor.passes.plain_logits(seen[None])[0] for _ in range(2))
    if not bool(first.isfinite().any()):
        raise BackendError(
            f"{name}: every logit of a first pass is NaN or infinite: the checkpoint or its number format is broken"
        )
    if float(_tv(first, again).max()) > _LARGEST_TV_OF_A_FUNCTION:
        raise BackendError(
            f"{name} draws lots: two passes over the same text give different laws, so it has no law to audit"
        )
    switches = predictor.passes.switches
    changed = (seen[-1] + 1) % predictor.n_tokens
    rows = np.stack([seen, np.append(seen[:-1], changed)])
    pair = predictor.passes.plain_logits(rows)
    after = float(_tv(pair[0, :-1], pair[1, :-1]).max()) > _LARGEST_TV_OF_A_FUNCTION if len(seen) > 1 else False
    shorter: list[float] = []
    if not any(len(seen) > s.at for s in switches):  # else a longer pass turns the same tokens otherwise
        for n in sorted({1, 2, len(seen) // 3, len(seen) // 2, len(seen) - 1} - {0}):
            shorter.append(float(_tv(first[n - 1], predictor.passes.plain_logits(seen[None, :n])[0, -1])))
    if first.dtype == torch.float32:
        after = after or max(shorter, default=0.0) > _LARGEST_TV_OF_A_FUNCTION
    else:  # passes of other lengths round otherwise
        after = after or float(np.mean(shorter or [0.0])) > LARGEST_MEAN_TV_BF16
    if after:
        raise BackendError(f"{name} is not a causal model: its laws look at the tokens after them")


def _tv(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """Total variation of laws from their logits, [...]."""
    return 0.5 * (_log_law(one).exp() - _log_law(other).exp()).abs().sum(-1)


def _same_unkept(predictor: HuggingFacePredictor, ids: Ids) -> bool:
    """Whether a pass that keeps nothing says what the plainest one does."""
    table = ids[None, : min(len(ids), predictor.context.window or len(ids))]
    plain, unkept = predictor.passes.plain_logits(table), predictor.passes.logits(table)
    return bool((plain.float() - unkept.float()).abs().max() <= 1e-3 * plain.float().abs().max())


def _can_split(predictor: HuggingFacePredictor, ids: Ids) -> bool:
    """Whether the body gives hidden states whose answer by the output layer are the logits; says so of hidden states too."""
    passes = predictor.passes
    table = ids[None, : min(len(ids), predictor.context.window or len(ids))]
    wanted = passes.logits(table)
    heard = passes.heard()
    if heard is None or heard.shape[:2] != table.shape:  # a head that is not called as a module
        passes.listens = False
        return False
    try:
        hidden = passes.body(table)
        got = passes.answer(hidden)
    except (AttributeError, TypeError, RuntimeError, ValueError):  # a body with other arguments
        return False
    finally:
        passes.heard()
    return got.shape == wanted.shape and bool(
        (got.float() - wanted.float()).abs().max() <= 1e-4 * wanted.float().abs().max()
    )


def _can_group(predictor: HuggingFacePredictor, truth: Truth, rows: Sequence[Ids]) -> bool:
    """Whether attention with gathered query heads gives the same laws; `truth` knows them from before."""
    if not gather_queries(predictor.model):
        return False
    same = _scores_apart(predictor, truth, rows) is None and _steps_apart(predictor, truth, rows) is None
    if not same:
        leave_queries(predictor.model)
    return same


def _apart(
    predictor: HuggingFacePredictor, truth: Truth, cases: Callable[[], list[tuple[Ids, torch.Tensor]]]
) -> str | None:
    """How far laws that are read in some way are from those of fresh passes, or why they cannot be read so."""
    usual = predictor.sizes
    try:
        return truth.apart(cases())
    except BackendError:
        raise
    except Exception as error:  # a model may fail in its own way at anything that it was not written for
        return f"{type(error).__name__}: {error}"
    finally:
        predictor.sizes = usual


def _scores_apart(predictor: HuggingFacePredictor, truth: Truth, rows: Sequence[Ids]) -> str | None:
    """Texts read whole and in pieces, with ragged ends, from the first token that has a law on and from later."""
    every = 2 if _is_small(predictor) else 5

    def scored() -> list[tuple[Ids, torch.Tensor]]:
        cases = []
        for first, tokens in ((1, predictor.sizes.body_tokens), (3, _PIECE_TOKENS)):
            predictor.sizes = replace(predictor.sizes, body_tokens=tokens)
            texts = [*rows, rows[0][: len(rows[0]) - 1]]
            for r, t, _, logits, _ in predictor._read_all(texts, first):
                cases += [
                    (texts[i][:at], one)
                    for i, at, one in zip(r, t, logits, strict=True)
                    if at in (first, len(texts[i]) - 1) or (at + i) % every == 0
                ]
        return cases

    return _apart(predictor, truth, scored)


def _steps_apart(predictor: HuggingFacePredictor, truth: Truth, rows: Sequence[Ids]) -> str | None:
    """Token by token, after rows were taken, repeated and joined, and in pieces."""

    def walked() -> list[tuple[Ids, torch.Tensor]]:
        cases = [x for state in _walk(predictor, rows) for x in zip(state.ids, _logits(state), strict=True)]
        predictor.sizes = replace(predictor.sizes, body_tokens=_PIECE_TOKENS)
        pieces = predictor.start([r[: len(r) - 1] for r in rows])
        return [*cases, *zip(pieces.ids, _logits(pieces), strict=True)]

    return _apart(predictor, truth, walked)


def _walk(predictor: HuggingFacePredictor, rows: Sequence[Ids]) -> Iterator[HFState]:
    """States on the way through everything that can be done with one."""
    at = [len(r) - _STEPS - 1 for r in rows]
    next_ids = [np.array([r[n + i] for r, n in zip(rows, at, strict=True)]) for i in range(_STEPS)]
    state = predictor.start([r[:n] for r, n in zip(rows, at, strict=True)])
    yield state
    state = predictor.advance(state, next_ids[0])
    yield state
    other = predictor.select(state, np.arange(state.n_rows))
    one, two = predictor.advance(state, next_ids[1]), predictor.advance(other, next_ids[2])
    yield one
    yield two
    yield predictor.advance(state, next_ids[3])  # a state that another one went on from
    taken = predictor.select(two, np.array([2, 0, 0]))
    yield taken
    taken = predictor.advance(taken, next_ids[3])
    yield taken
    pair = predictor.repeat(predictor.start([rows[1][: at[1]]]), 2, 1)
    joined = predictor.join([taken, predictor.advance(pair, next_ids[1][:2])])
    yield joined
    for i in range(12 if _is_small(predictor) else 2):
        joined = predictor.advance(joined, np.resize(np.roll(next_ids[i % _STEPS], i), joined.n_rows))
        yield joined


def _logits(state: HFState) -> torch.Tensor:
    """A copy: the next pass may write where they lie."""
    return state.in_order([b.logits for b in state.blocks]).clone()


# ---- answers that are kept ---------------------------------------------------------------------------------------------


def _place(predictor: HuggingFacePredictor, known_as: str | None) -> Path | None:
    from freerun.predictors.weights.catalogue import cache_folder

    if known_as is None:
        return None
    config = predictor.model.config
    told = [
        VERSION,
        known_as,
        torch.__version__,
        transformers.__version__,
        str(predictor.passes.device.type),
        str(getattr(config, "_attn_implementation", "")),
        list(predictor.context.lead),
        predictor.context.window,
        os.environ.get("FREERUN_PLAIN", ""),
    ]
    return cache_folder() / "readings" / f"{hashlib.sha256(json.dumps(told).encode()).hexdigest()[:24]}.json"


def _remembered(place: Path | None) -> Trial | None:
    try:
        kept: dict[str, Any] = json.loads(place.read_text()) if place is not None else {}
        flags = {name: bool(kept[name]) for name in ("split", "unasked", "shows_hidden", "grouped")}
        return Trial(Reading(**kept["reading"]), **flags)
    except (OSError, ValueError, KeyError, TypeError):  # not there, or not ours: tried again
        return None


def _remember(place: Path | None, trial: Trial) -> None:
    if place is not None:
        with suppress(DataError):  # a cache that cannot be written to costs the trial again, nothing else
            write_atomically(place, json.dumps(asdict(trial)))
