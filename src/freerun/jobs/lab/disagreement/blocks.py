"""The architectures: small networks that read tokens and give the law of the next one, all behind one interface.

Before every text stands a token of its own, so that the first token of a text has a law too.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from freerun.errors import UsageError, nearest

HEADS = 4
_CONVOLUTION = 4
"""Tokens that the short convolution of a recurrence looks at."""


class Network(nn.Module):
    """A stack of blocks between an embedding and an output layer, which share no weights."""

    def __init__(self, n_tokens: int, width: int, blocks: list[nn.Module]) -> None:
        super().__init__()
        self.n_tokens = n_tokens
        self.embedding = nn.Embedding(n_tokens + 1, width)
        self.blocks = nn.ModuleList(blocks)
        self.norm = nn.RMSNorm(width)
        self.head = nn.Linear(width, n_tokens, bias=False)
        nn.init.normal_(self.embedding.weight, std=0.5)
        nn.init.normal_(self.head.weight, std=0.02)

    def forward(self, ids: Int[Tensor, "texts tokens"]) -> Float[Tensor, "texts tokens vocabulary"]:
        """Logits of the law of every token, given those before it."""
        out: Tensor = self.head(self.norm(self.states(ids)[-1]))
        return out

    def states(self, ids: Int[Tensor, "texts tokens"]) -> list[Float[Tensor, "texts tokens width"]]:
        """What each block leaves at the place from which a token is predicted: the tokens before it have been read."""
        x: Tensor = self.embedding(F.pad(ids[:, :-1], (1, 0), value=self.n_tokens))
        out = []
        for block in self.blocks:
            x = block(x)
            out.append(x)
        return out

    @property
    def n_parameters(self) -> int:
        return sum(p.numel() for p in self.parameters())


class SwiGLU(nn.Module):
    """A gated feed-forward layer (Shazeer 2020, arXiv:2002.05202)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        inner = 8 * width // 3 // 8 * 8
        self.norm = nn.RMSNorm(width)
        self.into = nn.Linear(width, 2 * inner, bias=False)
        self.out = nn.Linear(inner, width, bias=False)

    def forward(self, x: Float[Tensor, "texts tokens width"]) -> Float[Tensor, "texts tokens width"]:
        gate, value = self.into(self.norm(x)).chunk(2, -1)
        out: Tensor = x + self.out(F.silu(gate) * value)
        return out


