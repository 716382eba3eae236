"""Gates: read, judged by the interval alone, and written for machines; the page's example is run as a new user would."""

from __future__ import annotations

import copy
import re
import shlex
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from freerun.commands.main import main, verb_parser
from freerun.comparisons.gates import (
    HORIZON_LEVELS,
    NAMES,
    Judged,
    judge_audit,
    judge_compare,
    parse_gate,
    worst,
)
from freerun.errors import UsageError
from freerun.findings.registry import GATES
from freerun.report.gate_reports import junit_xml, markdown_table

DOCS = Path(__file__).parents[2] / "docs"
PAGE = DOCS / "gates.md"


def judged(result: dict[str, Any], text: str) -> Judged:
    (one,) = judge_audit(result, [parse_gate(text, relative=False)])
    return one


@pytest.mark.parametrize(
    ("text", "decision"),
    [
        ("horizon<4", "pass"),  # 8 to 22 tokens
        ("horizon<16", "undecided"),
        ("H75 < 64", "fail"),
        ("horizon<4096", "fail"),
        ("loss_nats>2.5", "fail"),  # 2.92 to 3.09
        ("loss > 3", "undecided"),
        ("loss_nats>3.2", "pass"),
        ("loss_nats<2.5", "pass"),
        ("loops>0.5", "pass"),
        ("tv>0.5", "fail"),
        ("tv>0.9", "undecided"),
        ("sampler<0.001", "pass"),
        ("entropy_drift>0.1", "fail"),
        ("entropy_drift<-0.1", "pass"),
    ],
)
def test_decided_by_the_interval(example: dict[str, Any], text: str, decision: str) -> None:
    one = judged(example, text)
    assert one.decision == decision, one.words
    assert bool(one.needed) == (decision == "undecided")


def test_documents_that_would_decide_are_by_the_root_of_n(example: dict[str, Any]) -> None:
    e = {e["name"]: e for f in example["findings"] for e in f["estimates"]}["loss_nats_per_token"]
    at = e["value"] + (e["high"] - e["value"]) / 3  # a third of the way: 9 · 2.043 times the documents for 80% power
    one = judged(example, f"loss_nats>{at:.9f}")
    assert re.search(r"about --documents 2,35[345] instead of 128 \(80% power", one.needed), one.needed


def test_detectors_read_no_more_than_their_pairs(example: dict[str, Any]) -> None:
    """An AUC a hair above the gate takes more test documents than detectors read: no number of documents decides it."""
    e = estimate_of(example, "auc_last")
    near, nearer = e["value"] - (e["value"] - e["low"]) * 0.9, e["value"] - (e["value"] - e["low"]) / 20
    assert "about --documents" in judged(example, f"auc>{near:.9f}").needed
    assert judged(example, f"auc>{nearer:.9f}").needed.startswith("no number of documents: detectors read at most 512")


@pytest.mark.parametrize(
    ("name", "gate", "least"),
    [
        ("loss_nats_per_token", "loss_nats>2.5", 64),
        ("loop_incidence", "loops>0.5", 24),
        ("h75", "horizon<64", 8),
        ("auc_last", "auc>0.6", 8),
    ],
)
def test_too_few_documents_for_its_interval_decide_nothing(
    example: dict[str, Any], name: str, gate: str, least: int
) -> None:
    result = copy.deepcopy(example)
    e = estimate_of(result, name)
    e["n"] = least
    assert judged(result, gate).decision != "undecided"
    e["n"] = least - 1
    one = judged(result, gate)
    assert one.decision == "undecided"
    assert f"give it {least}" in one.needed


def censored(example: dict[str, Any], **ends: str) -> dict[str, Any]:
    """The example with a horizon that is not reached. Only the typed ends may be read: words and verdict stay as they were."""
    result = copy.deepcopy(example)
    for f in result["findings"]:
        for e in f["estimates"]:
            if e["name"] == "h75":
                e |= {"value": None, "low": None, "high": None}
                e["ends"] = {"first_tokens": 1, "last_tokens": 128, **ends} if ends else None
    return result


NEVER = {"value": "beyond", "low": "beyond", "high": "beyond"}


def estimate_of(result: dict[str, Any], name: str) -> dict[str, Any]:
    return next(e for f in result["findings"] for e in f["estimates"] if e["name"] == name)


def test_a_horizon_censored_below_the_gate_is_undecided_and_says_how_many_tokens(example: dict[str, Any]) -> None:
    one = judged(censored(example, **NEVER), "horizon<256")
    assert one.decision == "undecided"
    assert "--tokens 256" in one.needed
    assert judged(censored(example, **NEVER), "horizon<128").decision == "pass"
    either = {**NEVER, "low": "before"}
    assert judged(censored(example, **either), "horizon<64").decision == "undecided"
    assert judged(censored(example), "horizon<64").decision == "undecided"  # an older result does not say where it lies


