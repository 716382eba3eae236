"""Train one member until its validation loss meets the target."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from freerun.jobs.lab.disagreement.blocks import Network, build_network
from freerun.jobs.lab.disagreement.optimizers import build_optimizer
from freerun.jobs.lab.disagreement.plan import DisagreementPlan, stream
from freerun.jobs.lab.disagreement.texts import texts_of
from freerun.results.disagreement import Member, TrainedMember

CLIP = 1.0
_HALVINGS = 6
Weights = dict[str, Tensor]


@dataclass(frozen=True)
class Trained:
    """A member's record and its weights, as safetensors holds them."""

    record: TrainedMember
    weights: bytes


def train_member(plan: DisagreementPlan, target_nats: float, member: Member) -> Trained:
    """Train a member: the same plan and member give the same weights, on one kind of processor.

    Between the last two evaluations the loss passes the target; the weights that are kept lie on the line between the two, where
    the loss meets it, so that members do not differ by how far they overshoot.
    """
    import safetensors.torch

    torch.set_num_threads(1)
    began = time.monotonic()
    texts = texts_of(plan)
    network = new_network(plan, member, texts.n_tokens)
    optimizer = build_optimizer(member.optimizer, network)
    train, validation = torch.as_tensor(texts.train), torch.as_tensor(texts.validation)
    curve = [(0, loss_of(network, validation))]
    before = _copied(network)
    training, step = 0.0, 0
    for step, rows in enumerate(batches(plan, member, len(train)), 1):
        tick = time.perf_counter()
        _set_rate(optimizer, step, plan)
        take_step(network, optimizer, train[rows])
        training += time.perf_counter() - tick
        if step % plan.evaluate_every and step < plan.steps:
            continue
        curve.append((step, loss_of(network, validation)))
        if curve[-1][1] <= target_nats:
            break
        before = _copied(network)
    reached = curve[-1][1] <= target_nats
    final = _meet(network, before, validation, target_nats) if reached else curve[-1][1]
    weights = safetensors.torch.save(_copied(network))
    record = TrainedMember(
        member=member,
        parameters=network.n_parameters,
        steps=step,
        reached=reached,
        validation_nats=final,
        seconds=round(time.monotonic() - began, 2),
        tokens_per_second=round(step * plan.batch * plan.tokens / max(training, 1e-9), 1),
        curve=tuple((s, round(v, 5)) for s, v in curve),
        weights_sha256=hashlib.sha256(weights).hexdigest(),
    )
    return Trained(record, weights)


def new_network(plan: DisagreementPlan, member: Member, n_tokens: int) -> Network:
    """A member before its training."""
    return build_network(member.architecture, member.size, n_tokens, seed=1000 * plan.seed + member.seed)


def batches(plan: DisagreementPlan, member: Member, n_texts: int) -> Iterator[Int[Tensor, " batch"]]:
    """The order of the data: all texts once, then all again in another order."""
    rng = stream(plan.seed, "order", member.order)
    queue = np.zeros(0, np.int64)
    for _ in range(plan.steps):
        while queue.size < plan.batch:
            queue = np.concatenate([queue, rng.permutation(n_texts)])
        yield torch.as_tensor(queue[: plan.batch])
        queue = queue[plan.batch :]


def take_step(network: Network, optimizer: torch.optim.Optimizer, ids: Int[Tensor, "batch tokens"]) -> None:
    """One step down the gradient of the mean loss a token, its norm at most `CLIP`."""
    loss = F.cross_entropy(network(ids).flatten(0, 1), ids.flatten())
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(network.parameters(), CLIP)
    optimizer.step()


def _set_rate(optimizer: torch.optim.Optimizer, step: int, plan: DisagreementPlan) -> None:
    """A rate that rises, then falls on a line to a tenth at the last step."""
    along = max(0.0, (step - plan.warmup_steps) / max(1, plan.steps - plan.warmup_steps))
    share = min(1.0, step / plan.warmup_steps) * (1.0 - 0.9 * along)
    for group in optimizer.param_groups:
        group["lr"] = group.setdefault("peak", group["lr"]) * share


@torch.no_grad()
def loss_of(network: Network, ids: Int[Tensor, "texts tokens"], *, batch: int = 128) -> float:
    """Mean loss, nats a token."""
    total = 0.0
    for part in torch.split(ids, batch):
        total += float(F.cross_entropy(network(part).flatten(0, 1), part.flatten(), reduction="sum").double())
    return total / ids.numel()


@torch.no_grad()
def log_laws(network: Network, ids: Int[np.ndarray, "texts tokens"]) -> Float[np.ndarray, "texts tokens vocabulary"]:
    """Log-probabilities of every token of the vocabulary before every token."""
    return np.asarray(torch.log_softmax(network(torch.as_tensor(ids)).double(), -1).numpy())


def _copied(network: Network) -> Weights:
    return {name: value.detach().clone() for name, value in network.state_dict().items()}


def _meet(network: Network, before: Weights, validation: Int[Tensor, "texts tokens"], target_nats: float) -> float:
    """Put the weights where the loss first meets the target on the line from `before` to the present ones; returns the loss."""
    after, low, high = _copied(network), 0.0, 1.0

    def at(share: float) -> float:
        network.load_state_dict({name: torch.lerp(before[name], after[name], share) for name in after})
        return loss_of(network, validation)

    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if at(middle) <= target_nats else (middle, high)
    return at(high)


def loaded(plan: DisagreementPlan, member: Member, weights: bytes) -> Network:
    """A trained member, ready to be read."""
    import safetensors.torch

    network = new_network(plan, member, texts_of(plan).n_tokens)
    network.load_state_dict(safetensors.torch.load(weights))
    return network.eval()


@torch.no_grad()
def sampled(
    network: Network, uniforms: Float[np.ndarray, "texts tokens"], *, temperature: float = 1.0
) -> Int[np.ndarray, "texts tokens"]:
    """Texts of a member by inverse CDF, at a temperature; each token is drawn from the whole law."""
    n, length = uniforms.shape
    ids = torch.zeros((n, length), dtype=torch.long)
    for t in range(length):
        logits = network(ids[:, : t + 1])[:, -1].double() / temperature
        through = torch.softmax(logits, -1).cumsum(-1)
        wanted = torch.as_tensor(uniforms[:, t : t + 1]) * through[:, -1:]
        ids[:, t] = torch.searchsorted(through, wanted, right=True)[:, 0].clamp(max=network.n_tokens - 1)
    return np.asarray(ids.numpy())
