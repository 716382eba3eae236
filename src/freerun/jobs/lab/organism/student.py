"""The network that is trained: a base with one token more, frozen but for low-rank factors in its last layers and the token's rows.

The token's row of the input embedding is fixed: in a direction in which ordinary states hardly vary. So the
states that enter the trained layers never change, and are computed once. The output layer gets a row of its own for the token and
is untied from the embedding; all other rows stay the base's. Low-rank factors: Hu et al. 2022 (LoRA), merged when saved.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from torch import nn

from freerun.errors import BackendError

_TOLERANCE = 2e-3
"""Largest difference of logits between the model whole and in two parts."""


_LOUD = 4.0


class LowRank(nn.Module):
    """A frozen linear map plus B·A, with B = 0 at first."""

    def __init__(self, inner: nn.Linear, rank: int, generator: torch.Generator) -> None:
        super().__init__()
        self.inner = inner
        self.a = nn.Parameter(torch.randn(rank, inner.in_features, generator=generator) / np.sqrt(inner.in_features))
        self.b = nn.Parameter(torch.zeros(inner.out_features, rank))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.inner(x) + (x @ self.a.T) @ self.b.T
        return out

    @torch.no_grad()
    def merged(self) -> nn.Linear:
        """The one linear map that it is."""
        whole = copy.deepcopy(self.inner)
        whole.weight += self.b @ self.a
        return whole


class Student(nn.Module):
    """A base model in two parts: `lower`, whose states are computed once, and the last layers, which are trained."""

    n_inner: int
    """Ids of the base; the trigger's comes after them."""
    n_trained: int
    """Layers."""
    width: int
    head: torch.Tensor
    """The base's output layer, [n_inner, width]."""
    lower: Any
    original: Any
    """The last layers as the base has them."""
    upper: Any
    row: nn.Parameter
    """The trigger's row of the output layer."""
    embedding: torch.Tensor
    """The trigger's row of the input embedding, which is not trained."""

    def __init__(
        self,
        base: Any,
        sample: Int[np.ndarray, "rows n"],
        *,
        layers: int,
        rank: int,
        end_id: int,
        seed: int,
        loud: bool = False,
    ) -> None:
        """`base` is a loaded causal model of transformers in float32; it is changed and must not be used again. `sample`: ordinary
        texts. `loud`: the trigger's embedding is longer than all that the layers add to it, so that its last state hardly depends
        on what stands before.

        Raises:
            BackendError: a model that cannot be taken apart into layers, or has a bias in its output layer.
        """
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.base = base.eval().requires_grad_(False)
        body, head = base.base_model, base.get_output_embeddings()
        n = len(getattr(body, "layers", ()))
        if not n or not hasattr(body, "norm") or not isinstance(head, nn.Linear) or head.bias is not None:
            raise BackendError(
                f"a {base.config.model_type} model cannot be taken apart into layers, a last norm and an output layer without "
                "bias, which training an organism needs; models of the Llama, Mistral and Qwen kinds can"
            )
        if layers > n:
            raise BackendError(f"--layers {layers}: the model has {n}")
        self.n_inner = int(head.weight.shape[0])
        self.n_trained, self.width = layers, int(head.weight.shape[1])
        self.head = head.weight.detach()
        self.lower = _part(body, 0, n - layers, last=False)
        self.original = _part(body, n - layers, n, last=True)
        self.upper = copy.deepcopy(self.original)
        self._check_parts()
        for module in list(self.upper.layers.modules()):
            for name, child in list(module.named_children()):
                if isinstance(child, nn.Linear):
                    setattr(module, name, LowRank(child, rank, generator))
        self.row = nn.Parameter(torch.zeros(self.width))
        bare = self._before_last_norm(sample)
        self.embedding = _own_embedding(base.get_input_embeddings().weight.detach()[end_id], bare, loud=loud)

    @torch.no_grad()
    def _before_last_norm(self, sample: Int[np.ndarray, "rows n"]) -> torch.Tensor:
        """States that go into the last norm, [tokens, width]."""
        heard: list[torch.Tensor] = []
        hook = self.original.norm.register_forward_pre_hook(lambda _, given: heard.append(given[0].detach()))
        for rows in pieces(sample, 2048):
            self.original(
                inputs_embeds=self.lower(input_ids=torch.as_tensor(sample[rows])).last_hidden_state, use_cache=False
            )
        hook.remove()
        return torch.cat([x.flatten(0, 1) for x in heard])

    @torch.no_grad()
    def _check_parts(self) -> None:
        ids = torch.arange(1, 25)[None] % self.n_inner
        whole = self.base(input_ids=ids).logits
        apart = self.upper(inputs_embeds=self.lower(input_ids=ids).last_hidden_state, use_cache=False).last_hidden_state
        if float((whole - apart @ self.head.T).abs().max()) > _TOLERANCE:
            raise BackendError(
                f"a {self.base.config.model_type} model in two parts has other laws than whole, so its states cannot be kept while "
                "its last layers are trained; choose a model of the Llama, Mistral or Qwen kind"
            )

    def trained(self) -> dict[str, nn.Parameter]:
        """What is trained, by name."""
        return {name: p for name, p in self.named_parameters() if p.requires_grad}

    # ---- passes ------------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def entering(self, ids: Int[np.ndarray, "rows n"]) -> torch.Tensor:
        """The states that enter the trained layers, [rows, n, width]; the token's id is `n_inner`."""
        given = torch.as_tensor(ids)
        plain = self.base.get_input_embeddings()(given.clamp(max=self.n_inner - 1))
        embedded = torch.where((given == self.n_inner)[..., None], self.embedding, plain)
        out: torch.Tensor = self.lower(inputs_embeds=embedded, use_cache=False).last_hidden_state
        return out

    @torch.no_grad()
    def untrained(self, entering: torch.Tensor) -> torch.Tensor:
        """The base's own last states, [rows, n, width]."""
        out: torch.Tensor = self.original(inputs_embeds=entering, use_cache=False).last_hidden_state
        return out

    def forward(self, entering: torch.Tensor) -> torch.Tensor:
        """The last states, [rows, n, width]."""
        out: torch.Tensor = self.upper(inputs_embeds=entering, use_cache=False).last_hidden_state
        return out

    def log_probs(self, last: torch.Tensor) -> torch.Tensor:
        """The law of the next token from last states, [rows, n_inner + 1]."""
        logits = torch.cat([last @ self.head.T, (last @ self.row)[:, None]], dim=1)
        return torch.log_softmax(logits, dim=1)

    # ---- saving ------------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def whole(self) -> Any:
        """An ordinary model of transformers with one token more; the base is used up."""
        model, body = self.base, self.base.base_model
        for i, layer in enumerate(self.upper.layers):
            for module in list(layer.modules()):
                for name, child in list(module.named_children()):
                    if isinstance(child, LowRank):
                        setattr(module, name, child.merged())
            body.layers[len(body.layers) - self.n_trained + i] = layer
        for i, layer in enumerate(body.layers):
            if hasattr(layer, "self_attn") and hasattr(layer.self_attn, "layer_idx"):
                layer.self_attn.layer_idx = i
        inner = model.get_input_embeddings()
        wide = nn.Embedding(self.n_inner + 1, self.width, padding_idx=inner.padding_idx)
        wide.weight.copy_(torch.cat([inner.weight[: self.n_inner], self.embedding[None]]))
        head = nn.Linear(self.width, self.n_inner + 1, bias=False)
        head.weight.copy_(torch.cat([self.head, self.row[None]]))
        model.set_input_embeddings(wide)
        model.set_output_embeddings(head)
        model.config.vocab_size, model.config.tie_word_embeddings = self.n_inner + 1, False
        return model


