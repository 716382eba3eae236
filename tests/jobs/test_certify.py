"""`certify` as a value: every number that the docs give, JSON-safe, and a picture that works by itself."""

from __future__ import annotations

import json
import math
import re
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from freerun.errors import UsageError
from freerun.jobs.certify import NOT_GUARANTEED, certify, draw_certificate, spoken_share
from freerun.results.certify import CertifyResult
from freerun.results.finding import to_json
from freerun.results.json import from_json
from freerun.stats.bounds.certificates import binary_kl, kl_proven_of_counts, largest_tv


def strict(result: CertifyResult) -> CertifyResult:
    """The result as it comes back from JSON."""
    return from_json(CertifyResult, json.loads(json.dumps(to_json(result), allow_nan=False)))


def test_the_numbers_of_methods() -> None:
    result = strict(certify(0.01005, 1000))
    assert [h.guaranteed_tokens for h in result.horizons] == [1, 12, 52, 229, 458]
    assert [h.absorbing_tokens for h in result.horizons] == [11, 29, 69, 230, 459]
    exact = [certify(k / 10, 10).largest_tv.exact for k in (0.1, 0.5, 1, 2, 3, 5)]
    assert [f"{x:.3f}" for x in exact[:3]] == ["0.222", "0.486", "0.664"]
    assert [f"{x:.4f}" for x in exact[3:]] == ["0.8652", "0.9502", "0.9933"]
    said = result.source_text
    assert f"{said.nats_per_token:.5f}" == "0.01005"
    assert f"{said.bits_per_token:.4f}" == "0.0145"
    assert f"{said.probability:.6f}" == "0.999957"
    assert said.prints == {"nats_per_token": 0.101, "probability": 0.99996}
    for words in ("0.01005", "0.0145", "0.101", "0.999957", "0.99996"):
        assert words in said.sentence


def test_given_and_derived_agree() -> None:
    result = certify(0.02, 50, deltas=(0.5, 0.1, 0.5))
    assert (result.schema_version, result.kind) == (1, "certify")
    assert result.kl_nats == 1.0
    assert result.excess_bits_per_token == pytest.approx(0.02 / math.log(2))
    assert result.absorbing.tv == pytest.approx(1 - math.exp(-1))
    assert -math.log(1 - result.absorbing.mass) == pytest.approx(0.02)
    # 50 - (0.98019867/0.01980133) (1 - e^-1)
    assert result.absorbing.corrupted_tokens == pytest.approx(50 - math.exp(-0.02) / 0.0198013267 * 0.6321205588)
    assert [h.tv for h in result.horizons] == [0.1, 0.5]
    assert result.event is None
    bounds = result.largest_tv
    assert bounds.exact <= min(bounds.gilardoni, bounds.bretagnolle_huber, bounds.pinsker)


def test_events() -> None:
    event = certify(0.0035, 100, event_rate=0.001, observed=0.3).event
    assert binary_kl(0.001, event.ceiling) == pytest.approx(0.35, abs=1e-8)
    assert f"{event.observed.kl_proven_nats:.2f}" == "0.35"
    assert event.observed.excess_proven_nats_per_token == event.observed.kl_proven_nats / 100
    assert event.observed.within_the_given_loss
    assert not certify(0.003, 100, event_rate=0.001, observed=0.3).event.observed.within_the_given_loss
    assert certify(1.0, 1, event_rate=0.0).event.ceiling == pytest.approx(1 - math.exp(-1))
    assert certify(1.0, 1, event_rate=0.5, observed=0.2).event.observed.kl_proven_nats == 0


def test_counts_are_taken_at_their_limits() -> None:
    event = certify(0.01, 64, event_rate=(1, 1000), observed=(30, 100)).event
    proof = kl_proven_of_counts(1, 1000, 30, 100)
    assert event.observed.kl_proven_nats == proof.kl_nats < 0.35
    assert event.base_counts == (1, 1000)
    assert event.base_high > event.base_rate == 0.001
    assert event.ceiling > certify(0.01, 64, event_rate=0.001).event.ceiling


