"""The laws before the tokens of a prompt, seen while vLLM reads it: at the speed of reading, by a place that is private to vLLM.

`SamplingParams(prompt_logprobs=0)` makes the model runner keep the hidden states of a prompt and score it. The function that does
so is replaced, in the runner of each worker, by one that observes the rows of our requests and leaves all others to vLLM. Since
this is bound to vLLM's insides, it is tried against the public way before it is relied on.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from freerun.predictors.vllm_engine.ledger import Ledger
from freerun.predictors.vllm_engine.order import Order
from freerun.predictors.vllm_engine.watching import Place

LOGITS_AT_ONCE = 6 << 20
"""Held while a prompt is observed: 24 MiB in float32."""
_LEAST_ROWS = 64


@dataclass(frozen=True)
class Stretch:
    """Prompt tokens of one request that a step has read: hidden state `row + i` is that of token `first + i`."""

    order: Order
    row: int
    first: int
    n: int

    def wanted(self) -> Iterator[tuple[int, Place]]:
        """Rows of hidden states, and the place whose law each one makes."""
        assert self.order.prompt_from is not None
        for i in range(self.n):
            place = self.first + i + 1
            if self.order.prompt_from <= place < self.order.n_prompt:
                yield self.row + i, (self.order.serial, place)


def observe_stretches(
    stretches: list[Stretch], hidden: Any, logits_of: Callable[[Any], Any], ledger: Ledger, n_tokens: int
) -> None:
    """Make and observe the logits of some stretches, a bounded number of rows at a time."""
    rows = [pair for s in stretches for pair in s.wanted()]
    step = max(_LEAST_ROWS, LOGITS_AT_ONCE // n_tokens)
    for a in range(0, len(rows), step):
        some = rows[a : a + step]
        at = [row for row, _ in some]
        whole = at == list(range(at[0], at[0] + len(at)))
        logits = logits_of(hidden[at[0] : at[0] + len(at)] if whole else hidden[at])
        if logits is None:  # another worker has them
            return
        open_ = [i for i, (_, place) in enumerate(some) if ledger.is_open(place)]
        if open_:
            logits = logits if len(open_) == len(some) else logits[open_]
            ledger.observe(logits.float(), [some[i][1] for i in open_])


def watch_prompts(runner: Any, ledger: Ledger, n_tokens: int) -> str:
    """Replace what scores prompts in a model runner; why not, where it is not what is known here, else nothing."""
    if hasattr(runner, "_get_prompt_logprobs_dict"):
        return _watch_legacy(runner, ledger, n_tokens)
    if hasattr(runner, "prompt_logprobs_worker"):  # None in a stage of a pipeline that makes no logits
        return "" if runner.prompt_logprobs_worker is None else _watch_v2(runner, ledger, n_tokens)
    return f"{type(runner).__name__} scores prompts in a way that is not known here"


def _takes(call: Callable[..., Any], *names: str) -> bool:
    return list(inspect.signature(call).parameters) == list(names)


def _watch_legacy(runner: Any, ledger: Ledger, n_tokens: int) -> str:
    original = runner._get_prompt_logprobs_dict
    needed = ("num_prompt_logprobs", "requests", "input_batch", "query_start_loc", "model")
    if not _takes(original, "hidden_states", "num_scheduled_tokens") or not all(hasattr(runner, n) for n in needed):
        return f"{type(runner).__name__} scores prompts otherwise than the versions known here"

    def scored(hidden_states: Any, num_scheduled_tokens: Any) -> Any:
        stretches = []
        for name in list(runner.num_prompt_logprobs):
            request = runner.requests[name]
            order = Order.of_extra(request.sampling_params.extra_args)
            if order is None or order.prompt_from is None:
                continue
            n = num_scheduled_tokens.get(name)
            if n is None:  # preempted while its prompt was read
                continue
            first = request.num_computed_tokens
            row = int(runner.query_start_loc.np[runner.input_batch.req_id_to_index[name]])
            stretches.append(Stretch(order, row, first, min(n, order.n_prompt - first)))
            if first + n >= order.n_prompt:
                del runner.num_prompt_logprobs[name]
        observe_stretches(stretches, hidden_states, runner.model.compute_logits, ledger, n_tokens)
        others = {n for n in runner.num_prompt_logprobs if not _is_ours(runner.requests[n])}
        return original(hidden_states, {n: k for n, k in num_scheduled_tokens.items() if n in others}) if others else {}

    runner._get_prompt_logprobs_dict = scored
    return ""


def _is_ours(request: Any) -> bool:
    order = Order.of_extra(request.sampling_params.extra_args)
    return order is not None and order.prompt_from is not None


def _watch_v2(runner: Any, ledger: Ledger, n_tokens: int) -> str:
    scorer = runner.prompt_logprobs_worker
    original = scorer.compute_prompt_logprobs
    names = ("logits_fn", "hidden_states", "input_batch", "all_token_ids", "num_computed_tokens", "prompt_lens")
    processors = getattr(runner.sampler, "logits_processors", ())
    rows = next((p.rows for p in processors if getattr(p, "ledger", None) is ledger), None)
    if not _takes(original, *names) or rows is None:
        return f"{type(scorer).__name__} scores prompts otherwise than the versions known here"

    def scored(logits_fn: Any, hidden_states: Any, input_batch: Any, *rest: Any) -> Any:
        stretches = []
        for i, slot in enumerate(input_batch.idx_mapping_np.tolist()):
            order = rows.order_at(slot)
            if order is None or order.prompt_from is None:
                continue
            first = int(input_batch.num_computed_prefill_tokens_np[i])
            n = min(int(input_batch.num_scheduled_tokens[i]), order.n_prompt - first)
            if n > 0:
                stretches.append(Stretch(order, int(input_batch.query_start_loc_np[i]), first, n))
            scorer.uses_prompt_logprobs[slot] = False  # nothing of it is made twice
        observe_stretches(stretches, hidden_states, logits_fn, ledger, n_tokens)
        return original(logits_fn, hidden_states, input_batch, *rest)

    scorer.compute_prompt_logprobs = scored
    return ""
