"""Running free on an accelerator: nothing in a step waits for the host, and a step is one captured graph on cards that have them.

Keys and values stand in tensors of a fixed size, the draw and the statistics are made where the logits are, and what records keep
is brought to the host every few hundred steps. Uniforms, ids that would complete a loop, and ends are those of
`Stepwise.generate`, so samples are drawn from the same law with the same numbers. A loop is tried against passes over whole texts
before it is used.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from transformers.cache_utils import DynamicLayer

from freerun.predictors.base import Continuations, OnTokens, Sample
from freerun.predictors.draws import uniforms
from freerun.predictors.huggingface.caches import GrowingLayer, empty_cache
from freerun.predictors.huggingface.passes import Passes
from freerun.predictors.kernels.on_device import observation_of, on_host, sums_of
from freerun.predictors.kernels.sums import N_SUMS, TOKEN
from freerun.predictors.kernels.wide import wide
from freerun.predictors.rules import ContextRule
from freerun.stats.loops.lag_runs import LoopRule
from freerun.stats.loops.tracker import LoopTracker

LOOK_EVERY = 16
"""Steps between two looks at whether all rows have ended."""
BRING_EVERY = 256
"""Steps whose sums stand on the device before they are brought to the host."""
_MASK_ELEMENTS = 1 << 26
_WARM_UP = 2


class FixedLayer(DynamicLayer):  # type: ignore[misc]  # transformers is not typed
    """A cache layer of a fixed size: new entries are written at `places.columns`, all columns are handed out and masked."""

    def __init__(self, places: Places) -> None:
        super().__init__()
        self.places = places

    def update(self, key_states: Any, value_states: Any, *args: Any, **kwargs: Any) -> tuple[Any, Any]:
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
            self.keys, self.values = (
                x.new_zeros((*x.shape[:2], self.places.capacity, x.shape[-1])) for x in (key_states, value_states)
            )
        self.keys.index_copy_(2, self.places.columns, key_states)
        self.values.index_copy_(2, self.places.columns, value_states)
        return self.keys, self.values

    def get_seq_length(self) -> int:
        return self.places.held

    def get_mask_sizes(self, query_length: Any) -> tuple[int, int]:
        return self.places.capacity, 0


class Places:
    """Where a pass writes: columns of the cache, and how many columns there are."""

    def __init__(self, capacity: int, columns: torch.Tensor) -> None:
        self.capacity, self.columns, self.held = capacity, columns, 0


def is_plain(config: Any) -> bool:
    """Whether every layer of a model's cache is plain attention."""
    return all(type(layer) is GrowingLayer for layer in empty_cache(config).cache.layers)


def loop_fits(wanted: Continuations, context: ContextRule) -> bool:
    """Whether a loop can write these: under the model's own law, some tokens after some tokens, in a window that does not move."""
    if not wanted.sampling.is_model_law or not wanted.n_rows or not wanted.length:
        return False
    lengths = [len(p) for p in wanted.prefixes]
    return min(lengths) + len(context.lead) > 0 and context.first_seen(max(lengths) + wanted.length) == 0


class LagRuns:
    """A `LoopTracker` on the device: which ids would complete a loop, −1 where none."""

    def __init__(self, rule: LoopRule, n_rows: int, device: torch.device) -> None:
        self.rule = rule
        host = LoopTracker([np.zeros(0, np.int64)] * n_rows, rule)
        self.thresholds = torch.as_tensor(host.thresholds, device=device)
        self.runs = torch.as_tensor(host.runs.copy(), device=device)
        self.recent = torch.as_tensor(host.recent.copy(), device=device)

    def begin(self, histories: list[np.ndarray]) -> None:
        host = LoopTracker(histories, self.rule)
        self.runs.copy_(torch.as_tensor(host.runs))
        self.recent.copy_(torch.as_tensor(host.recent.copy()))

    def completing(self) -> torch.Tensor:
        """Rows × periods, each id once."""
        near = (self.runs >= self.thresholds - 1) & (self.recent >= 0)
        ids = torch.where(near, self.recent, -1).sort(dim=1).values
        ids[:, 1:] = torch.where(ids[:, 1:] == ids[:, :-1], -1, ids[:, 1:])
        return ids

    def push(self, ids: torch.Tensor) -> None:
        self.runs.copy_((self.runs + 1) * (self.recent == ids[:, None]))
        self.recent.copy_(torch.cat([self.recent[:, 1:], ids[:, None]], dim=1))