class Attention(nn.Module):
    """Causal attention with rotary positions (Su et al. 2021, arXiv:2104.09864) and normalised queries and keys, then SwiGLU."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.RMSNorm(width)
        self.mix = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        self.head_norms = nn.ModuleList([nn.RMSNorm(width // HEADS), nn.RMSNorm(width // HEADS)])
        self.feed = SwiGLU(width)

    def forward(self, x: Float[Tensor, "texts tokens width"]) -> Float[Tensor, "texts tokens width"]:
        n, t, width = x.shape
        q, k, v = self.mix(self.norm(x)).view(n, t, 3, HEADS, -1).permute(2, 0, 3, 1, 4)
        turn = _rotation(t, width // HEADS)
        q, k = (_turned(norm(part), turn) for norm, part in zip(self.head_norms, (q, k), strict=True))
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        out: Tensor = self.feed(x + self.out(mixed.transpose(1, 2).reshape(n, t, width)))
        return out


def _rotation(n_tokens: int, width: int) -> tuple[Tensor, Tensor]:
    angles = torch.arange(n_tokens)[:, None] * 10_000.0 ** (-torch.arange(0, width, 2) / width)
    return angles.cos(), angles.sin()


def _turned(x: Tensor, turn: tuple[Tensor, Tensor]) -> Tensor:
    cos, sin = turn
    a, b = x.chunk(2, -1)
    return torch.cat([a * cos - b * sin, a * sin + b * cos], -1)


class GatedRecurrence(nn.Module):
    """A state-space block: linear attention whose state decays by a gate of each token, a number a head, then SwiGLU.

    S_t = a_t S_{t−1} + k_t v_tᵀ, y_t = q_t S_t, worked out for all tokens at once as (QKᵀ ⊙ L)V with L_ts = a_{s+1} … a_t (Dao & Gu
    2024, arXiv:2405.21060); queries, keys and values pass a short convolution first.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.RMSNorm(width)
        self.mix = nn.Linear(width, 3 * width, bias=False)
        self.convolution = nn.Parameter(torch.randn(_CONVOLUTION, 3 * width) / _CONVOLUTION)
        self.decay = nn.Linear(width, HEADS)
        self.gate = nn.Linear(width, width, bias=False)
        self.inner_norm = nn.RMSNorm(width // HEADS)
        self.out = nn.Linear(width, width, bias=False)
        self.feed = SwiGLU(width)
        with torch.no_grad():
            self.decay.bias.copy_(torch.linspace(1.0, 5.0, HEADS))  # memories of about 4 to 150 tokens

    def forward(self, x: Float[Tensor, "texts tokens width"]) -> Float[Tensor, "texts tokens width"]:
        n, t, width = x.shape
        inside = self.norm(x)
        padded = F.pad(self.mix(inside), (0, 0, _CONVOLUTION - 1, 0))
        short = sum(padded[:, i : i + t] * self.convolution[i] for i in range(_CONVOLUTION))
        assert isinstance(short, Tensor)
        q, k, v = F.silu(short).view(n, t, 3, HEADS, -1).permute(2, 0, 3, 1, 4)
        kept = F.logsigmoid(self.decay(inside)).transpose(1, 2).cumsum(-1)  # texts × heads × tokens
        later = kept[..., :, None] - kept[..., None, :]
        shape = later.masked_fill(torch.ones(t, t, dtype=torch.bool).triu(1), -torch.inf).exp()
        mixed = (q @ k.transpose(-1, -2) * (width // HEADS) ** -0.5 * shape) @ v
        mixed = self.inner_norm(mixed).transpose(1, 2).reshape(n, t, width) * F.silu(self.gate(inside))
        out: Tensor = self.feed(x + self.out(mixed))
        return out


class Lstm(nn.Module):
    """One layer of long short-term memory (Hochreiter & Schmidhuber 1997)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.cell = nn.LSTM(width, width, batch_first=True)

    def forward(self, x: Float[Tensor, "texts tokens width"]) -> Float[Tensor, "texts tokens width"]:
        out: Tensor = self.cell(x)[0]
        return out


WIDTHS: dict[str, dict[str, int]] = {
    "small": {"transformer": 32, "recurrence": 32, "lstm": 48},
    "large": {"transformer": 64, "recurrence": 64, "lstm": 96},
}
"""Widths at which the architectures have about as many parameters."""
N_BLOCKS = 2
_KINDS: dict[str, type[nn.Module]] = {"transformer": Attention, "recurrence": GatedRecurrence, "lstm": Lstm}
ARCHITECTURES: dict[str, str] = {
    "transformer": "decoder transformer: RMSNorm, rotary positions, normalised queries and keys, SwiGLU",
    "recurrence": "gated linear recurrence (a state-space block) with a short convolution, SwiGLU",
    "lstm": "two layers of LSTM",
}


def build_network(architecture: str, size: str, n_tokens: int, *, seed: int) -> Network:
    """A network with the initial weights of a seed.

    Raises:
        UsageError: no such architecture or size.
    """
    for what, name, names in (("architecture", architecture, _KINDS), ("size", size, WIDTHS)):
        if name not in names:
            raise UsageError(f"no {what} {name!r}{nearest(name, names)}; there are {', '.join(names)}")
    width = WIDTHS[size][architecture]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Network(n_tokens, width, [_KINDS[architecture](width) for _ in range(N_BLOCKS)])
