"""A transformers model as a predictor: its states, and texts read in bulk.

Two things differ from transformers' own loop: the key/value cache grows in place instead of being copied at every token, and the
logits of a long text are made and observed a bounded chunk at a time. How a model may be read at all is its `Reading`, which is
tried when it is loaded.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int

from freerun.predictors.base import Capabilities, Continuations, Ids, Laws, OnTokens, Sample
from freerun.predictors.huggingface.caches import HeadInput, empty_cache, joined
from freerun.predictors.huggingface.device_loop import loop_fits, run_free
from freerun.predictors.huggingface.passes import Passes
from freerun.predictors.huggingface.reading import LADDER, Reading, Sizes, read_together, regime
from freerun.predictors.huggingface.states import Block, HFState, Rows, host, whole
from freerun.predictors.huggingface.templates import template_of
from freerun.predictors.kernels.packed import pack_linears
from freerun.predictors.law import Dense, Law
from freerun.predictors.markers import NO_MARKERS, Markers
from freerun.predictors.rules import ContextRule, Identity
from freerun.predictors.stepwise import Stepwise
from freerun.predictors.vocabulary import byte_table, token_ends
from freerun.predictors.weights.declared import longest_context

_Read = tuple[np.ndarray, np.ndarray, np.ndarray, torch.Tensor, np.ndarray | None]
"""Rows, positions and ids of tokens, the logits before each, and the hidden states before each where they are kept."""
_TOKENS_IN_ONE_PIECE = 8192
"""Tokens of the rows of one block, where texts cannot be read in pieces."""


class HuggingFacePredictor(Stepwise[HFState]):
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
        reading: Reading = LADDER[0],
    ) -> None:
        self.model, self.tokenizer, self.identity = model.eval(), tokenizer, identity
        self.passes, self.reading, self.sizes = Passes(model), reading, Sizes.on(model.device.type)
        with torch.inference_mode():
            self.n_tokens = int(self.passes.logits(np.zeros((1, 1), np.int64), keep=1).shape[-1])
        heard = self.passes.heard()
        self.passes.listens = heard is not None and heard.shape[:2] == (1, 1)
        limit = window or longest_context(model)
        self.context = ContextRule(window=None if limit is None else limit - len(lead), lead=lead)
        self.end_ids, self.markers, self.template = end_ids, markers, template_of(tokenizer)
        self.capabilities = Capabilities(empty_context=False, embed=self.passes.listens)
        self.device, self.loops_on_device = self.passes.device, False
        self._bytes = byte_table(tokenizer, self.n_tokens, markers.control)

    def encode(self, text: str) -> list[int]:
        """Ids of a text; a marker such as `<|im_end|>` written in the text is text."""
        return list(self.tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True, verbose=False))

    def token_bytes(self, token_id: int) -> bytes:
        return self._bytes[token_id]

    def token_ends(self, text: str) -> list[int] | None:
        return token_ends(self.tokenizer, text)

    def own_weights(self) -> list[Any]:
        return list(self.model.parameters())

    def pack(self) -> None:
        """Lay the weights out for the CPU's matrix products."""
        self.passes.head.stop()
        pack_linears(self.model)
        self.passes.head = HeadInput(self.model)

    def show_no_hidden_states(self) -> None:
        """Keep hidden states to itself: they are not those that logits are made from."""
        self.passes.listens = False
        self.capabilities = replace(self.capabilities, embed=False)

    # ---- one step --------------------------------------------------------------------------------------------------

    @torch.inference_mode()
    def start(self, prefixes: Sequence[Ids]) -> HFState:
        ids = [np.asarray(p, np.int64) for p in prefixes]
        self._check_first(min((len(p) for p in ids), default=1))
        return self._read(ids)

    def law(self, state: HFState) -> Law:
        return Dense(state.in_order([block.logits for block in state.blocks]))

    @torch.inference_mode()
    def advance(self, state: HFState, ids: Int[np.ndarray, " rows"]) -> HFState:
        parts = []
        for block, rows in zip(state.blocks, state.rows, strict=True):
            new = np.asarray(ids, np.int64)[rows]
            grown = [np.append(x, i) for x, i in zip(block.ids, new, strict=True)]
            if block.kept is None or block.stale or any(self._moves(len(x)) for x in grown):
                parts.append((self._read(grown), rows))
                continue
            logits = self.passes.logits(
                new[:, None], block.kept, block.padding, keep=1, positions=self.reading.positions
            )
            one = Block(grown, block.kept, block.held + 1, block.padding, logits[:, -1], self._last_hidden())
            parts.append((whole(one), rows))
        return HFState.of(parts)

    @torch.inference_mode()
    def select(self, state: HFState, rows: Int[np.ndarray, " taken"]) -> HFState:
        wanted = np.asarray(rows, np.int64)
        parts = []
        for block, mine in zip(state.blocks, state.rows, strict=True):
            inside = np.full(state.n_rows, -1)
            inside[mine] = np.arange(len(mine))
            at = np.flatnonzero(inside[wanted] >= 0)
            if not len(at):
                continue
            local = inside[wanted[at]]
            taken = self._read([block.ids[i] for i in local]) if block.stale else whole(block.take(local))
            parts.append((taken, at))
        return HFState.of(parts)

    @torch.inference_mode()
    def join(self, states: Sequence[HFState]) -> HFState:
        """Blocks that can be are put into one: caches of plain attention side by side, the shorter ones padded at the left; sliding
        windows are read afresh. The others stay apart."""
        starts = np.cumsum([0, *(s.n_rows for s in states)])
        every = HFState.of([(s, np.arange(a, a + s.n_rows)) for s, a in zip(states, starts, strict=False)])
        if not self.reading.ragged or len(every.blocks) == 1:
            return every
        companies: dict[tuple[int, ...], list[int]] = {}
        for b, block in enumerate(every.blocks):
            companies.setdefault(self._regime(len(block.ids[0])), []).append(b)
        parts = []
        for members in companies.values():
            blocks = [every.blocks[b] for b in members]
            rows = np.concatenate([every.rows[b] for b in members])
            together = self._side_by_side(blocks)
            state = self._read([x for b in blocks for x in b.ids]) if together is None else whole(together)
            parts.append((state, rows))
        return HFState.of(parts)

    def _side_by_side(self, blocks: Sequence[Block]) -> Block | None:
        """Blocks as one; entries that no row sees are let go. None where their caches cannot be joined."""
        if len(blocks) == 1:
            return blocks[0]
        kept = [b.kept for b in blocks if b.kept is not None and not b.stale]
        if len(kept) < len(blocks):
            return None
        held = max(b.held - int(b.padding.min(initial=b.held)) for b in blocks)
        cache = joined(kept, held, self.model.config)
        if cache is None:
            return None
        hidden = [b.hidden for b in blocks if b.hidden is not None]
        return Block(
            [x for b in blocks for x in b.ids],
            cache,
            held,
            np.concatenate([b.padding + held - b.held for b in blocks]),
            torch.cat([b.logits for b in blocks]),
            torch.cat(hidden) if len(hidden) == len(blocks) else None,
        )

    @property
    def joins(self) -> bool:
        """Where texts are read with their like alone, new rows would be a block of their own, and every block a pass."""
        return self.reading.ragged

    def nbytes(self, state: HFState) -> int:
        rest = [x for b in state.blocks for x in (b.logits, b.hidden) if x is not None]
        kept = sum(b.kept.nbytes for b in state.blocks if b.kept is not None)
        return kept + sum(x.numel() * x.element_size() for x in rest)

    def embed(self, state: HFState) -> Float[np.ndarray, "rows width"]:
        hidden = [b.hidden for b in state.blocks if b.hidden is not None]
        if len(hidden) < len(state.blocks):
            return super().embed(state)
        return host(state.in_order(hidden))

    # ---- reading from nothing ----------------------------------------------------------------------------------------

    def _regime(self, n_tokens: int) -> tuple[int, ...]:
        """Which rotations the law after so many document tokens is made with."""
        seen = n_tokens - self.context.first_seen(n_tokens)
        turned = regime(self.passes.switches, len(self.context.lead) + seen)
        return turned if self.reading.whole else (*turned, n_tokens)

    def _moves(self, n_tokens: int) -> bool:
        """Whether the law after so many tokens cannot go on from the one before: tokens were let go, or are turned otherwise."""
        return self._view(n_tokens) != self._view(n_tokens - 1)

    def _view(self, n_tokens: int) -> tuple[int, ...]:
        """The oldest document token that the law after so many looks back to, and the rotations that it is made with."""
        return self.context.first_seen(n_tokens), *self._regime(n_tokens)

    def _read(self, ids: list[Ids]) -> HFState:
        """Read what the context rule lets each row see, from nothing; rows that may be side by side in one block."""
        companies: dict[tuple[Any, ...], list[int]] = {}
        for r, x in enumerate(ids):
            like = 0 if self.reading.ragged else len(x) - self.context.first_seen(len(x))
            alone = 0 if self.reading.together else r
            companies.setdefault((self._regime(len(x)), like, alone), []).append(r)
        parts = []
        for rows in companies.values():
            most = len(rows) if self.reading.pieces else max(1, _TOKENS_IN_ONE_PIECE // len(ids[rows[0]]))
            for a in range(0, len(rows), most):
                some = rows[a : a + most]
                parts.append((whole(self._read_block([ids[r] for r in some])), np.array(some)))
        return HFState.of(parts)

    def _read_block(self, ids: list[Ids]) -> Block:
        """Read rows side by side; shorter ones are padded at the left and masked."""
        lead = np.array(self.context.lead, np.int64)
        seen = [np.concatenate([lead, x[self.context.first_seen(len(x)) :]]) for x in ids]
        longest = max(len(x) for x in seen)
        padding = np.array([longest - len(x) for x in seen])
        table = np.stack([np.concatenate([np.zeros(longest - len(x), np.int64), x]) for x in seen])
        if not self.reading.keeps:
            logits, hidden = self._last_of(table)
            return Block(ids, None, longest, padding, logits, hidden)
        kept = empty_cache(self.model.config)
        step = max(1, self._tokens_at_once(len(ids)) // len(ids))
        first = max(step, read_together(self.passes.switches, longest)) if self.reading.pieces else longest
        out = None
        while kept.read < longest:
            piece = table[:, kept.read : first if not kept.read else kept.read + step]
            out = self.passes.logits(piece, kept, padding, keep=1, positions=self.reading.positions)
        assert out is not None
        return Block(ids, kept, longest, padding, out[:, -1], self._last_hidden())

    def _last_of(self, table: Int[np.ndarray, "rows n"]) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Logits and hidden state after the last token of every row, each row read whole and nothing kept."""
        at_once = max(1, self._tokens_at_once(len(table)) // table.shape[1])
        logits, hidden = [], []
        for a in range(0, len(table), at_once):
            logits.append(self.passes.logits(table[a : a + at_once], keep=1)[:, -1].clone())
            hidden.append(self._last_hidden())
        known = [h for h in hidden if h is not None]
        return torch.cat(logits), torch.cat(known) if len(known) == len(logits) else None

    def _tokens_at_once(self, n_rows: int) -> int:
        """Tokens of a pass that wants the last logits of each row only; fewer where the model makes all of them."""
        if self.passes.can_be_short:
            return self.sizes.body_tokens
        return max(n_rows, min(self.sizes.body_tokens, self.sizes.logits // self.n_tokens))

    def _last_hidden(self) -> torch.Tensor | None:
        """Of the pass just made: the state at the last token of each row."""
        heard = self.passes.heard()
        return None if heard is None else heard[:, -1]

    # ---- in bulk ---------------------------------------------------------------------------------------------------

    def generate(self, continuations: Continuations, *, on_tokens: OnTokens = None) -> Iterator[Sample]:
        if self.loops_on_device and loop_fits(continuations, self.context):
            return run_free(self.passes, self.end_ids, self.context.lead, continuations, on_tokens)
        return super().generate(continuations, on_tokens=on_tokens)

    @torch.inference_mode()
    def laws(self, sequences: Sequence[Ids], *, first: int = 0) -> Iterator[Laws]:
        for rows, targets, _, logits, hidden in self._read_all(sequences, first):
            yield Laws(rows, targets, Dense(logits), hidden)

    @torch.inference_mode()
    def log_probs(self, sequences: Sequence[Ids], *, first: int = 0) -> list[Float[np.ndarray, " scored"]]:
        out = [np.zeros(max(0, len(s) - first)) for s in sequences]
        for rows, targets, ids, logits, _ in self._read_all(sequences, first):
            table = logits.float()
            total = table.logsumexp(dim=1)
            if not total.isfinite().all():
                Dense(logits).log_prob(ids)  # says what is wrong with them
            said = table.gather(1, torch.as_tensor(ids, device=table.device)[:, None])[:, 0] - total
            for r, t, value in zip(rows, targets, host(said), strict=True):
                out[r][t - first] = value
        return out

    def _read_all(self, sequences: Sequence[Ids], first: int) -> Iterator[_Read]:
        """Rows, positions, ids and logits of every token from `first` on, in bounded pieces, and the states that made them."""
        self._check_first(first)
        lengths = np.array([len(s) for s in sequences])
        rows = np.flatnonzero(lengths > first)
        start = first
        while len(rows):
            # all targets t from `start` on whose laws look back to the same oldest token and turn it the same way
            view, stop = self._view(start), start + 1
            while stop < lengths[rows].max() and self._view(stop) == view:
                stop += 1
            yield from self._read_window(sequences, rows, lengths, view[0], start, stop)
            start, rows = stop, rows[lengths[rows] > stop]

    def _read_window(
        self,
        sequences: Sequence[Ids],
        rows: Rows,
        lengths: Int[np.ndarray, " sequences"],
        oldest: int,
        start: int,
        stop: int,
    ) -> Iterator[_Read]:
        """Targets `start … stop−1` of some rows, all seen from `oldest` on. Shorter rows are padded at the right, unseen."""
        lead = np.array(self.context.lead, np.int64)
        # column c of a table predicts document token oldest + c + 1 − len(lead)
        shift = oldest + 1 - len(lead)
        for group in self._side_by_side_rows(rows, np.minimum(lengths, stop) - shift):
            width = int(min(lengths[group].max(), stop)) - shift
            table = np.zeros((len(group), width), np.int64)
            for i, r in enumerate(group):  # the last token predicts nothing
                seen = np.concatenate([lead, np.asarray(sequences[r], np.int64)[oldest : stop - 1]])[:width]
                table[i, : len(seen)] = seen
            for done, outputs, heard in self._outputs(table, start - shift):
                targets = np.arange(done, done + outputs.shape[1]) + shift
                valid = lengths[group][:, None] > targets[None, :]
                row_of, at = np.nonzero(valid)
                ids = np.array([sequences[group[i]][targets[j]] for i, j in zip(row_of, at, strict=True)], np.int64)
                where = torch.as_tensor(row_of), torch.as_tensor(at)
                told, hidden = outputs[where], None if heard is None else heard[where]
                most = max(self.sizes.least_rows, self.sizes.logits // self.n_tokens)
                for b in range(0, len(ids), most):
                    part = slice(b, b + most)
                    states = None if hidden is None else host(hidden[part])
                    logits = self.passes.answer(told[part]) if self.passes.split else told[part]
                    yield group[row_of[part]], targets[at[part]], ids[part], logits, states

    def _side_by_side_rows(self, rows: Rows, widths: Int[np.ndarray, " sequences"]) -> Iterator[Rows]:
        """Rows that are read in one table, of like width for less padding, or none; bounded in tokens."""
        rows = rows[np.argsort(-widths[rows], kind="stable")]
        tokens = self.sizes.body_tokens
        if not self.reading.pieces and not self.passes.split:  # all logits of a table stand in memory at once
            tokens = min(tokens, 8 * self.sizes.logits // self.n_tokens)
        a = 0
        while a < len(rows):
            together = max(1, tokens // int(widths[rows[a]])) if self.reading.together else 1
            group = rows[a : a + together]
            if not self.reading.ragged:
                group = group[widths[group] == widths[group[0]]]
            yield group
            a += len(group)

    def _outputs(
        self, table: Int[np.ndarray, "rows width"], first_column: int
    ) -> Iterator[tuple[int, torch.Tensor, torch.Tensor | None]]:
        """The first column and what the model says at some columns, from `first_column` on: last hidden states [rows, n, width]
        where logits are the output layer's answer to them, else logits; and the hidden states to keep, where there are any."""
        n_rows, width = table.shape
        split, shown = self.passes.split, self.capabilities.embed
        read_on = max(1, self.sizes.body_tokens // n_rows)
        at_once = read_on if split else max(1, min(read_on, self.sizes.logits // (n_rows * self.n_tokens)))
        if not split and not self.passes.can_be_short:
            read_on = at_once
        least = max(at_once, read_together(self.passes.switches, width))
        if width <= least or not self.reading.keeps or not self.reading.pieces:
            heard: torch.Tensor | None
            if split:
                outputs = heard = self.passes.body(table)[:, first_column:]
            else:
                outputs = self.passes.logits(table, keep=width - first_column)
                heard = self.passes.heard()
                heard = None if heard is None else heard[:, -outputs.shape[1] :]
            yield first_column, outputs, heard if shown else None
            return
        kept = empty_cache(self.model.config)
        while kept.read < width:
            done = kept.read
            short_of = done < first_column
            end = min(width, max(done + (read_on if short_of else at_once), 0 if done else least))
            if short_of and end > first_column and (done or first_column >= least):
                end = first_column
            keep = max(0, end - max(done, first_column))
            if split:
                outputs = heard = self.passes.body(table[:, done:end], kept, positions=self.reading.positions)
            else:
                outputs = self.passes.logits(
                    table[:, done:end], kept, keep=max(keep, 1), positions=self.reading.positions
                )
                heard = self.passes.heard()
            if keep:
                said = None if heard is None or not shown else heard[:, -keep:]
                yield end - keep, outputs[:, -keep:], said
