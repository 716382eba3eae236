"""One contract over every causal family: each law that freerun reports is that of a fresh pass, or the model is refused by name.

The reference is transformers alone: another copy of the model, one row, nothing kept, nothing after the context, float64. Held
against it: 128 texts scored together, texts past the window, whole laws predicted step by step, 128 texts sampled with early ends
and rows that join, in blocks and all at once, and the same calls again.
"""

from __future__ import annotations

import copy
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast
from transformers.utils import logging

from freerun.errors import BackendError
from freerun.predictors.base import Continuations, Sample
from freerun.predictors.huggingface import HuggingFacePredictor, load_pretrained
from freerun.predictors.observation import Observation
from freerun.predictors.rules import Identity
from studies.families import tiny

ROWS, SHORT, LONG, OWN = 128, 24, 60, 14
"""Texts at once, and tokens: of a short text, of one past the window, of an own continuation."""
PROBED = 40
"""Laws of each kind that are held against a fresh pass of their own."""
LARGEST_GAP_NATS = 1e-3
Kind = Literal["as fast as it goes", "like with like", "whole texts", "refused"]


@dataclass(frozen=True)
class Outcome:
    """What became of a family: how it is read or why it is refused, and the largest differences from fresh passes in nats."""

    name: str
    kind: Kind
    words: str
    gap_real_nats: float | None
    gap_past_window_nats: float | None
    gap_predicted_nats: float | None
    gap_own_nats: float | None
    gap_again_nats: float | None
    entropy_nats: float | None
    seconds: float

    @property
    def largest_gap_nats(self) -> float:
        gaps = (
            self.gap_real_nats,
            self.gap_past_window_nats,
            self.gap_predicted_nats,
            self.gap_own_nats,
            self.gap_again_nats,
        )
        return max((g for g in gaps if g is not None), default=0.0)


def names() -> list[str]:
    """Every family and variant that can be made."""
    return [*(f for f in tiny.FAMILIES if f not in tiny.LEFT_OUT), *tiny.VARIANTS]