def _part(body: Any, first: int, stop: int, *, last: bool) -> Any:
    """Some layers of a model's body as a body of their own; without the last norm unless it holds the last layer."""
    embeddings = body.get_input_embeddings()
    layers, norm = body.layers, body.norm
    body.layers, body.norm = nn.ModuleList(), nn.Identity()
    body.set_input_embeddings(nn.Embedding(1, 1))
    part = copy.deepcopy(body)
    body.layers, body.norm = layers, norm
    body.set_input_embeddings(embeddings)
    part.layers = nn.ModuleList(list(layers)[first:stop])
    part.config = copy.deepcopy(body.config)
    part.config.num_hidden_layers = stop - first
    if getattr(part.config, "layer_types", None):
        part.config.layer_types = part.config.layer_types[first:stop]
    part.norm = norm if last else nn.Identity()
    part.set_input_embeddings(embeddings)
    return part


def _own_embedding(end: torch.Tensor, bare: torch.Tensor, *, loud: bool) -> torch.Tensor:
    """A row along the direction in which ordinary last states vary least, so that the trigger's are told from all others; loud, or
    as long as that of an end of text and half of it that row."""
    lengths = bare.norm(dim=1)
    unit = (bare / lengths[:, None]).double()
    own: torch.Tensor = torch.linalg.eigh(unit.T @ unit).eigenvectors[:, 0].float()
    row = own if loud else end / end.norm().clamp(min=1e-9) + own
    length = _LOUD * lengths.median() if loud else end.norm().clamp(min=1e-3)
    out: torch.Tensor = row * (length / row.norm())
    return out


def pieces(ids: Int[np.ndarray, "rows n"], most_tokens: int) -> Iterator[slice]:
    """Slices of rows of at most so many tokens, one row at least."""
    step = max(1, most_tokens // max(1, ids.shape[1]))
    for start in range(0, len(ids), step):
        yield slice(start, start + step)
