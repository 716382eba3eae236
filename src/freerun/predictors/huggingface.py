"""Causal language models of transformers as predictors. The only predictor module that knows torch.

Two things differ from transformers' own loop: the key/value cache grows in place instead of being copied at every token, and the
logits of a long text are made and observed a bounded chunk at a time.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

# OpenMP workers that wait by spinning starve one another as soon as the machine does anything else: steps of 3 s
# instead of 0.7 s were seen beside busy processes. It must be said before torch loads.
os.environ.setdefault("GOMP_SPINCOUNT", "2000")
import torch
from huggingface_hub.utils import logging as hub_logging
from jaxtyping import Float, Int
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, DynamicCache
from transformers.cache_utils import DynamicLayer
from transformers.utils import logging as transformers_logging

from freerun.errors import BackendError
from freerun.predictors.attention import gather_queries
from freerun.predictors.base import Capabilities, Chunk, ContextRule, Identity, Predictor, pad_watched, watch_lists
from freerun.predictors.declared import longest_context
from freerun.predictors.growing_cache import GrowingLayer, HeadInput
from freerun.predictors.law import Dense, Law
from freerun.predictors.markers import NO_MARKERS, Markers
from freerun.predictors.packed import pack_linears
from freerun.predictors.tokenizing import NOTHING_MORE, Declared, check_tokenizer_files, read_vocabulary
from freerun.predictors.vocabulary import byte_table, token_ends
from freerun.stats.loops import LoopRule

_LOGITS_PER_CHUNK = 6 << 20
"""Logits held at once while scoring: 24 MiB in float32, which the CPU's last cache holds."""
_LEAST_ROWS_PER_CHUNK = 64
_BODY_TOKENS = 2048
"""Tokens that go through the layers at once while a text is read: enough for the full speed of the matrix products."""
_Read = tuple[np.ndarray, np.ndarray, np.ndarray, torch.Tensor, np.ndarray | None]
"""Rows, positions and ids of tokens, the logits before each, and the hidden states before each where they are kept."""


@dataclass
class HFState:
    """Tokens so far (`ids[row]`, document tokens only), the cache that has read what the context rule lets be seen, the
    logits of the next token and the hidden state they were made from. `padding[row]` entries at the left of the cache are
    masked."""

    ids: list[Int[np.ndarray, " tokens"]]
    cache: DynamicCache
    held: int
    padding: Int[np.ndarray, " rows"]
    logits: torch.Tensor
    hidden: torch.Tensor | None = None