def outcome(name: str) -> Outcome:
    """Carry the contract out on one family."""
    began = time.perf_counter()
    reference = tiny.tiny_model(name)
    with tempfile.TemporaryDirectory(prefix="family-") as folder:
        try:
            predictor = loaded(reference, Path(folder), name)
        except BackendError as error:
            words = str(error).removeprefix(f"{name} ").removeprefix(f"{name}: ")
            return Outcome(name, "refused", words, None, None, None, None, None, None, time.perf_counter() - began)
        again = type(reference).from_pretrained(folder, dtype=torch.float32).eval()
        fresh = Fresh(again, predictor)
        rng = np.random.default_rng(7)
        usual = np.arange(8, fresh.n_tokens - 8)
        texts = [rng.choice(usual, SHORT - (i % 5 == 0) * 7) for i in range(ROWS)]
        real, entropy = _scored(predictor, fresh, texts, rng)
        past, _ = _scored(predictor, fresh, [rng.choice(usual, LONG) for _ in range(3)], rng)
        predicted = _predicted(predictor, fresh, texts[:8])
        own = _own(predictor, fresh, [t[: 6 + 3 * (i % 2)] for i, t in enumerate(texts[: ROWS // 2])], rng)
        twice = _again(predictor, texts[:8])
        kind, words = _how(predictor)
        return Outcome(name, kind, words, real, past, predicted, own, twice, entropy, time.perf_counter() - began)


def loaded(model: Any, folder: Path, name: str) -> HuggingFacePredictor:
    """The model through its files, as a user's would be."""
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    model.save_pretrained(folder)
    n = int(model.config.get_text_config(decoder=True).vocab_size)
    words = Tokenizer(
        models.WordLevel({"<unk>": 0, "<s>": 1, "</s>": 2} | {f"w{i}": i for i in range(3, n)}, unk_token="<unk>")
    )
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    PreTrainedTokenizerFast(
        tokenizer_object=words, unk_token="<unk>", bos_token="<s>", eos_token="</s>"
    ).save_pretrained(folder)
    predictor = load_pretrained(
        str(folder), identity=Identity(name, name), device="cpu", lead=(), end_ids=(2, 9, 17, 33, 41)
    )
    predictor.pack()
    return predictor


class Fresh:
    """Laws by transformers alone. A copy for every pass where a module remembers the longest text that it has seen."""

    def __init__(self, model: Any, predictor: HuggingFacePredictor) -> None:
        self.model, self.rule = model, predictor.context
        self.remembers = any("dynamic" in str(getattr(m, "rope_type", "")) for m in model.modules())
        self.n_tokens = predictor.n_tokens

    @torch.no_grad()
    def law(self, ids: np.ndarray) -> np.ndarray:
        """Log-probabilities after a text, float64."""
        model = copy.deepcopy(self.model) if self.remembers else self.model
        seen = ids[self.rule.first_seen(len(ids)) :]
        given = torch.as_tensor(seen)[None]
        try:
            logits = model(input_ids=given).logits[0, -1].double()
        except AttributeError:  # one that tries to keep what it reads and cannot
            logits = model(input_ids=given, use_cache=False).logits[0, -1].double()
        return torch.log_softmax(logits, 0).numpy()


def _scored(
    predictor: HuggingFacePredictor, fresh: Fresh, texts: list[np.ndarray], rng: np.random.Generator
) -> tuple[float, float]:
    """The largest difference of log-probability and entropy over some laws of a teacher-forced pass; their mean entropy."""
    said: dict[tuple[int, int], tuple[float, float]] = {}
    for chunk in predictor.score(texts, first=1):
        for r, t, lp, h in zip(
            chunk.row, chunk.position, chunk.observation.log_prob_nats, chunk.observation.entropy_nats, strict=True
        ):
            said[int(r), int(t)] = float(lp), float(h)
    if sorted(said) != [(r, t) for r, x in enumerate(texts) for t in range(1, len(x))]:
        raise AssertionError("not every token was scored once")
    last = [(r, len(x) - 1) for r, x in enumerate(texts[:4])]
    others = [(int(r), int(rng.integers(1, len(texts[r])))) for r in rng.integers(0, len(texts), PROBED)]
    gaps, entropies = [], []
    for r, t in {*last, *others}:
        law = fresh.law(texts[r][:t])
        entropies.append(-float((np.exp(law) * np.maximum(law, -1e3)).sum()))
        gaps += [abs(said[r, t][0] - law[texts[r][t]]), abs(said[r, t][1] - entropies[-1])]
    return max(gaps), float(np.mean(entropies))


def _predicted(predictor: HuggingFacePredictor, fresh: Fresh, texts: list[np.ndarray]) -> float:
    """The largest difference over whole laws of the next token, after texts of unlike lengths and some steps more, ids of
    probability 1e-4 and more."""
    starts = [3 + i for i in range(len(texts))]
    state, gaps = predictor.start([x[:n] for x, n in zip(texts, starts, strict=True)]), []
    for step in range(3):
        for said, x, n in zip(predictor.law(state).log_probs(), texts, starts, strict=True):
            wanted = fresh.law(x[: n + step])
            mattering = np.maximum(said, wanted) >= np.log(1e-4)
            gaps.append(float(np.abs(said - wanted)[mattering].max()))
        state = predictor.advance(state, np.array([x[n + step] for x, n in zip(texts, starts, strict=True)]))
    return max(gaps)


def _own(predictor: HuggingFacePredictor, fresh: Fresh, prefixes: list[np.ndarray], rng: np.random.Generator) -> float:
    """The largest difference over own text: against fresh passes, and of every token against the scorer."""
    keys = np.arange(2 * len(prefixes), dtype=np.uint64).reshape(-1, 2)
    gaps = []
    for at_once in (None, 48):
        samples: list[Sample] = sorted(
            predictor.generate(Continuations(prefixes, keys, OWN, seed=3, at_once=at_once)), key=lambda s: s.row
        )
        texts = [np.concatenate([prefixes[s.row // 2], s.observation.token_id]).astype(np.int64) for s in samples]
        firsts = [len(prefixes[s.row // 2]) for s in samples]
        for i in rng.integers(0, len(samples), PROBED):
            t = int(rng.integers(firsts[i], len(texts[i])))
            law = fresh.law(texts[i][:t])
            seen: Observation = samples[i].observation
            entropy = -float((np.exp(law) * np.maximum(law, -1e3)).sum())
            gaps.append(abs(float(seen.log_prob_nats[t - firsts[i]]) - law[texts[i][t]]))
            gaps.append(abs(float(seen.entropy_nats[t - firsts[i]]) - entropy))
        scores = predictor.log_probs(texts, first=1)
        gaps += [
            float(np.abs(s.observation.log_prob_nats - scored[first - 1 :]).max())
            for s, scored, first in zip(samples, scores, firsts, strict=True)
        ]
    return max(gaps)


def _again(predictor: HuggingFacePredictor, texts: list[np.ndarray]) -> float:
    one, two = (predictor.log_probs(texts, first=1) for _ in range(2))
    return max(float(np.abs(a - b).max()) for a, b in zip(one, two, strict=True))


def _how(predictor: HuggingFacePredictor) -> tuple[Kind, str]:
    reading = predictor.reading
    if not reading.keeps:
        return "whole texts", reading.describe()
    return ("as fast as it goes" if reading.ragged else "like with like"), reading.describe()
