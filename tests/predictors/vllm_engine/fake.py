"""vLLM as its two model runners show it to logits processors: a scheduler that reads prompts in pieces, lets rows change places,
preempts, and runs one step too far. Laws come from a function, so nothing of vLLM is needed.

Where vLLM is installed its own base classes are used, else stand-ins under their names.
"""

from __future__ import annotations

import enum
import importlib.util
import sys
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import torch

from freerun.predictors.base import Predictor
from freerun.predictors.huggingface import HuggingFacePredictor
from freerun.predictors.rules import Identity
from freerun.predictors.servers.words import Words
from freerun.predictors.vllm_engine.order import Order
from freerun.predictors.vllm_engine.predictor import VLLMEngine
from freerun.predictors.vllm_engine.runs import Written

_LEGACY = "vllm.v1.sample.logits_processor"
_V2 = "vllm.v1.worker.gpu.sample.logits_processor"


class Direction(enum.Enum):
    UNIDIRECTIONAL = enum.auto()
    SWAP = enum.auto()


def processors() -> tuple[Any, Any]:
    """Both processor classes: over vLLM's base classes, or over stand-ins that are there while they are imported."""
    names = {".".join(n.split(".")[:i]) for n in (_LEGACY, _V2) for i in range(1, n.count(".") + 2)}
    missing = importlib.util.find_spec("vllm") is None
    if missing:
        sys.modules |= {name: ModuleType(name) for name in names}
        for name in (_LEGACY, _V2):
            sys.modules[name].LogitsProcessor = type("LogitsProcessor", (), {})  # type: ignore[attr-defined]
    try:
        from freerun.predictors.vllm_engine.legacy_processor import LegacyProcessor
        from freerun.predictors.vllm_engine.v2_processor import V2Processor
    finally:
        for name in names if missing else ():
            del sys.modules[name]
    return LegacyProcessor, V2Processor


@dataclass(eq=False)
class Request:
    params: Any
    prompt: list[int]
    ends: tuple[int, ...]
    most: int
    output: list[int] = field(default_factory=list)
    computed: int = 0
    slot: int = -1
    restarted_at: int = 0
    """Tokens that were known when it was last (re)started."""

    @property
    def known(self) -> list[int]:
        return self.prompt + self.output


class FakeEngine:
    """An `Engine` over a law. `logits_of`: of every token of a text, [tokens, vocabulary].

    `tokens_a_step`: what a step may compute, so that prompts are read in pieces. `preempt_every`: steps after which the youngest
    request loses all that was computed of it. `tamper`: what else acts on the logits, after the processor.
    """

    def __init__(
        self,
        logits_of: Callable[[list[int]], torch.Tensor],
        *,
        v2: bool = False,
        rows: int = 4,
        tokens_a_step: int = 11,
        preempt_every: int | None = None,
        seed: int = 0,
        tamper: Callable[[torch.Tensor], None] = lambda _: None,
    ) -> None:
        self.legacy_processor, self.v2_processor = processors()
        from freerun.predictors.vllm_engine.worker import WorkerExtension

        self.logits_of, self.v2, self.rows, self.tokens_a_step = logits_of, v2, rows, tokens_a_step
        self.preempt_every, self.rng, self.tamper = preempt_every, np.random.default_rng(seed), tamper
        n_tokens = logits_of([0]).shape[1]
        self.config = SimpleNamespace(
            instance_id=f"fake-{id(self)}",
            speculative_config=None,
            model_config=SimpleNamespace(get_vocab_size=lambda: n_tokens),
        )
        self.worker = WorkerExtension()
        self.worker.vllm_config = self.config
        self.worker.model_runner = V2Runner(self) if v2 else LegacyRunner(self)
        self.waiting: deque[Request] = deque()
        self.running: list[Request] = []
        self.n_steps = self.n_preempted = self.n_partial = 0

    # ---- what predictors ask ---------------------------------------------------------------------------------------

    def add(self, order: Order, ends: tuple[int, ...]) -> None:
        params = SimpleNamespace(
            extra_args=order.to_extra(), prompt_logprobs=None if order.prompt_from is None else 0, name=order.serial
        )
        self.waiting.append(Request(params, order.ids[: order.n_prompt].tolist(), ends, order.n_new))

    def abort(self, serials: Sequence[int]) -> None:
        self.waiting = deque(r for r in self.waiting if r.params.name not in serials)
        self.running = [r for r in self.running if r.params.name not in serials]

    def call(self, method: str, *arguments: Any) -> list[Any]:
        return [getattr(self.worker, method)(*arguments)]

    def step(self) -> list[Written]:
        self.n_steps += 1
        if self.preempt_every and self.n_steps % self.preempt_every == 0 and len(self.running) > 1:
            last = self.running.pop()
            last.computed, last.slot = 0, -1
            self.waiting.appendleft(last)
            self.n_preempted += 1
        while self.waiting and len(self.running) < self.rows:
            self.running.append(self.waiting.popleft())
        scheduled: dict[int, int] = {}
        left = self.tokens_a_step
        for i, request in enumerate(self.running):
            n = min(left, len(request.known) - request.computed)
            if n > 0:
                scheduled[i] = n
                left -= n
        work = [(self.running[i], n) for i, n in scheduled.items()]
        tokens = self.worker.model_runner.run(work)
        out = []
        for (request, n), token in zip(work, tokens, strict=True):
            request.computed += n
            if request.computed < len(request.known):
                self.n_partial += 1
                continue
            request.output.append(token)
            ended = token in request.ends or len(request.output) == request.most
            out.append(Written(request.params.name, [token], ended))
            if ended:
                self.running.remove(request)
        return out

    def hidden(self, request: Request, n: int) -> torch.Tensor:
        """Of the tokens of this step; here they are the logits themselves."""
        return self.logits_of(request.known[: request.computed + n])[request.computed :]


