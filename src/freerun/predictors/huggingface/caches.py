"""What a transformers model keeps of what it has read: rows taken, joined and counted over every kind of cache layer."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer


@dataclass
class Kept:
    """A cache and how many tokens a row it has read, padding included. A pass changes both in place."""

    cache: Any
    read: int = 0

    def rows(self, index: torch.Tensor) -> Kept:
        """Some rows in tensors of their own; repeated indices repeat a row."""
        cache = _apart(self.cache)
        cache.layers = [_apart(layer) for layer in self.cache.layers]
        for layer in cache.layers:
            layer.__dict__.pop("_room", None)
            layer.reorder_cache(index)
        return Kept(cache, self.read)

    @property
    def nbytes(self) -> int:
        """Memory of all tensors, bytes."""
        found = {t.data_ptr(): t.numel() * t.element_size() for layer in self.cache.layers for t in _tensors(layer)}
        return sum(found.values())


def empty_cache(config: Any) -> Kept:
    """What a model has read before it reads anything; plain attention layers keep room to grow."""
    cache = DynamicCache(config=config)
    cache.layers = [GrowingLayer() if type(layer) is DynamicLayer else layer for layer in cache.layers]
    return Kept(cache)


def joined(parts: Sequence[Kept], held: int, config: Any) -> Kept | None:
    """The last `held` entries of several caches, rows one after another, the shorter ones moved to the right; None where a layer
    is not plain attention."""
    if any(type(layer) is not GrowingLayer for part in parts for layer in part.cache.layers):
        return None
    whole = empty_cache(config)
    for i, layer in enumerate(whole.cache.layers):
        layer.fill([(p.cache.layers[i].keys, p.cache.layers[i].values) for p in parts], held)
    whole.read = held
    return whole


def _apart(thing: Any) -> Any:
    """A copy with dicts and lists of its own, tensors shared."""
    other = copy.copy(thing)
    for name, value in vars(thing).items():
        if isinstance(value, (dict, list)):
            other.__dict__[name] = copy.copy(value)
    return other


def _tensors(layer: Any) -> Iterator[torch.Tensor]:
    for name, value in vars(layer).items():
        if name != "_room":
            found = (
                value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else [value]
            )
            yield from (x for x in found if isinstance(x, torch.Tensor) and x.dim())


class GrowingLayer(DynamicLayer):  # type: ignore[misc]  # transformers is not typed
    """A cache layer that keeps spare room, so that one more token is written in place and nothing is copied."""

    keys: Any
    values: Any

    def update(self, key_states: Any, value_states: Any, *args: Any, **kwargs: Any) -> tuple[Any, Any]:
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        held = self.get_seq_length()
        needed = held + key_states.shape[-2]
        room = getattr(self, "_room", None)
        if room is None or room[0].shape[-2] < needed or room[0].data_ptr() != self.keys.data_ptr():
            capacity = needed + max(64, min(needed // 2, 512))
            room = tuple(x.new_empty((*x.shape[:-2], capacity, x.shape[-1])) for x in (key_states, value_states))
            if held:
                room[0][..., :held, :] = self.keys
                room[1][..., :held, :] = self.values
            self._room = room
        room[0][..., held:needed, :] = key_states
        room[1][..., held:needed, :] = value_states
        self.keys, self.values = room[0][..., :needed, :], room[1][..., :needed, :]
        return self.keys, self.values

    def fill(self, parts: Sequence[tuple[torch.Tensor, torch.Tensor]], held: int) -> None:
        """Take the last `held` entries of several caches, rows one after another, shorter ones moved to the right."""
        first = parts[0][0]
        self.lazy_initialization(*parts[0])
        n_rows = sum(keys.shape[0] for keys, _ in parts)
        capacity = held + max(64, min(held // 2, 512))
        self._room = tuple(x.new_zeros((n_rows, first.shape[1], capacity, x.shape[-1])) for x in parts[0])
        row = 0
        for keys_and_values in parts:
            n, length = keys_and_values[0].shape[0], min(held, keys_and_values[0].shape[-2])
            for room, x in zip(self._room, keys_and_values, strict=True):
                room[row : row + n, :, held - length : held] = x[:, :, x.shape[-2] - length :]
            row += n
        self.keys, self.values = self._room[0][..., :held, :], self._room[1][..., :held, :]


class HeadInput:
    """What the output head was last given: the hidden states after the final norm. Listening costs nothing, and unlike
    `output_hidden_states` keeps no other layer."""

    def __init__(self, model: Any) -> None:
        self.heard: torch.Tensor | None = None
        layer = model.get_output_embeddings()
        self._handle = None if layer is None else layer.register_forward_pre_hook(self._listen)

    def _listen(self, _: Any, inputs: tuple[Any, ...]) -> None:
        self.heard = inputs[0] if inputs else None

    def stop(self) -> None:
        """Listen no longer."""
        if self._handle is not None:
            self._handle.remove()

    def take(self) -> torch.Tensor | None:
        """The states of the last pass, once."""
        heard, self.heard = self.heard, None
        return heard
