"""What is known of an audit while it goes on: its loss, and bets on whether its own text can be told from real text.

For the one who waits alone: no number of the result, no gate and no exit code depends on it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Float, Int

from freerun.errors import DataError
from freerun.jobs.audit.preparing import Prepared
from freerun.records.columns import numbers
from freerun.records.tables import Finished
from freerun.results.so_far import SoFar
from freerun.stats.detection.likelihood_features import Stops, TokenColumns, likelihood_features
from freerun.stats.detection.watched import WatchedBets
from freerun.stats.intervals import Interval, ratio_of_group_sums

LEAST_SCORED = 8
"""Documents before an interval of the loss is shown."""
_TOKENS = ("sequence", "position", "token_id", "log_prob_nats", "entropy_nats", "varentropy_nats2", "rank")


@dataclass(frozen=True)
class Text:
    """The tokens of one text, as detectors read them."""

    ids: Int[np.ndarray, " tokens"]
    log_prob_nats: Float[np.ndarray, " tokens"]
    entropy_nats: Float[np.ndarray, " tokens"]
    varentropy_nats2: Float[np.ndarray, " tokens"]
    rank: Int[np.ndarray, " tokens"]
    ended: bool

    @property
    def has_whole_laws(self) -> bool:
        known = not (np.isnan(self.entropy_nats).any() or np.isnan(self.varentropy_nats2).any())
        return known and bool((self.rank >= 1).all())


def features_of(
    texts: Sequence[Text], length: int, *, laws: bool, own_lengths: bool
) -> Float[np.ndarray, "texts features"]:
    """What a detector sees of the first `length` tokens of some texts; `laws`: whole ones are known of every token.

    Raises:
        DataError: a law is not whole after all, or a text that has to fill its row does not.
    """
    if laws and not all(t.has_whole_laws for t in texts):
        raise DataError("laws that are whole elsewhere are not whole here")

    def rows(name: str, padding: float = 0.0) -> np.ndarray:
        columns = [getattr(t, name)[:length] for t in texts]
        table = np.full((len(texts), length), padding, columns[0].dtype)
        for row, column in zip(table, columns, strict=True):
            row[: len(column)] = column
        return table

    stops = None
    if own_lengths:
        ended: Bool[np.ndarray, " texts"] = np.array([t.ended for t in texts])
        stops = Stops(np.array([len(t.ids) for t in texts]), ended)
    elif min(len(t.ids) for t in texts) < length:
        raise DataError(f"a text has fewer than {length} tokens")
    tokens = TokenColumns(
        log_prob=rows("log_prob_nats"),
        entropy=rows("entropy_nats") if laws else None,
        varentropy=rows("varentropy_nats2") if laws else None,
        rank=rows("rank", 1) if laws else None,
        ids=rows("ids"),
        stops=stops,
    )
    return likelihood_features(tokens, length=length)[0]


@dataclass
class _Document:
    """Its texts so far by their place: the real one, then its own. `readable`: their ids are those of the model."""

    texts: dict[int, Text] = field(default_factory=dict)
    readable: bool = True


class WhatIsKnown:
    """Hears of every text, and tells what the documents that are whole say.

    Documents are bet on in the order of the plan, never in that in which their texts end: see `WatchedBets`.
    """

    def __init__(self, ready: Prepared, tell: Callable[[SoFar], None]) -> None:
        self._ready, self._tell, self._plan = ready, tell, ready.plan
        self._order = [n for unit in ready.wanted if unit.arm == "real" for n in unit.pairs]
        self._next = 0
        self._documents: dict[int, _Document] = {}
        self._losses: dict[int, tuple[float, int]] = {}
        self._n_impossible = 0
        self._bets: WatchedBets | None = WatchedBets()

    def hear(self, text: Finished) -> None:
        """Take note of a text that has just been scored or written."""
        if text.arm != "tempered":
            seen = text.observation
            columns = seen.log_prob_nats, seen.entropy_nats, seen.varentropy_nats2, seen.rank
            self._add(text.number, Text(seen.token_id, *columns, text.sample.end_reason == "end_of_text"))
            self._tell(self.now())

    def take_over(self, parts: Sequence[str]) -> None:
        """Take note of what parts hold that were recorded before.

        Raises:
            DataError: a damaged part.
        """
        for unit in self._ready.wanted:
            if unit.name in parts and unit.arm != "tempered":
                self._take_over(unit.name)
        if parts:
            self._tell(self.now())

    def now(self) -> SoFar:
        """What is known."""
        bets = self._bets
        betting = bets is not None and bets.n_documents > 0
        return SoFar(
            n_scored=len(self._losses),
            loss_nats_per_token=self._loss(),
            n_impossible=self._n_impossible,
            n_bet=bets.n_documents if bets is not None else 0,
            log_wealth=bets.log_wealth if bets is not None and betting else None,
            best_log_wealth=bets.best_log_wealth if bets is not None else 0.0,
        )

    def _loss(self) -> Interval | None:
        units: dict[str, list[float]] = {}
        for number, (nats, n_tokens) in self._losses.items():
            sums = units.setdefault(self._ready.pairs.pairs[number].unit, [0.0, 0.0])
            sums[0] += nats
            sums[1] += n_tokens
        if len(units) < LEAST_SCORED or self._n_impossible:
            return None
        tops, bottoms = np.array(list(units.values())).T
        return ratio_of_group_sums(tops, bottoms)

    def _add(self, number: int, text: Text, *, readable: bool = True) -> None:
        pair, place = divmod(number, self._plan.stride)
        if place == 0 and pair not in self._losses:
            possible = np.isfinite(text.log_prob_nats)
            self._n_impossible += int((~possible).sum())
            self._losses[pair] = (-float(text.log_prob_nats[possible].sum()), int(possible.sum()))
        document = self._documents.setdefault(pair, _Document())
        document.texts[place] = text
        document.readable &= readable
        self._bet()

    def _bet(self) -> None:
        """Bet on the documents that come next, as far as all their texts are there."""
        while self._next < len(self._order):
            document = self._documents.get(self._order[self._next])
            if document is None or len(document.texts) < 1 + self._plan.continuations:
                return
            self._next += 1
            texts = [document.texts.pop(place) for place in range(1 + self._plan.continuations)]
            if self._bets is None or not (document.readable and self._compares(texts)):
                continue
            try:
                laws, free_length = self._ready.predictor.capabilities.full_law, self._ready.pairs.free_length
                features = features_of(texts, self._plan.continuation_tokens, laws=laws, own_lengths=free_length)
                self._bets.add(features[0], features[1:])
            except (DataError, ValueError, ArithmeticError):  # a run does not stop for what is only watched
                self._bets = None

    def _compares(self, texts: Sequence[Text]) -> bool:
        """Whether real and own text can change places: all reach the last token, or all are of their own length."""
        lengths = [len(t.ids) for t in texts]
        if self._ready.pairs.free_length:
            return min(lengths) > 0
        full = self._plan.continuation_tokens
        return all(n == full and not t.ended for n, t in zip(lengths, texts, strict=True))

    def _take_over(self, name: str) -> None:
        folder = self._ready.folder
        ends = folder.part("sequences", name, ("sequence", "end_reason"))
        ended = dict(zip(ends["sequence"].to_pylist(), ends["end_reason"].to_pylist(), strict=True))
        table = folder.part("tokens", name, _TOKENS)
        order = np.lexsort((table["position"].to_numpy(), table["sequence"].to_numpy()))
        fill = {"log_prob_nats": -np.inf, "rank": -1}
        columns = {c: numbers(table[c].combine_chunks(), fill.get(c, np.nan))[order] for c in _TOKENS}
        for number, reason in ended.items():
            rows = slice(*np.searchsorted(columns["sequence"], [number, number + 1]).tolist())
            ids, log_prob, entropy, varentropy, rank = (columns[c][rows] for c in _TOKENS[2:])
            text = Text(ids, log_prob, entropy, varentropy, rank, reason == "end_of_text")
            # ids that were redacted are not those of a text that is written now
            self._add(int(number), text, readable=not self._ready.options.redact_text)