def test_gates_read_values_and_never_verdicts_or_words(example: dict[str, Any]) -> None:
    result = censored(example, **NEVER)
    result["verdict"] = {"sentence": "", "detail": "", "status": "bad", "outcome": "not_judged", "outcome_words": ""}
    result["plan"]["sampling"] = "top-k 50"
    assert judged(result, "horizon<64").decision == "pass"
    soon = {"value": "before", "low": "before", "high": "before"}
    assert judged(censored(example, **soon), "horizon<64").decision == "fail"
    assert judged(censored(example, **{**soon, "high": "beyond"}), "horizon<64").decision == "undecided"


@pytest.mark.parametrize(
    ("gate", "estimate"), [("auc>0.6", "auc_last"), ("loops>0.5", "loop_incidence"), ("loss<9", "loss_nats_per_token")]
)
def test_an_interval_of_no_width_decides_nothing(example: dict[str, Any], gate: str, estimate: str) -> None:
    result = copy.deepcopy(example)
    assert judged(result, gate).decision != "undecided"
    e = estimate_of(result, estimate)
    e |= {"value": 1.0, "low": 1.0, "high": 1.0}  # as older results had it
    assert judged(result, gate).decision == "undecided"
    e |= {"low": None, "high": None, "degenerate": True}
    one = judged(result, gate)
    assert one.decision == "undecided"
    assert "no width" in one.words
    assert one.needed


def test_nothing_fails_for_a_difference_that_was_not_found(example: dict[str, Any]) -> None:
    result = copy.deepcopy(example)
    gates = ["horizon<64", "auc>0.6", "tv>0.2", "horizon<4", "auc<0.6", "loss_nats>2.5"]
    assert [judged(result, g).decision for g in gates] == ["fail", "fail", "fail", "pass", "pass", "fail"]
    next(f for f in result["findings"] if f["name"] == "detectability")["status"] = "neutral"
    found = ["undecided", "undecided", "undecided", "pass", "undecided", "fail"]
    assert [judged(result, g).decision for g in gates] == found


@pytest.mark.parametrize(
    ("changes", "gate", "decision"),
    [
        ({"value": 0.0, "low": 0.0, "high": 0.0}, "auc>+0.01", "undecided"),
        ({"value": 0.0, "low": None, "high": None, "degenerate": True}, "auc>+0.01", "undecided"),
        ({"value": 0.0, "low": None, "high": None, "identical": True}, "auc>+0.01", "pass"),
        ({"value": 0.0, "low": None, "high": None, "identical": True}, "auc<+0.01", "fail"),
        ({"value": -9.0, "low": -15.0, "high": -5.0, "primary": True, "found": False}, "auc<-4", "undecided"),
        ({"value": -9.0, "low": -15.0, "high": -5.0, "primary": True, "found": True}, "auc<-4", "fail"),
        ({"value": -9.0, "low": -15.0, "high": -5.0, "primary": True, "found": False}, "auc>-4", "undecided"),
        ({"value": -9.0, "low": -15.0, "high": -5.0, "primary": True, "found": False}, "auc<-20", "pass"),
        ({"value": 1.0, "low": -2.0, "high": 3.0, "primary": True, "found": False}, "auc<+4", "fail"),
    ],
)
def test_one_rule_between_runs(changes: dict[str, Any], gate: str, decision: str) -> None:
    d = difference(finding="detectability", name="auc_last", **changes)
    (one,) = judge_compare(compared(d), [parse_gate(gate, relative=True)])
    assert one.decision == decision, one.words


def test_a_failed_sampler_leaves_what_it_sampled_undecided(example: dict[str, Any]) -> None:
    result = copy.deepcopy(example)
    result["own_text"] = {
        "sampler_audit": "failed",
        "rescoring": "passed",
        "own_law": True,
        "fault": "sampler_audit",
    }
    for f in result["findings"]:
        if f["name"] == "self_recognition":
            for e in f["estimates"]:
                if e["name"] == "sampler_audit_p":
                    e["value"] = 1e-9
    assert judged(result, "horizon<64").decision == "undecided"
    assert judged(result, "loss_nats>2.5").decision == "fail"
    assert judged(result, "sampler_p<0.001").decision == "fail"
    result["own_text"] |= {"own_law": False, "fault": None}
    assert judged(result, "horizon<64").decision == "fail"