class DeviceLoop:
    """Rows that run free together on one device, up to `length` tokens after at most `longest`, what is put first included."""

    def __init__(
        self, passes: Passes, end_ids: tuple[int, ...], n_rows: int, longest: int, length: int, rule: LoopRule | None
    ) -> None:
        self.passes, self.longest, self.length, self.n_rows = passes, longest, length, n_rows
        device = self.device = passes.device
        weights = next(passes.model.parameters())
        capacity = longest + length
        self.places = Places(capacity, torch.zeros(1, dtype=torch.int64, device=device))
        self.cache = empty_cache(passes.model.config).cache
        self.cache.layers = [FixedLayer(self.places) for _ in self.cache.layers]
        self.hidden_by = torch.finfo(weights.dtype).min
        self.mask = torch.zeros((n_rows, 1, 1, capacity), dtype=weights.dtype, device=device)
        self.column = torch.zeros(1, dtype=torch.int64, device=device)
        self.place = torch.zeros((n_rows, 1), dtype=torch.int64, device=device)
        self.step_at = torch.zeros(1, dtype=torch.int64, device=device)
        self.to_draw = torch.full((n_rows,), -1, dtype=torch.int64, device=device)
        self.token = torch.zeros(n_rows, dtype=torch.int64, device=device)
        self.ends = torch.as_tensor(end_ids, dtype=torch.int64, device=device)
        self.ended = torch.zeros(n_rows, dtype=torch.bool, device=device)
        self.lags = None if rule is None else LagRuns(rule, n_rows, device)
        sums = wide(device)
        self.draws = sums.uniforms(np.zeros((length, n_rows)))
        like = sums.table([torch.zeros((1, 1), device=device)])
        self.sums = like.new_zeros((min(BRING_EVERY, length), n_rows, N_SUMS, *like.shape[2:]))
        self.logits: torch.Tensor | None = None
        self.hidden: torch.Tensor | None = None
        self.pooled: torch.Tensor | None = None
        self._graph: Any = None

    # ---- a wave ----------------------------------------------------------------------------------------------------

    def begin(
        self, texts: list[np.ndarray], draws: Float[np.ndarray, "rows length"], histories: list[np.ndarray]
    ) -> None:
        """Read the prefixes, padded at the left, and set everything to the first step."""
        padding = np.array([self.longest - len(x) for x in texts])
        table = np.stack([np.concatenate([np.zeros(p, np.int64), x]) for p, x in zip(padding, texts, strict=True)])
        shown = np.arange(self.places.capacity)[None, :] >= padding[:, None]
        shown &= np.arange(self.places.capacity)[None, :] < self.longest
        self.mask.copy_(self._hiding(torch.as_tensor(shown, device=self.device))[:, None, None, :])
        positions = np.maximum(np.arange(self.longest)[None, :] - padding[:, None], 0)
        step = max(1, min(self.longest, _MASK_ELEMENTS // (self.n_rows * self.places.capacity)))
        logits = hidden = None
        for a in range(0, self.longest, step):
            b = min(a + step, self.longest)
            causal = np.arange(self.places.capacity)[None, None, :] <= np.arange(a, b)[None, :, None]
            seen = torch.as_tensor(shown[:, None, :] & causal, device=self.device)
            logits, hidden = self._pass(
                torch.as_tensor(table[:, a:b], device=self.device),
                self._hiding(seen)[:, None],
                torch.as_tensor(positions[:, a:b], device=self.device),
                torch.arange(a, b, device=self.device),
            )
        assert logits is not None
        self._keep(logits, hidden)
        self.column.fill_(self.longest)
        self.place.copy_(torch.as_tensor((self.longest - padding)[:, None]))
        self.step_at.zero_()
        self.ended.zero_()
        self.draws.copy_(wide(self.device).uniforms(np.ascontiguousarray(draws.T)))
        if self.pooled is not None:
            self.pooled.zero_()
        if self.lags is not None:
            self.lags.begin(histories)

    def _hiding(self, shown: torch.Tensor) -> torch.Tensor:
        return torch.where(shown, 0.0, self.hidden_by).to(self.mask.dtype)

    def _pass(
        self, ids: torch.Tensor, mask: torch.Tensor, positions: torch.Tensor, columns: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        self.places.columns = columns
        options: dict[str, Any] = {"logits_to_keep": 1} if self.passes.can_be_short else {}
        out = self.passes.model(
            input_ids=ids,
            attention_mask=mask,
            position_ids=positions,
            past_key_values=self.cache,
            use_cache=True,
            **options,
        )
        heard = self.passes.heard()
        return out.logits[:, -1], None if heard is None else heard[:, -1]

    def _keep(self, logits: torch.Tensor, hidden: torch.Tensor | None) -> None:
        """In tensors that stay where they are, as a captured graph needs them."""
        if self.logits is None:
            self.logits = torch.empty_like(logits)
            if hidden is not None:
                self.hidden = torch.empty_like(hidden)
                self.pooled = torch.zeros(hidden.shape, dtype=torch.float32, device=self.device)
        self.logits.copy_(logits)
        if self.hidden is not None and hidden is not None:
            self.hidden.copy_(hidden)

    def draw(self) -> None:
        """One token a row, and what records keep of its law."""
        assert self.logits is not None
        u = self.draws.index_select(0, self.step_at)[0]
        watched = None if self.lags is None else self.lags.completing()
        sums = sums_of(self.logits, 1.0, self.to_draw, u, watched)
        self.sums.index_copy_(0, self.step_at % self.sums.shape[0], sums[None])
        self.token.copy_(sums[:, TOKEN, 0] if sums.ndim == 3 else sums[:, TOKEN])
        if self.pooled is not None and self.hidden is not None:
            self.pooled.add_(self.hidden * (~self.ended)[:, None])
        self.ended.logical_or_(torch.isin(self.token, self.ends))
        if self.lags is not None:
            self.lags.push(self.token)
        self.step_at.add_(1)

    def go_on(self) -> None:
        """The law after the tokens that were drawn."""
        self.mask.index_fill_(3, self.column, 0.0)
        self._keep(*self._pass(self.token[:, None], self.mask, self.place, self.column))
        self.column.add_(1)
        self.place.add_(1)

    def step(self) -> None:
        self.draw()
        self.go_on()

    def run(self, on_tokens: OnTokens) -> Float[np.ndarray, "length rows sums"]:
        """All steps until every row has ended or `length` is reached: the sums of every step, on the host."""
        brought: list[np.ndarray] = []
        counted = 0
        one_step = self._captured()
        for t in range(self.length):
            if t + 1 < self.length:
                one_step()
            else:
                self.draw()
            full = (t + 1) % self.sums.shape[0] == 0
            looked = (t + 1) % LOOK_EVERY == 0
            over = t + 1 == self.length or (looked and bool(self.ended.all()))
            if full or over:
                brought.append(on_host(self.sums[: t % self.sums.shape[0] + 1]))
            if on_tokens is not None and (looked or over):
                on_tokens((t + 1 - counted) * self.n_rows)
                counted = t + 1
            if over:
                break
        return np.concatenate(brought)

    # ---- graphs ----------------------------------------------------------------------------------------------------

    def _captured(self) -> Callable[[], None]:
        """A step as one graph where the device has them; captured before the first step of a wave, whose numbers are put back."""
        if self.device.type != "cuda":
            return self.step
        if self._graph is None:
            held = [x.clone() for x in self._changing()]
            side = torch.cuda.Stream(self.device)  # type: ignore[no-untyped-call]
            side.wait_stream(torch.cuda.current_stream(self.device))
            with torch.cuda.stream(side):
                for _ in range(_WARM_UP):
                    self.step()
            torch.cuda.current_stream(self.device).wait_stream(side)
            for x, before in zip(self._changing(), held, strict=True):
                x.copy_(before)
            self._graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self._graph):
                self.step()
        return self._graph.replay  # type: ignore[no-any-return]

    def _changing(self) -> list[torch.Tensor]:
        """What a step changes, but for cache columns and sums, which it writes anew."""
        lags = [] if self.lags is None else [self.lags.runs, self.lags.recent]
        rest = [x for x in (self.logits, self.hidden, self.pooled) if x is not None]
        return [self.mask, self.column, self.place, self.step_at, self.token, self.ended, *lags, *rest]


@torch.inference_mode()
def run_free(
    passes: Passes, end_ids: tuple[int, ...], lead: tuple[int, ...], wanted: Continuations, on_tokens: OnTokens = None
) -> Iterator[Sample]:
    """The samples of some continuations under the model's own law, in waves of rows that run together."""
    n_each, n_rows, length = wanted.n_each, wanted.n_rows, wanted.length
    first = np.array(lead, np.int64)
    texts = [np.concatenate([first, np.asarray(p, np.int64)]) for p in wanted.prefixes]
    room = min(n_rows, n_rows if wanted.at_once is None else max(wanted.at_once, 1))
    loop = DeviceLoop(passes, end_ids, room, max(map(len, texts)), length, wanted.loop_rule)
    flat = wanted.keys.ravel()
    for start in range(0, n_rows, room):
        rows = np.arange(start, min(start + room, n_rows))
        filled = np.concatenate(
            [rows, np.repeat(rows[:1], room - len(rows))]
        )  # of the last wave some rows are not wanted
        draws = np.stack([uniforms(wanted.seed, int(flat[r]), length) for r in filled])
        histories = [np.asarray(wanted.prefixes[int(r) // n_each], np.int64) for r in filled]
        loop.begin([texts[int(r) // n_each] for r in filled], draws, histories)
        share = len(rows) / room
        sums = loop.run(None if on_tokens is None else (lambda n: on_tokens(round(n * share))))  # noqa: B023  called here
        yield from _samples(sums[:, : len(rows)], rows, draws, end_ids, loop)


def _samples(
    sums: Float[np.ndarray, "length rows sums"],
    rows: Int[np.ndarray, " rows"],
    draws: Float[np.ndarray, "rows length"],
    end_ids: tuple[int, ...],
    loop: DeviceLoop,
) -> Iterator[Sample]:
    ends: Bool[np.ndarray, "length rows"] = np.isin(sums[:, :, TOKEN].astype(np.int64), end_ids)
    pooled = None if loop.pooled is None else loop.pooled.cpu().numpy()
    for i, row in enumerate(rows.tolist()):
        ended = bool(ends[:, i].any())
        n = int(ends[:, i].argmax()) + 1 if ended else len(sums)
        yield Sample(
            row,
            "end_of_text" if ended else "length",
            observation_of(sums[:n, i]),
            draws[i, :n],
            None,
            None if pooled is None else np.asarray(pooled[i] / n, np.float32),
        )