class HuggingFacePredictor(Predictor[HFState]):
    """A transformers model with its tokenizer."""

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        *,
        identity: Identity,
        lead: tuple[int, ...],
        end_ids: tuple[int, ...],
        window: int | None = None,
        markers: Markers = NO_MARKERS,
    ) -> None:
        self.model = model.eval()
        self.tokenizer = tokenizer
        self.identity = identity
        self.n_tokens = int(model.get_output_embeddings().weight.shape[0])
        limit = window or longest_context(model.config)
        self.context = ContextRule(window=None if limit is None else limit - len(lead), lead=lead)
        self.end_ids, self.markers = end_ids, markers
        self.capabilities = Capabilities(empty_context=False, embed=True)
        self._head = HeadInput(self.model)
        self._split = False
        """Whether logits are the output layer's answer to the last hidden states and nothing more; `load_pretrained` finds out."""
        self.device = next(model.parameters()).device
        self._bytes = byte_table(tokenizer, self.n_tokens, markers.control)

    def encode(self, text: str) -> list[int]:
        """Ids of a text; a marker such as `<|im_end|>` written in the text is text."""
        return list(self.tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True, verbose=False))

    def token_bytes(self, token_id: int) -> bytes:
        return self._bytes[token_id]

    def token_ends(self, text: str) -> list[int] | None:
        return token_ends(self.tokenizer, text)

    def pack(self) -> None:
        """Lay the weights out for the CPU's matrix products, once they are what they shall be."""
        self._head.stop()
        gather_queries(self.model)
        pack_linears(self.model)
        self._head = HeadInput(self.model)

    # ---- one step --------------------------------------------------------------------------------------------------

    @torch.inference_mode()
    def start(self, prefixes: Sequence[Int[np.ndarray, " tokens"]]) -> HFState:
        ids = [np.asarray(p, np.int64) for p in prefixes]
        self._check_first(min((len(p) for p in ids), default=1))
        return self._read(ids)

    def _read(self, ids: list[Int[np.ndarray, " tokens"]]) -> HFState:
        """Read what the context rule lets each row see, from nothing; shorter rows are padded at the left and masked."""
        lead = np.array(self.context.lead, np.int64)
        seen = [np.concatenate([lead, x[self.context.first_seen(len(x)) :]]) for x in ids]
        longest = max(len(x) for x in seen)
        padding = np.array([longest - len(x) for x in seen])
        table = np.stack([np.concatenate([np.zeros(longest - len(x), np.int64), x]) for x in seen])
        cache = self._new_cache()
        step = max(1, _BODY_TOKENS // max(1, len(ids)))
        logits = None
        for a in range(0, longest, step):
            logits = self._forward(table[:, a : a + step], cache, a, padding, keep=1)
        assert logits is not None
        return HFState(ids, cache, longest, padding, logits[:, -1], self._last_hidden())

    def law(self, state: HFState) -> Law:
        return Dense(state.logits)

    @torch.inference_mode()
    def advance(self, state: HFState, ids: Int[np.ndarray, " rows"]) -> HFState:
        grown = [np.append(x, i) for x, i in zip(state.ids, ids, strict=True)]
        rule = self.context
        moved = any(rule.first_seen(len(x)) != rule.first_seen(len(x) - 1) for x in grown)
        if moved or state.cache.get_seq_length() != state.held:
            return self._read(grown)
        logits = self._forward(np.asarray(ids, np.int64)[:, None], state.cache, state.held, state.padding, keep=1)
        return HFState(grown, state.cache, state.held + 1, state.padding, logits[:, -1], self._last_hidden())

    @torch.inference_mode()
    def select(self, state: HFState, rows: Int[np.ndarray, " taken"]) -> HFState:
        index = torch.as_tensor(np.asarray(rows, np.int64), device=self.device)
        if state.cache.get_seq_length() != state.held:
            state = self._read(state.ids)
        cache = self._new_cache()
        for old, new in zip(state.cache.layers, cache.layers, strict=True):
            new.__dict__.update({k: v for k, v in old.__dict__.items() if k != "_room"})
            new.batch_select_indices(index)
        taken = [state.ids[int(r)] for r in rows]
        hidden = None if state.hidden is None else state.hidden[index]
        return HFState(taken, cache, state.held, state.padding[rows], state.logits[index], hidden)

    @torch.inference_mode()
    def join(self, states: Sequence[HFState]) -> HFState:
        """Caches side by side, the shorter ones padded at the left; sliding windows are read afresh."""
        ids = [x for s in states for x in s.ids]
        ragged = any(s.cache.get_seq_length() != s.held for s in states)
        if ragged or any(type(layer) is not GrowingLayer for s in states for layer in s.cache.layers):
            return self._read(ids)
        held = max(s.held - int(s.padding.min(initial=s.held)) for s in states)
        cache = self._new_cache()
        for i, layer in enumerate(cache.layers):
            layer.fill([(s.cache.layers[i].keys, s.cache.layers[i].values) for s in states], held)
        padding = np.concatenate([s.padding + held - s.held for s in states])  # entries that no row sees are let go
        hidden = [s.hidden for s in states if s.hidden is not None]
        return HFState(
            ids,
            cache,
            held,
            padding,
            torch.cat([s.logits for s in states]),
            torch.cat(hidden) if len(hidden) == len(states) else None,
        )

    def fork(self, state: HFState) -> HFState:
        return self.select(state, np.arange(len(state.ids)))

    def nbytes(self, state: HFState) -> int:
        layers = [x for layer in state.cache.layers for x in (layer.keys, layer.values) if x is not None]
        rest = [state.logits] if state.hidden is None else [state.logits, state.hidden]
        return sum(x.numel() * x.element_size() for x in [*layers, *rest])

    def embed(self, state: HFState) -> Float[np.ndarray, "rows width"]:
        if state.hidden is None:
            return super().embed(state)
        return _host(state.hidden)

    def _last_hidden(self) -> torch.Tensor | None:
        """Of the pass just made: the state at the last token of each row."""
        heard = self._head.take()
        return None if heard is None else heard[:, -1]

    # ---- in bulk ---------------------------------------------------------------------------------------------------

    @torch.inference_mode()
    def score(
        self,
        sequences: Sequence[Int[np.ndarray, " tokens"]],
        *,
        first: int = 0,
        loop_rule: LoopRule | None = None,
    ) -> Iterator[Chunk]:
        watched = watch_lists(sequences, first, loop_rule)
        for rows, targets, ids, logits, hidden in self._read_all(sequences, first):
            lists = pad_watched([watched[r][t - first] for r, t in zip(rows, targets, strict=True)])
            yield Chunk(rows, targets, Dense(logits).observe(ids, watched=lists), hidden)

    @torch.inference_mode()
    def log_probs(
        self, sequences: Sequence[Int[np.ndarray, " tokens"]], *, first: int = 0
    ) -> list[Float[np.ndarray, " scored"]]:
        out = [np.zeros(max(0, len(s) - first)) for s in sequences]
        for rows, targets, ids, logits, _ in self._read_all(sequences, first):
            table = logits.float()
            total = table.logsumexp(dim=1)
            if not total.isfinite().all():
                Dense(logits).log_prob(ids)  # says what is wrong with them
            said = table.gather(1, torch.as_tensor(ids, device=table.device)[:, None])[:, 0] - total
            for r, t, value in zip(rows, targets, _host(said), strict=True):
                out[r][t - first] = value
        return out

    def _read_all(self, sequences: Sequence[Int[np.ndarray, " tokens"]], first: int) -> Iterator[_Read]:
        """Rows, positions, ids and logits of every token from `first` on, in bounded pieces, and the states that made them."""
        self._check_first(first)
        lengths = np.array([len(s) for s in sequences])
        rows = np.flatnonzero(lengths > first)
        start = first
        while len(rows):
            # all targets t from `start` on whose law looks back to the same oldest token
            oldest = self.context.first_seen(start)
            stop = start
            while stop < lengths[rows].max() and self.context.first_seen(stop) == oldest:
                stop += 1
            yield from self._read_window(sequences, rows, lengths, oldest, start, stop)
            start = stop
            rows = rows[lengths[rows] > start]

    def _read_window(
        self,
        sequences: Sequence[Int[np.ndarray, " tokens"]],
        rows: Int[np.ndarray, " rows"],
        lengths: Int[np.ndarray, " sequences"],
        oldest: int,
        start: int,
        stop: int,
    ) -> Iterator[_Read]:
        """Targets `start … stop−1` of some rows, all seen from `oldest` on. Shorter rows are padded at the right, unseen."""
        lead = np.array(self.context.lead, np.int64)
        width = len(lead) + stop - 1 - oldest
        together = max(1, _BODY_TOKENS // width)
        rows = rows[np.argsort(-lengths[rows], kind="stable")]  # rows of like length side by side: less padding
        for a in range(0, len(rows), together):
            group = rows[a : a + together]
            longest = min(width, len(lead) + int(lengths[group].max()) - 1 - oldest)
            table = np.zeros((len(group), longest), np.int64)
            for i, r in enumerate(group):
                seen = np.concatenate([lead, np.asarray(sequences[r], np.int64)[oldest : stop - 1]])
                seen = seen[:longest]  # the last token predicts nothing
                table[i, : len(seen)] = seen
            # column c of the table predicts document token oldest + c + 1 − len(lead)
            shift = oldest + 1 - len(lead)
            for done, outputs, heard in self._outputs(table, start - shift):
                targets = np.arange(done, done + outputs.shape[1]) + shift
                valid = lengths[group][:, None] > targets[None, :]
                row_of, at = np.nonzero(valid)
                ids = np.array([sequences[group[i]][targets[j]] for i, j in zip(row_of, at, strict=True)], np.int64)
                where = torch.as_tensor(row_of), torch.as_tensor(at)
                told, hidden = outputs[where], None if heard is None else heard[where]
                most = max(_LEAST_ROWS_PER_CHUNK, _LOGITS_PER_CHUNK // self.n_tokens)
                for b in range(0, len(ids), most):
                    part = slice(b, b + most)
                    states = None if hidden is None else _host(hidden[part])
                    yield group[row_of[part]], targets[at[part]], ids[part], self._logits(told[part]), states

    def _outputs(
        self, table: Int[np.ndarray, "rows width"], first_column: int
    ) -> Iterator[tuple[int, torch.Tensor, torch.Tensor | None]]:
        """The first column and what the model says at some columns, from `first_column` on: last hidden states [rows, n, width]
        where logits are the output layer's answer to them, else logits; and the hidden states to keep, where there are any."""
        width = table.shape[1]
        at_once = max(1, _BODY_TOKENS // len(table))
        if not self._split:
            at_once = max(1, min(at_once, _LOGITS_PER_CHUNK // (len(table) * self.n_tokens)))
        elif width <= at_once:
            hidden = self._body(table, None)[:, first_column:]
            yield first_column, hidden, hidden if self.capabilities.embed else None
            return
        cache = self._new_cache()
        done = 0
        while done < width:
            short_of = done < first_column
            end = min(done + (max(at_once, _BODY_TOKENS // len(table)) if short_of else at_once), width)
            end = min(end, first_column) if short_of else end
            piece = table[:, done:end]
            if self._split:
                outputs = self._body(piece, cache)
            else:
                outputs = self._forward(piece, cache, done, None, keep=1 if short_of else 0)
            heard = self._head.take() if not self._split else outputs
            if not short_of:
                yield done, outputs, heard if self.capabilities.embed else None
            done = end

    def _logits(self, told: torch.Tensor) -> torch.Tensor:
        """Logits of some rows of `_outputs`."""
        if not self._split:
            return told
        logits = self.model.get_output_embeddings()(told)
        self._head.take()
        return logits  # type: ignore[no-any-return]

    # ---- the model -------------------------------------------------------------------------------------------------

    def _new_cache(self) -> DynamicCache:
        cache = DynamicCache(config=self.model.config)
        cache.layers = [GrowingLayer() if type(layer) is DynamicLayer else layer for layer in cache.layers]
        return cache

    def _forward(
        self,
        ids: Int[np.ndarray, "rows n"],
        cache: DynamicCache,
        held: int,
        padding: Int[np.ndarray, " rows"] | None,
        *,
        keep: int,
    ) -> torch.Tensor:
        """Logits of the last `keep` (0: all) of n more tokens, float32 or as the model makes them."""
        extra: dict[str, Any] = {}
        if padding is not None and padding.any():
            total = held + ids.shape[1]
            seen = np.arange(total)[None, :] >= padding[:, None]
            positions = np.maximum(np.arange(held, total)[None, :] - padding[:, None], 0)
            extra["attention_mask"] = torch.as_tensor(seen.astype(np.int64), device=self.device)
            extra["position_ids"] = torch.as_tensor(positions, device=self.device)
        out = self.model(
            input_ids=torch.as_tensor(ids, device=self.device),
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=keep,
            **extra,
        )
        return out.logits  # type: ignore[no-any-return]

    def _body(self, ids: Int[np.ndarray, "rows n"], cache: DynamicCache | None) -> torch.Tensor:
        """Last hidden states of n more tokens, [rows, n, width]."""
        out = self.model.base_model(
            input_ids=torch.as_tensor(ids, device=self.device), past_key_values=cache, use_cache=cache is not None
        )
        return out.last_hidden_state  # type: ignore[no-any-return]


def load_pretrained(
    path: str,
    *,
    identity: Identity,
    dtype: str = "fp32",
    device: str = "auto",
    revision: str | None = None,
    trust_remote_code: bool = False,
    end_ids: tuple[int, ...] | None = None,
    lead: tuple[int, ...] | None = None,
    declared: Declared = NOTHING_MORE,
) -> HuggingFacePredictor:
    """Load a model and its tokenizer from a folder or a hub id. Safetensors only; no code from the checkpoint unless asked.

    `end_ids` are the ends that a user chose, in place of all that these files and the `declared` ones name.

    Raises:
        UsageError: an id among `end_ids` that the vocabulary does not have.
        BackendError: nothing there, no network, weights in a format that can run code, not a causal model, unknown device.
    """
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    hub_logging.set_verbosity_error()
    options: dict[str, Any] = {"revision": revision, "trust_remote_code": trust_remote_code}
    try:
        config = AutoConfig.from_pretrained(path, **options)
        tokenizer = AutoTokenizer.from_pretrained(path, **options)
        model, loading = AutoModelForCausalLM.from_pretrained(
            path,
            output_loading_info=True,
            config=config,
            dtype={"fp32": torch.float32, "bf16": torch.bfloat16}[dtype],
            use_safetensors=True,
            **options,
        )
    except Exception as error:  # a damaged file can fail in any of four libraries, each with a class of its own
        check_tokenizer_files(path, identity.name)
        first_line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise BackendError(
            f"cannot load {identity.name}: {first_line} (a hub id needs the network; a folder needs config.json, a tokenizer "
            "and *.safetensors; `freerun models` lists what needs neither)"
        ) from error
    if missing := sorted(loading["missing_keys"]):
        raise BackendError(
            f"the weights of {identity.name} lack {len(missing)} tensors ({missing[0]} first), which would be random; "
            "get the whole checkpoint"
        )
    model = model.to(_pick_device(device))
    lead, markers = read_vocabulary(model, tokenizer, declared, lead=lead, chosen=end_ids, name=identity.name)
    ends = markers.end_ids
    predictor = HuggingFacePredictor(model, tokenizer, identity=identity, lead=lead, end_ids=ends, markers=markers)
    _check_causal(predictor)
    return predictor


def _check_causal(predictor: HuggingFacePredictor) -> None:
    """A law must not see what comes after it: BERT and its kin load as causal models, and read both ways."""
    ids = np.arange(3, 11) % predictor.n_tokens
    other = np.append(ids[:-1], (ids[-1] + 1) % predictor.n_tokens)
    with torch.inference_mode():
        pair = predictor._forward(np.stack([ids, other]), predictor._new_cache(), 0, None, keep=0).float()
    laws = torch.softmax(pair[:, :-1], dim=-1)
    if float((laws[0] - laws[1]).abs().sum(-1).max()) > 2e-2:
        raise BackendError(f"{predictor.identity.name} is not a causal model: its laws look at the tokens after them")
    heard = predictor._head.take()
    if heard is None or heard.shape[:2] != (2, len(ids)):  # a head that is not called as a module
        predictor.capabilities = replace(predictor.capabilities, embed=False)
        return
    try:
        with torch.inference_mode():
            told = predictor._body(np.stack([ids, other]), None)
            again = predictor.model.get_output_embeddings()(told).float()
    except (AttributeError, TypeError, RuntimeError):  # a body with other arguments: logits come from the whole model
        return
    finally:
        predictor._head.take()
    predictor._split = again.shape == pair.shape and bool((again - pair).abs().max() <= 1e-4 * pair.abs().max())


def _host(hidden: torch.Tensor) -> Float[np.ndarray, "rows width"]:
    return np.asarray(hidden.float().cpu().numpy())


def _pick_device(device: str) -> torch.device:
    if device == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        chosen = torch.device(device)
        torch.empty(0, device=chosen)
    except (RuntimeError, AssertionError) as error:
        raise BackendError(f"--device {device} is not available here; use --device auto or cpu") from error
    torch.backends.cuda.matmul.allow_tf32 = False
    return chosen
