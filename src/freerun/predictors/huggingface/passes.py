"""The passes of a transformers model, called with the arguments that it takes."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from jaxtyping import Int

from freerun.predictors.huggingface.caches import HeadInput, Kept
from freerun.predictors.huggingface.reading import RopeSwitch, rope_switches

_CACHES = ("past_key_values", "cache_params")
"""What the argument is called that hands on what was read."""
NO_PADDING = np.zeros(0, np.int64)


class Passes:
    """A model and what its calls take.

    `split`: logits are the output layer's answer to the last hidden states and nothing more. `unasked`: a fresh pass says nothing
    of caches, for it is another pass where it does. `listens`: the output layer is heard, so there are hidden states to show.
    """

    def __init__(self, model: Any) -> None:
        self.model = model
        self.device = next(model.parameters()).device
        self.switches: tuple[RopeSwitch, ...] = rope_switches(model.config)
        self.split = self.unasked = False
        self.listens = True
        self._takes = _parameters(model.forward)
        self._body_takes = _parameters(model.base_model.forward)
        self._again = [m for m in model.modules() if any(s.again for s in self.switches) and _grown(m)]
        self.head = HeadInput(model)

    @property
    def can_keep(self) -> bool:
        """Whether the model takes what it read before in some form."""
        return any(name in self._takes for name in _CACHES)

    @property
    def can_be_short(self) -> bool:
        """Whether logits can be asked for the last tokens alone."""
        return "logits_to_keep" in self._takes

    def logits(
        self,
        ids: Int[np.ndarray, "rows n"],
        kept: Kept | None = None,
        padding: Int[np.ndarray, " rows"] = NO_PADDING,
        *,
        keep: int = 0,
        positions: bool = True,
    ) -> torch.Tensor:
        """Logits of the last `keep` (0: all) of n more tokens, [rows, keep, vocabulary], as the model makes them."""
        options = self._arguments(self._takes, ids, kept, padding, positions)
        if keep and self.can_be_short:
            options["logits_to_keep"] = keep
        out = self.model(input_ids=torch.as_tensor(ids, device=self.device), **options)
        if kept is not None:
            kept.read += ids.shape[1]
        return out.logits[:, -keep:]  # type: ignore[no-any-return]

    def plain_logits(self, ids: Int[np.ndarray, "rows n"]) -> torch.Tensor:
        """Logits of all tokens by the plainest call there is, [rows, n, vocabulary]: ids alone. Where a model tries to keep what
        it reads and cannot: without keeping."""
        self._forget_lengths()
        given = torch.as_tensor(ids, device=self.device)
        try:
            return self.model(input_ids=given).logits  # type: ignore[no-any-return]
        except (AttributeError, TypeError, ValueError):
            return self.model(input_ids=given, use_cache=False).logits  # type: ignore[no-any-return]

    def body(self, ids: Int[np.ndarray, "rows n"], kept: Kept | None = None, *, positions: bool = True) -> torch.Tensor:
        """Last hidden states of n more tokens, [rows, n, width]."""
        options = self._arguments(self._body_takes, ids, kept, NO_PADDING, positions)
        out = self.model.base_model(input_ids=torch.as_tensor(ids, device=self.device), **options)
        if kept is not None:
            kept.read += ids.shape[1]
        return out.last_hidden_state  # type: ignore[no-any-return]

    def answer(self, hidden: torch.Tensor) -> torch.Tensor:
        """The output layer's logits of some hidden states."""
        logits = self.model.get_output_embeddings()(hidden)
        self.head.take()
        return logits  # type: ignore[no-any-return]

    def heard(self) -> torch.Tensor | None:
        """The hidden states that the output layer was given in the last pass, once."""
        heard = self.head.take()
        return heard if self.listens else None

    def _arguments(
        self,
        takes: frozenset[str],
        ids: Int[np.ndarray, "rows n"],
        kept: Kept | None,
        padding: Int[np.ndarray, " rows"],
        positions: bool,
    ) -> dict[str, Any]:
        self._forget_lengths()
        options: dict[str, Any] = {}
        if "use_cache" in takes and not (kept is None and self.unasked):
            options["use_cache"] = kept is not None
        if kept is None:
            return options
        options |= {name: kept.cache for name in _CACHES if name in takes}
        padded = bool(padding.any())
        columns = np.arange(kept.read, kept.read + ids.shape[1])[None, :]
        if positions and "position_ids" in takes:
            counted = np.maximum(columns - padding[:, None], 0) if padded else columns.repeat(len(ids), axis=0)
            options["position_ids"] = torch.as_tensor(counted, device=self.device)
        if padded:
            seen = np.arange(kept.read + ids.shape[1])[None, :] >= padding[:, None]
            options["attention_mask"] = torch.as_tensor(seen.astype(np.int64), device=self.device)
        return options

    def _forget_lengths(self) -> None:
        """Rotary frequencies of an earlier, longer pass would stay."""
        for module in self._again:
            for name in _grown(module):
                setattr(module, name, 0)


def _parameters(call: Callable[..., Any]) -> frozenset[str]:
    return frozenset(inspect.signature(call).parameters)


def _grown(module: Any) -> list[str]:
    """Where a rotary module remembers the longest text it has seen."""
    return [name for name in vars(module) if name.endswith("max_seq_len_cached")]
