"""What is asked of vLLM's workers from outside, in whatever process they are: the methods are called by `collective_rpc`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from freerun.predictors.vllm_engine.ledger import ledger_of
from freerun.predictors.vllm_engine.prompt_rows import watch_prompts


class WorkerExtension:
    """Joined to the worker's class by `worker_extension_cls`, where its names become the worker's own."""

    vllm_config: Any
    model_runner: Any

    def freerun_take(self, spans: Sequence[Sequence[int]]) -> bytes:
        """`Ledger.take`; empty where this worker makes no logits."""
        ledger = ledger_of(self.vllm_config)
        if not ledger.observes:
            ledger.forget([s[0] for s in spans])
            return b""
        return ledger.take([(s[0], s[1], s[2]) for s in spans])

    def freerun_forget(self, serials: Sequence[int]) -> None:
        ledger_of(self.vllm_config).forget(serials)

    def freerun_watch_prompts(self) -> str:
        """Observe prompts while they are read; why not, where that cannot be done."""
        config = self.vllm_config
        return watch_prompts(self.model_runner, ledger_of(config), int(config.model_config.get_vocab_size()))

    def freerun_facts(self) -> dict[str, str]:
        """Of the runner."""
        return {"runner": f"{type(self.model_runner).__module__}.{type(self.model_runner).__name__}"}
