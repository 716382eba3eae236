"""The logits processor for vLLM's Model Runner V2."""

from __future__ import annotations

from typing import Any

from vllm.v1.worker.gpu.sample.logits_processor import LogitsProcessor

from freerun.predictors.observation import host
from freerun.predictors.vllm_engine.ledger import ledger_of
from freerun.predictors.vllm_engine.refusals import check_configuration, check_parameters
from freerun.predictors.vllm_engine.rows import SlotRows, settle_rows


class V2Processor(LogitsProcessor):  # type: ignore[misc]
    @classmethod
    def validate_params(cls, sampling_params: Any) -> None:
        check_parameters(sampling_params)

    def __init__(self, vllm_config: Any, req_states: Any) -> None:
        check_configuration(vllm_config)
        self.ledger = ledger_of(vllm_config)
        self.rows = SlotRows(self.ledger)
        self.requests = req_states

    def add_request(self, req_idx: int, sampling_params: Any) -> bool:
        return self.rows.add(req_idx, sampling_params.extra_args)

    def apply(self, logits: Any, ctx: Any) -> Any:
        places = self.rows.places(host(ctx.expanded_idx_mapping), host(ctx.pos), self.requests.prefill_len.np)
        return settle_rows(logits, places, self.ledger)