@settings(max_examples=25, deadline=None)
@given(
    st.floats(1e-12, 1e3),
    st.integers(1, 10**12),
    st.lists(st.floats(1e-9, 1 - 1e-9), min_size=1, max_size=3),
    st.none() | st.floats(0, 1) | st.integers(0, 9).map(lambda k: (k, 9)),
    st.floats(0, 1),
)
def test_any_allowed_numbers_make_json(excess, tokens, deltas, rate, seen) -> None:  # type: ignore[no-untyped-def]
    observed = None if rate is None else (int(9 * seen), 9) if isinstance(rate, tuple) else seen
    result = certify(excess, tokens, deltas=deltas, event_rate=rate, observed=observed)
    assert strict(result) == result
    ElementTree.fromstring(draw_certificate(result))


def test_what_is_infinite_is_said_not_written() -> None:
    seen = strict(certify(0.1, 10, event_rate=0.5, observed=1.0)).event.observed
    assert (seen.kl_proven_nats, seen.infinite, seen.within_the_given_loss) == (None, True, False)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"excess_nats": -0.1}, "--excess -0.1"),
        ({"excess_nats": 0.0}, "--excess 0"),
        ({"excess_nats": math.nan}, "--excess nan"),
        ({"excess_nats": math.inf}, "--excess inf"),
        ({"tokens": 0}, "--tokens"),
        ({"tokens": 10**13}, "--tokens"),
        ({"deltas": (0.5, 1.0)}, "--delta 1"),
        ({"deltas": (math.nan,)}, "--delta nan"),
        ({"deltas": ()}, "--delta"),
        ({"event_rate": 1.5}, "--event-rate 1.5"),
        ({"event_rate": (3, 2)}, "--event-rate 3/2"),
        ({"event_rate": (0, 0)}, "--event-rate 0/0"),
        ({"observed": 0.3}, "--observed-rate needs --event-rate"),
        ({"observed": 0.3, "event_rate": (1, 10)}, "both as counts"),
        ({"observed": math.nan, "event_rate": 0.1}, "--observed-rate nan"),
    ],
)
def test_bad_values_are_refused(values: dict, said: str) -> None:
    with pytest.raises(UsageError) as error:
        certify(**{"excess_nats": 0.01, "tokens": 100} | values)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_the_words_say_what_is_not_guaranteed() -> None:
    said = " ".join(NOT_GUARANTEED)
    for words in ("certifies nothing by itself", "if the entropy rate is at least h", "reverse direction", "infinite"):
        assert words in said


def test_chart_is_the_exact_curve() -> None:
    chart = certify(0.01, 500).chart
    assert (chart.x[0], chart.x[-1]) == (1.0, 500.0)
    exact = chart.series[0].y
    for i in (0, 10, -1):
        assert exact[i] == pytest.approx(largest_tv(0.01 * chart.x[i]), abs=1e-12)
    for other in chart.series[2:]:
        assert all(a <= b + 1e-12 for a, b in zip(exact, other.y, strict=True))
    assert all(a <= b + 1e-12 for a, b in zip(chart.series[1].y, exact, strict=True))


def test_picture_needs_nothing_else() -> None:
    result = certify(0.01005, 1000)
    svg = draw_certificate(result)
    root = ElementTree.fromstring(svg)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert float(root.get("width", "0")) > 800
    assert "var(" not in svg
    assert "url(http" not in svg
    assert "href" not in svg
    assert result.chart.title in svg
    style = root.find("{http://www.w3.org/2000/svg}style")
    assert style is not None
    classes = {c for e in root.iter() for c in (e.get("class") or "").split()}
    for role in ("reference", "free", "control"):
        assert f"role-{role}" in classes
        colour = re.search(rf"\.role-{role} \.curve {{fill: none; stroke: (#\w+);", style.text or "")
        assert colour
    top, height = (float(root.get("viewBox", "").split()[i]) for i in (1, 3))
    drawn = [float(e.get("y", "0")) for e in root.iter() if e.tag.endswith("text")]
    assert min(drawn) > top + 10
    assert max(drawn) < top + height


def test_shares_are_printed_with_the_digits_that_matter() -> None:
    assert [spoken_share(x) for x in (0.5, 0.95021, 0.99999999)] == ["0.5", "0.9502", "0.999999990"]
