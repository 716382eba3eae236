"""How far apart are two models, one of which is served? Each writes, both score; only the tokens' own log-probabilities are
needed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from freerun.counted import counted
from freerun.errors import BackendError
from freerun.jobs.distance.measuring import Drawn, Unit, real_texts, row_of, starts, units_left, units_of, write_unit
from freerun.jobs.distance.models import Name
from freerun.jobs.served.requests import Log
from freerun.jobs.served.same_law import SameLaw
from freerun.jobs.served.two_models import TwoModels
from freerun.predictors.base import Continuations, Ids, Predictor
from freerun.predictors.divergence import Divergence
from freerun.predictors.draws import sequence_key
from freerun.predictors.own_text_from import up_to_end
from freerun.records.distance import TextRow
from freerun.runs.progress import Progress

PHASES = {"a": "A writes, B reads", "b": "B writes, A reads", "real": "real text by both"}


def measure_served(ready: TwoModels, tell: Progress) -> None:
    """Make every unit that the folder does not hold yet, or holds damaged.

    Raises:
        BackendError: a model fails, gives NaN, or a server has another law than the run began with; the units before are kept.
        DataError: the folder cannot be written to.
    """
    plan, folder, work = ready.plan, ready.folder, _Work(ready)
    log, same = Log(folder.path, (ready.a, ready.b)), SameLaw(folder.path, (ready.a, ready.b))
    same.check_unchanged()
    every, left = units_of(plan), units_left(plan, folder)
    if not left:
        if same.is_open:  # it was interrupted after the last part
            same.end()
        return
    tell.say(f"{counted(len(ready.pairs), 'text')}, {plan.prefix} + {plan.tokens} tokens -> {folder.path}")
    tell.begin(sum(u.n_tokens for u in every))
    tell.advance(sum(u.n_tokens for u in every) - sum(u.n_tokens for u in left))
    try:
        same.begin()
        for unit in left:
            tell.phase(PHASES[unit.arm])
            write_unit(folder, plan, unit, work.rows(unit), ready.speller)
            log.write()
            tell.advance(unit.n_tokens)
        same.end()
    finally:
        log.write()
        tell.end()


@dataclass(frozen=True)
class _Work:
    """Texts of a unit with both models' log-probabilities: p is A's whoever wrote."""

    ready: TwoModels

    def rows(self, unit: Unit) -> list[TextRow]:
        if unit.arm == "real":
            texts = real_texts(self.ready.pairs[unit.start : unit.stop])
            p, q = self._read("a", texts), self._read("b", texts)
        else:
            writer: Name = "a" if unit.arm == "a" else "b"
            texts, own = self._written(writer, unit)
            other = self._read("b" if writer == "a" else "a", texts)
            p, q = (own, other) if writer == "a" else (other, own)
        out = []
        for text, log_p, log_q in zip(texts, p, q, strict=True):
            seen = Divergence.of_tokens(text.ids, log_p, log_q)
            out.append(row_of(unit.arm, text, seen, np.full(len(text.ids), np.nan)))
        return out

    def _written(self, name: Name, unit: Unit) -> tuple[list[Drawn], list[Float[np.ndarray, " tokens"]]]:
        """Texts up to the first id that ends a text for either model, and the writer's log-probabilities as it drew them."""
        plan, model, block = self.ready.plan, self.ready.model(name), self.ready.pairs[unit.start : unit.stop]
        keys = [sequence_key(p.document_id, "distance", name, 0) for p in block]
        wanted = Continuations(
            [p.prefix.astype(np.int64) for p in block],
            np.array(keys, np.uint64)[:, None],
            plan.tokens,
            seed=plan.seed,
        )
        texts, own = [], []
        for sample in sorted(model.generate(wanted), key=lambda s: s.row):
            cut = up_to_end(sample, plan.end_ids)
            ids, ended = cut.observation.token_id.astype(np.int64), cut.end_reason == "end_of_text"
            texts.append(Drawn(block[cut.row], ids, 0, keys[cut.row], ended))
            own.append(_numbers(model, np.asarray(cut.observation.log_prob_nats, np.float64)))
        return texts, own

    def _read(self, name: Name, texts: list[Drawn]) -> list[Float[np.ndarray, " tokens"]]:
        """What a model says of each text's own tokens, after all that stands before them."""
        model = self.ready.model(name)
        whole = [_checked(model, np.concatenate([t.pair.prefix.astype(np.int64), t.ids])) for t in texts]
        return [_numbers(model, values) for values in model.log_probs_after(whole, starts(texts))]


def _checked(model: Predictor, ids: Ids) -> Ids:
    if len(ids) and int(ids.max()) >= model.n_tokens:
        raise BackendError(
            f"id {int(ids.max())} was drawn, and {model.identity.name} has ids 0 to {model.n_tokens - 1} only: the two are not of "
            "the same model"
        )
    return ids


def _numbers(model: Predictor, log_probs: Float[np.ndarray, " tokens"]) -> Float[np.ndarray, " tokens"]:
    if np.isnan(log_probs).any():
        raise BackendError(f"{model.identity.name} gives NaN as a log-probability")
    return log_probs
