"""The tiny models of studies/families: every family of the registry, repeatable, with laws that tell contexts apart."""

from __future__ import annotations

import math

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from studies.families import tiny  # noqa: E402

FEW = ("bert", "falcon alibi", "gemma3", "gpt2", "mamba", "mixtral", "qwen3_next")


def test_the_names_are_the_registrys() -> None:
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES as registry

    assert tuple(sorted(registry)) == tiny.FAMILIES
    assert {variant.family for variant in tiny.VARIANTS.values()} <= set(registry)
    assert not set(tiny.VARIANTS) & set(registry)
    assert set(tiny.EXCEPTIONS) <= set(registry)


def test_a_family_left_out_has_its_reason() -> None:
    assert set(tiny.LEFT_OUT) < set(tiny.FAMILIES)
    for family, reason in tiny.LEFT_OUT.items():
        assert len(reason.split()) > 4
        with pytest.raises(KeyError, match="is left out"):
            tiny.tiny_model(family)
    with pytest.raises(KeyError, match="not a causal family"):
        tiny.tiny_config("elephant")


def works(family: str) -> bool:
    try:
        logits = tiny.tiny_model(family)(input_ids=torch.arange(3, 9)[None], use_cache=False).logits
    except Exception:
        return False
    return tuple(logits.shape[:2]) == (1, 6)


def test_no_family_is_left_out_that_would_work(monkeypatch: pytest.MonkeyPatch) -> None:
    left_out = tuple(tiny.LEFT_OUT)
    monkeypatch.setattr(tiny, "LEFT_OUT", {})
    assert works("llama")
    assert [family for family in left_out if works(family)] == []


@pytest.mark.parametrize("name", FEW)
def test_a_seed_repeats_and_leaves_torchs_own_stream_alone(name: str) -> None:
    before = torch.random.get_rng_state()
    one, same, other = (tiny.tiny_model(name, seed=seed).state_dict() for seed in (3, 3, 4))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(torch.equal(one[key], same[key]) for key in one)
    assert any(not torch.equal(one[key], other[key]) for key in one)


@pytest.mark.parametrize("name", FEW)
def test_laws_are_far_from_uniform_and_hang_on_what_stood_ten_tokens_before(name: str) -> None:
    model = tiny.tiny_model(name)
    assert not model.training
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    ids = torch.randint(3, 48, (32, 30), generator=torch.Generator().manual_seed(1))
    changed = ids.clone()
    changed[:, 15] = (ids[:, 15] - 3 + 7) % 45 + 3
    with torch.no_grad():
        laws, others = (torch.log_softmax(model(input_ids=x).logits.double(), -1) for x in (ids, changed))
    entropy_nats = -(laws.exp() * laws).sum(-1).mean().item()
    assert 0.5 < entropy_nats < 3.0 < math.log(laws.shape[-1])
    assert torch.allclose(laws[:, :15], others[:, :15], atol=1e-4)
    gap = (laws - others)[:, 25].gather(-1, ids[:, 26:27]).abs().mean().item()
    assert gap > 0.3