def test_refused_own_text_decides_no_gate_on_it(example: dict[str, Any]) -> None:
    result = copy.deepcopy(example)
    result["own_text"] = {
        "sampler_audit": "passed",
        "rescoring": "failed",
        "own_law": True,
        "fault": "rescoring",
    }
    for name, gauge in ((n, GATES[n]) for n in NAMES):
        bound = "<64" if GATES[name] in HORIZON_LEVELS else "<0"
        decision = judged(result, f"{name}{bound}").decision
        if gauge.own_text or name == "sampler_p":
            assert decision == "undecided", name
    assert "not the scorer's" in judged(result, "sampler_p<0.001").words
    assert judged(result, "loss_nats>2.5").decision == "fail"
    result["own_text"]["sampler_audit"] = "failed"  # then its p-value says what it says
    assert "not the scorer's" not in judged(result, "sampler_p<0.001").words


def test_an_infinite_loss_fails_and_too_few_documents_decide_nothing(example: dict[str, Any]) -> None:
    result = copy.deepcopy(example)
    loss = next(f for f in result["findings"] if f["name"] == "loss")
    loss["estimates"].append({"name": "impossible_share", "value": 0.01, "unit": "share"})
    assert judged(result, "loss_nats>100").decision == "fail"
    for f in result["findings"]:
        if f["name"] == "detectability":
            f |= {"status": "unknown", "estimates": [], "sentence": "Only 3 pairs."}
    assert judged(result, "horizon<4").decision == "undecided"
    assert "Only 3 pairs" in judged(result, "horizon<4").words


@pytest.mark.parametrize(
    ("text", "relative", "said"),
    [
        ("horizon", False, "is not a gate"),
        ("horizon=3", False, "is not a gate"),
        ("horizont<3", False, "did you mean 'horizon'"),
        ("zzz<3", False, "names: loss_nats"),
        ("loss_nats>+0.02", False, "compare"),
        ("loss_nats>0.02", True, "needs its sign"),
        ("tv>+0.1", True, "no paired difference"),
        ("horizon>64", False, "write horizon<TOKENS"),
        ("loss_nats>nan", False, "is not a gate"),
    ],
)
def test_what_is_no_gate_is_refused(text: str, relative: bool, said: str) -> None:
    with pytest.raises(UsageError, match=re.escape(said)):
        parse_gate(text, relative=relative)


def difference(**changes: Any) -> dict[str, Any]:
    d = {
        "finding": "loss",
        "name": "loss_nats_per_token",
        "label": "Loss",
        "unit": "nats/token",
        "value": 0.03,
        "low": 0.025,
        "n": 64,
    }
    return {**d, "high": 0.035, "text": "", **changes}


def compared(d: dict[str, Any], impossible: tuple[int, int] = (0, 0)) -> dict[str, Any]:
    pair = {"first": "a", "second": "b", "differences": [d], "impossible_tokens": list(impossible)}
    return {"runs": [{"name": "a", "documents": 9}, {"name": "b", "documents": 9}], "pairs": [pair]}


@pytest.mark.parametrize(
    ("d", "gate", "impossible", "decision"),
    [
        (difference(), "loss_nats>+0.02", (0, 0), "fail"),
        (difference(low=-0.01), "loss_nats>+0.02", (0, 0), "undecided"),
        (difference(), "loss_nats>+0.04", (0, 0), "pass"),
        (difference(), "loss_nats>+0.04", (0, 2), "fail"),
        (difference(), "loss_nats>+0.02", (2, 0), "pass"),
        (difference(), "loss_nats>+0.02", (2, 2), "undecided"),
        (difference(), "horizon<-4", (0, 0), "undecided"),
        (
            difference(finding="detectability", name="h75", value=-9.0, low=None, high=-5.0),
            "horizon<-4",
            (0, 0),
            "fail",
        ),
        (
            difference(finding="detectability", name="h75", value=-9.0, low=None, high=None),
            "horizon<-4",
            (0, 0),
            "undecided",
        ),
    ],
)
def test_between_runs(d: dict[str, Any], gate: str, impossible: tuple[int, int], decision: str) -> None:
    (one,) = judge_compare(compared(d, impossible), [parse_gate(gate, relative=True)])
    assert one.decision == decision


@pytest.mark.parametrize(
    ("gate", "decision", "words"),
    [
        ("sampler_p<0.5", "pass", "not below 0.5"),
        ("sampler_p<=0.5", "fail", "at most 0.5"),
        ("sampler_p>0.5", "pass", "not above 0.5"),
        ("sampler_p>=0.5", "fail", "at least 0.5"),
        ("sampler_p>=0.6", "pass", "not at least 0.6"),
    ],
)
def test_the_number_itself(example: dict[str, Any], gate: str, decision: str, words: str) -> None:
    result = copy.deepcopy(example)
    e = estimate_of(result, "sampler_audit_p")
    e["value"] = 0.5
    one = judged(result, gate)
    assert one.decision == decision
    assert one.words.endswith(words)