class LegacyRunner:
    """A batch whose rows keep their places from step to step, and are told of changes."""

    def __init__(self, engine: FakeEngine) -> None:
        self.engine, self.processor = engine, engine.legacy_processor(engine.config, torch.device("cpu"), False)
        self.batch: list[Request] = []
        self.num_prompt_logprobs: dict[str, int] = {}
        self.requests: dict[str, Any] = {}
        self.input_batch = SimpleNamespace(req_id_to_index={})
        self.query_start_loc = SimpleNamespace(np=np.zeros(0, np.int64))
        self.model = SimpleNamespace(compute_logits=lambda hidden: hidden.clone())
        self.n_moves = 0

    def run(self, work: Sequence[tuple[Request, int]]) -> list[int]:
        now = [request for request, _ in work]
        self._update(now)
        n_of = {id(request): n for request, n in work}
        hidden = [self.engine.hidden(r, n_of[id(r)]) for r in self.batch]
        logits = torch.stack([h[-1] for h in hidden]) if hidden else torch.zeros(0, 1)
        logits = self.processor.apply(logits.clone())
        self.engine.tamper(logits)
        tokens = {id(r): int(row.argmax()) for r, row in zip(self.batch, logits, strict=True)}
        for r, _ in work:
            name = str(r.params.name)
            if name not in self.requests and r.params.prompt_logprobs is not None:
                self.num_prompt_logprobs[name] = 0
            self.requests[name] = SimpleNamespace(sampling_params=r.params, num_computed_tokens=r.computed)
        self.input_batch.req_id_to_index = {str(r.params.name): i for i, r in enumerate(self.batch)}
        self.query_start_loc.np = np.cumsum([0, *(len(h) for h in hidden)])
        if hidden:
            self._get_prompt_logprobs_dict(torch.cat(hidden), {str(r.params.name): n for r, n in work})
        return [tokens[id(r)] for r, _ in work]

    def _get_prompt_logprobs_dict(self, hidden_states: Any, num_scheduled_tokens: Any) -> dict[str, Any]:
        return {}

    def _update(self, now: Sequence[Request]) -> None:
        """As vLLM's input batch does: holes are filled by new requests, then by the last ones; then some change places."""
        places: list[Request | None] = [r if any(r is x for x in now) else None for r in self.batch]
        holes = [i for i, r in enumerate(places) if r is None]
        added = []
        for request in now:
            if any(request is r for r in places):
                continue
            if holes:
                at = holes.pop(0)
                places[at] = request
            else:
                at = len(places)
                places.append(request)
            added.append((at, request.params, request.prompt, request.output))
        removed, moved = list(holes), []
        while holes:
            last = len(places) - 1
            if places[last] is None:
                places.pop()
                holes = [h for h in holes if h < last]
                continue
            hole = holes.pop(0)
            places[hole] = places.pop()
            moved.append((last, hole, Direction.UNIDIRECTIONAL))
        if len(places) > 1 and self.engine.rng.random() < 0.3:
            a, b = self.engine.rng.choice(len(places), 2, replace=False).tolist()
            places[a], places[b] = places[b], places[a]
            moved.append((a, b, Direction.SWAP))
        self.n_moves += len(moved)
        self.batch = [r for r in places if r is not None]
        changed = removed or added or moved
        self.processor.update_state(
            SimpleNamespace(batch_size=len(self.batch), removed=removed, added=added, moved=moved) if changed else None
        )


