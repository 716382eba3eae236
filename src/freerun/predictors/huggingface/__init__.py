"""Causal language models of transformers as predictors."""

import os

# OpenMP workers that wait by spinning starve one another as soon as the machine does anything else: steps of 3 s
# instead of 0.7 s were seen beside busy processes. It must be said before torch loads.
os.environ.setdefault("GOMP_SPINCOUNT", "2000")

from freerun.predictors.huggingface.loading import load_pretrained
from freerun.predictors.huggingface.predictor import HuggingFacePredictor

__all__ = ["HuggingFacePredictor", "load_pretrained"]