@pytest.mark.parametrize(("gate", "decision"), [(">9", "fail"), (">=9", "fail"), ("<9", "pass"), ("<=9", "pass")])
def test_an_infinite_loss_is_said_in_the_words_of_the_gate(example: dict[str, Any], gate: str, decision: str) -> None:
    result = copy.deepcopy(example)
    loss = next(f for f in result["findings"] if f["name"] == "loss")
    loss["estimates"].append({"name": "impossible_share", "value": 0.01, "unit": "share"})
    one = judged(result, f"loss_nats{gate}")
    assert one.decision == decision
    assert one.words.startswith("the loss is infinite")
    assert one.words.endswith(f"{parse_gate(f'loss_nats{gate}', relative=False).side} 9")


def test_fail_beats_undecided_beats_pass() -> None:
    three = [Judged("a", "a", d, "") for d in ("pass", "undecided", "fail")]  # type: ignore[arg-type]
    assert [worst(three[:n]) for n in (0, 1, 2, 3)] == ["pass", "pass", "undecided", "fail"]


# ---- for machines ------------------------------------------------------------------------------------------------------


def three(example: dict[str, Any]) -> tuple[Judged, ...]:
    return judge_audit(example, [parse_gate(t, relative=False) for t in ("horizon<4", "loss>3", "loss_nats>2.5")])


def test_junit_has_what_the_common_schema_asks_for(example: dict[str, Any]) -> None:
    """Attributes and order of elements by JUnit.xsd of windyroad/JUnit-Schema, which names more as required than others do."""
    text = junit_xml(
        three(example), title="a <b> \x1b", verb="audit", created="2026-11-23T04:11:32Z", properties={"k": "v"}
    )
    suite = ElementTree.fromstring(text)[0]
    assert {"name", "package", "id", "timestamp", "hostname", "tests", "failures", "errors", "time"} == set(
        suite.attrib
    )
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", suite.attrib["timestamp"])
    assert (suite.attrib["tests"], suite.attrib["failures"], suite.attrib["errors"]) == ("3", "1", "1")
    assert [child.tag for child in suite] == ["properties", *["testcase"] * 3, "system-out", "system-err"]
    assert [[c.tag for c in case] for case in suite.iter("testcase")] == [[], ["error"], ["failure"]]
    assert all({"name", "classname", "time"} == set(case.attrib) for case in suite.iter("testcase"))
    assert all({"message", "type"} == set(e.attrib) for case in suite.iter("testcase") for e in case)


def test_markdown_is_one_row_a_gate_and_cannot_be_broken_out_of(example: dict[str, Any]) -> None:
    text = markdown_table(three(example), title="a | <b>`x`", sentence="s\n# not a heading")
    assert len([line for line in text.splitlines() if line.startswith("| `")]) == 3
    assert "<b>" not in text
    assert "\n# " not in text


# ---- the page ----------------------------------------------------------------------------------------------------------


def test_every_name_stands_on_the_page() -> None:
    text = PAGE.read_text()
    for name in NAMES:
        assert f"`{name}`" in text, name


def test_the_workflow_is_yaml_and_its_commands_exist() -> None:
    yaml = pytest.importorskip("yaml")
    (block,) = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)
    steps = yaml.safe_load(block)["jobs"]["audit"]["steps"]
    commands = [
        line for step in steps for line in step.get("run", "").replace("\\\n", " ").splitlines() if "freerun" in line
    ]
    seen = [words for words in map(shlex.split, commands) if words[0] == "freerun"]
    assert len(seen) >= 2
    for words in seen:
        known = {o for action in verb_parser(words[1])._actions for o in action.option_strings}
        assert {w for w in words if w.startswith("--")} <= known, words


def test_the_example_fails_and_passes_where_the_page_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every command of the page's example, in order, gives the exit code that stands beside it."""
    monkeypatch.chdir(tmp_path)
    (block,) = re.findall(r"```console\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)
    lines = re.findall(r"^\$ freerun (.*?)\s+# exit (\d)$", block.replace("\\\n", " "), flags=re.MULTILINE)
    assert {code for _, code in lines} == {"0", "1", "3"}
    for words, code in lines:
        assert main(shlex.split(words)) == int(code), (words, capsys.readouterr())
    assert ElementTree.parse(tmp_path / "gates.xml").getroot().tag == "testsuites"
    assert "| `loss_nats>+0.02` | ❌ fail |" in (tmp_path / "summary.md").read_text()