class V2Runner:
    """Slots that requests keep, and rows in another order at every step."""

    def __init__(self, engine: FakeEngine) -> None:
        n = 2 * engine.rows
        self.engine, self.free = engine, list(range(n))
        self.prefill_len = SimpleNamespace(np=np.zeros(n, np.int32))
        self.processor = engine.v2_processor(engine.config, SimpleNamespace(prefill_len=self.prefill_len))
        self.sampler = SimpleNamespace(logits_processors=[self.processor])
        self.prompt_logprobs_worker = Scorer(n)
        self.held: list[Request] = []
        self._slots: dict[int, int] = {}

    def run(self, work: Sequence[tuple[Request, int]]) -> list[int]:
        self._enter([r for r, _ in work])
        order = self.engine.rng.permutation(len(work))
        rows = [work[i] for i in order]
        hidden = [self.engine.hidden(r, n) for r, n in rows]
        if not hidden:
            return []
        slots = torch.tensor([r.slot for r, _ in rows])
        pos = torch.tensor([r.computed + n - 1 for r, n in rows])
        logits = torch.stack([h[-1] for h in hidden]).clone()
        logits = self.processor.apply(logits, SimpleNamespace(expanded_idx_mapping=slots, pos=pos))
        self.engine.tamper(logits)
        batch = SimpleNamespace(
            idx_mapping_np=slots.numpy(),
            num_computed_prefill_tokens_np=np.array([r.computed for r, _ in rows]),
            num_scheduled_tokens=np.array([n for _, n in rows]),
            query_start_loc_np=np.cumsum([0, *(len(h) for h in hidden)]),
        )
        self.prompt_logprobs_worker.compute_prompt_logprobs(
            lambda h: h.clone(), torch.cat(hidden), batch, None, None, None
        )
        tokens = [0] * len(work)
        for i, row in zip(order, logits, strict=True):
            tokens[i] = int(row.argmax())
        return tokens

    def _enter(self, now: Iterable[Request]) -> None:
        gone_now = [r for r in self.held if r.slot < 0 or not any(r is x for x in self.engine.running)]
        for gone in gone_now:
            self.held.remove(gone)
            self.free.append(self._slots.pop(id(gone)))
        for request in now:
            if request.slot >= 0 and any(request is x for x in self.held):
                continue
            request.slot = self.free.pop(0)
            self._slots[id(request)] = request.slot
            self.held.append(request)
            self.prefill_len.np[request.slot] = len(request.known)
            assert self.processor.add_request(request.slot, request.params)


class Scorer:
    def __init__(self, n: int) -> None:
        self.uses_prompt_logprobs = np.zeros(n, bool)

    def compute_prompt_logprobs(
        self,
        logits_fn: Any,
        hidden_states: Any,
        input_batch: Any,
        all_token_ids: Any,
        num_computed_tokens: Any,
        prompt_lens: Any,
    ) -> dict[str, Any]:
        return {}


# ---- a predictor over it -----------------------------------------------------------------------------------------------


class WordsOf(Words):
    """The tokens of another predictor."""

    def __init__(self, like: Predictor) -> None:
        self.n_tokens, self.end_ids, self.markers = like.n_tokens, like.end_ids, like.markers
        self.lead, self.origin, self._like = like.context.lead, "another predictor", like

    def encode(self, text: str) -> list[int]:
        return list(self._like.encode(text))

    def token_bytes(self, token_id: int) -> bytes:
        return self._like.token_bytes(token_id)


def engine_over(like: HuggingFacePredictor, *, reads: bool = True, **options: Any) -> VLLMEngine:
    """A transformers model as vLLM would run it, in an engine that is not there; `options` are the `FakeEngine`'s."""

    @lru_cache(maxsize=4096)
    def logits(ids: tuple[int, ...]) -> torch.Tensor:
        with torch.inference_mode():
            return like.passes.plain_logits(np.array([ids], np.int64))[0].float().clone()

    engine = FakeEngine(lambda ids: logits(tuple(ids)), **options)
    window = like.context.window
    assert window is not None
    model = VLLMEngine(
        engine,
        WordsOf(like),
        identity=Identity("vllm-engine/fake", "fake"),
        longest=window + len(like.context.lead) + 1,
        at_once=64,
    )
    if reads:
        assert engine.call("freerun_watch_prompts") == [""]
    model.reads_prompts = reads
    return model
