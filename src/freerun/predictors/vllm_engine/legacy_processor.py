"""The logits processor for vLLM's legacy model runner."""

from __future__ import annotations

from typing import Any

from vllm.v1.sample.logits_processor import LogitsProcessor

from freerun.predictors.vllm_engine.ledger import ledger_of
from freerun.predictors.vllm_engine.refusals import check_configuration, check_parameters
from freerun.predictors.vllm_engine.rows import BatchRows, settle_rows


class LegacyProcessor(LogitsProcessor):  # type: ignore[misc]
    @classmethod
    def validate_params(cls, sampling_params: Any) -> None:
        check_parameters(sampling_params)

    def __init__(self, vllm_config: Any, device: Any, is_pin_memory: bool) -> None:
        check_configuration(vllm_config)
        self.ledger = ledger_of(vllm_config)
        self.rows = BatchRows(self.ledger)

    def is_argmax_invariant(self) -> bool:
        return False

    def update_state(self, batch_update: Any) -> None:
        self.rows.update(batch_update)

    def apply(self, logits: Any) -> Any:
        return settle_rows(logits, self.rows.places(len(logits)), self.ledger)
