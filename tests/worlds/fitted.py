"""Mixtures of sources counted from text: an n-gram of bytes for every setting."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from freerun.errors import UsageError
from freerun.predictors.ngram import byte_ngram
from freerun.worlds.mixture import Latent, MixtureWorld


def fitted_mixture(
    texts_by_setting: Mapping[tuple[str, ...], Sequence[str]],
    order: int,
    *,
    latents: Sequence[str] = ("source",),
    name: str = "world/fitted",
) -> MixtureWorld:
    """The mixture whose source for a setting is the byte n-gram of its texts (Witten–Bell, with an end of text).

    `latents` name the parts of a setting. Settings that are given are equally probable, others never occur.

    Raises:
        UsageError: a setting with another number of parts than `latents`. DataError: a setting without text.
    """
    for setting in texts_by_setting:
        if isinstance(setting, str) or len(setting) != len(latents):
            raise UsageError(f"setting {setting!r} must be a tuple with a value for each of {', '.join(latents)}")
    values = [tuple(dict.fromkeys(s[i] for s in texts_by_setting)) for i in range(len(latents))]
    prior = np.zeros([len(v) for v in values])
    components = {}
    for setting, texts in texts_by_setting.items():
        told = ",".join(f"{k}={v}" for k, v in zip(latents, setting, strict=True))
        components[setting] = byte_ngram(texts, order=order, name=f"{name},{told}")
        prior[tuple(v.index(s) for v, s in zip(values, setting, strict=True))] = 1 / len(texts_by_setting)
    return MixtureWorld(
        [Latent(k, v) for k, v in zip(latents, values, strict=True)], components, prior=prior, name=name
    )
