"""A first look, and the audit that goes on from it: nothing is measured twice, and nothing comes out otherwise."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from freerun.commands.main import main
from freerun.comparisons.gates import GO_ON, judge_audit, parse_gate
from freerun.errors import DataError, UsageError
from freerun.jobs.audit.audit import audit, report
from freerun.jobs.compare import compare
from freerun.jobs.grid.single import audit_on
from freerun.predictors.base import Continuations, Sample
from freerun.records.store import Records, RunFolder, load_records
from freerun.results.finding import to_json
from freerun.results.so_far import SoFar
from freerun.runs.executors.local import Local
from freerun.runs.progress import Silent
from freerun.runs.run import Run, finished
from freerun.specs.spec import load_predictor
from freerun.text.first_look import FIRST_LOOK_DOCUMENTS

WORLD = "world/markov"
SMALL: dict[str, Any] = {"documents": 48, "tokens": 12, "prefix": 6, "batch": 16}
WORDS = ["audit", WORLD, WORLD, "--documents", "48", "--tokens", "12", "--prefix", "6", "--batch", "16"]


class Counting(Silent):
    """Hears of tokens."""

    def __init__(self) -> None:
        self.tokens, self.said = 0, list[str]()

    def say(self, message: str) -> None:
        self.said.append(message)

    def begin(self, total_tokens: int) -> None:
        self.total = total_tokens

    def advance(self, n_tokens: int) -> None:
        self.tokens += n_tokens


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """In one go."""
    return audit(WORLD, WORLD, out=tmp_path_factory.mktemp("whole") / "run", **SMALL)


@pytest.fixture(scope="module")
def looked(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A first look."""
    return audit(WORLD, WORLD, out=tmp_path_factory.mktemp("looked") / "run", quick=True, **SMALL)


@pytest.fixture
def again(looked: Run, tmp_path: Path) -> Path:
    """A folder of the first look that may be written to."""
    return Path(shutil.copytree(looked.path, tmp_path / "run"))


def files(run: Path) -> dict[str, bytes]:
    return {str(p.relative_to(run)): p.read_bytes() for p in sorted(run.rglob("*.parquet"))}


def texts_of(records: Records) -> list[bytes]:
    """Real texts as they are scored."""
    return [
        np.concatenate(
            [records.sequences["prefix_ids"][i], records.tokens["token_id"][records.rows(int(i))]], dtype=np.int64
        ).tobytes()
        for i in records.chosen(arm="real")
    ]


def test_it_has_the_documents_the_split_and_the_numbers_of_the_audit(looked: Run, whole: Run) -> None:
    few, all_ = (load_records(folder) for folder in (finished(looked.path), finished(whole.path)))
    assert set(few.sequences["document_id"]) < set(all_.sequences["document_id"])
    split = Counter(few.sequences["split"][few.chosen(arm="real")])
    assert split == {"train": FIRST_LOOK_DOCUMENTS // 2, "test": FIRST_LOOK_DOCUMENTS // 2}
    at = np.searchsorted(all_.sequences["sequence"], few.sequences["sequence"])
    for name in ("sequence", "document_id", "unit", "split", "arm", "replicate", "key", "text"):
        assert (few.sequences[name] == all_.sequences[name][at]).all(), name
    assert set(few.sequences["arm"]) == {"real", "free", "tempered"}


def test_the_result_says_that_it_is_one_and_what_it_could_have_found(looked: Run, whole: Run) -> None:
    assert looked.result["first_look"] == {"documents": 32, "of_documents": 48}
    verdict = looked.result["verdict"]
    assert verdict["points"][0]["text"].startswith("32 texts of world/markov")
    assert (verdict["strength"], verdict["next_step"]["type"]) == ("slight", "--quick")
    assert looked.result["title"].endswith(", a first look at 32 of 48 documents")
    assert "a first look at 32 of 48 documents" in looked.report.read_text()
    assert looked.result["plan"] == whole.result["plan"]
    assert (looked.result["counts"]["pairs"], looked.result["counts"]["independent_units"]) == (32, 32)
    estimates = {e["name"]: e for e in looked.findings["first_look"]["estimates"]}
    detect = {e["name"]: e for e in looked.findings["detectability"]["estimates"]}
    loss = {e["name"]: e for e in looked.findings["loss"]["estimates"]}["loss_nats_per_token"]
    assert estimates["smallest_auc"]["value"] == detect["smallest_auc"]["value"]
    later = 0.5 + (detect["smallest_auc"]["value"] - 0.5) * (32 / 48) ** 0.5
    assert estimates["smallest_auc_all_documents"]["value"] == pytest.approx(later)
    effect = (loss["high"] - loss["low"]) / 2 * (1 + 0.8416212 / 1.9599640)
    assert estimates["smallest_loss_difference"]["value"] == pytest.approx(effect, rel=1e-6)
    (table,) = looked.findings["first_look"]["tables"]
    row = next(r for r in table["rows"] if r[0] == "loss_nats")
    assert [cell["value"] for cell in row[2:5]] == [32, 64, 64]
    assert row[5].startswith("no")  # 48 documents are too few as well
    assert "first_look" not in whole.result
    assert "first_look" not in whole.findings


def test_the_audit_goes_on_from_it_and_measures_nothing_twice(again: Path, whole: Run) -> None:
    before, counted = files(again), Counting()
    scored: Counter[bytes] = Counter()
    sampled: Counter[int] = Counter()
    world = load_predictor(WORLD)
    plain_score, plain_generate = world.score, world.generate

    def score(texts: Any, **options: Any) -> Any:
        scored.update(np.asarray(t, np.int64).tobytes() for t in texts)
        return plain_score(texts, **options)

    def generate(continuations: Continuations, **options: Any) -> Iterator[Sample]:
        sampled.update(int(k) for k in continuations.keys.ravel())
        return plain_generate(continuations, **options)

    world.score, world.generate = score, generate  # type: ignore[method-assign]
    run = audit(world, WORLD, out=again, progress=counted, **SMALL)
    after = files(again)
    assert {name: after[name] for name in before} == before
    assert len(after) > len(before)
    records = load_records(finished(again))
    of_first = load_records(RunFolder(again, first_look=True))
    wanted = set(records.sequences["key"].tolist()) - set(of_first.sequences["key"].tolist())
    assert set(sampled) == wanted
    assert set(sampled.values()) == {1}
    texts = [texts_of(r) for r in (of_first, records)]
    assert [scored[text] for text in texts[0]] == [0] * 32
    assert Counter(scored[text] for text in texts[1]) == {0: 32, 1: 16}
    assert "first_look" not in run.result
    result, in_one_go = (dict(r.result) for r in (run, whole))
    for one in (result, in_one_go):
        for name in ("created", "provenance", "own_text"):
            one.pop(name)
    assert result == in_one_go


def test_its_records_and_those_of_the_rest_are_the_records_of_an_audit_made_in_one_go(again: Path, whole: Run) -> None:
    """Bit for bit: the laws of a world do not depend on what else is in a batch."""
    audit(WORLD, WORLD, out=again, **SMALL)
    for kind, keys in (("sequences", ["sequence"]), ("tokens", ["sequence", "position"])):
        tables = [RunFolder(path).read(kind).sort_by([(k, "ascending") for k in keys]) for path in (again, whole.path)]
        assert tables[0].equals(tables[1])
    manifests = [json.loads((path / "manifest.json").read_text()) for path in (again, whole.path)]
    assert manifests[0]["plan_hash"] == manifests[1]["plan_hash"]
    assert manifests[0]["layout"]["first_look"]["independent_units"] == 32
    assert "layout" not in manifests[1]


def test_a_report_of_it_is_the_same_even_if_the_audit_was_interrupted_later(again: Path, looked: Run) -> None:
    audit(WORLD, WORLD, out=again, **SMALL)
    removed = next(iter(sorted(again.glob("sequences/tempered-*.parquet"))))
    removed.unlink()
    result, first = dict(report(again).result), dict(looked.result)
    assert result == first
    counted = Counting()
    audit(WORLD, WORLD, out=again, progress=counted, **SMALL)
    assert counted.tokens == counted.total
    assert "going on from the first look at 32 of them" in counted.said
    later = Counting()
    assert "first_look" not in audit(WORLD, WORLD, out=again, progress=later, quick=True, **SMALL).result
    assert any("is finished" in line for line in later.said)
    assert "first_look" not in json.loads((again / "result.json").read_text())


def test_an_interrupted_first_look_is_gone_on_with_by_either(again: Path, looked: Run) -> None:
    wanted = files(again)
    for path in again.rglob("first-tempered-*"):
        path.unlink()
    with pytest.raises(DataError, match="not finished"):
        report(again)
    done = audit(WORLD, WORLD, out=again, quick=True, **SMALL)
    assert files(again) == wanted
    assert done.result["findings"] == looked.result["findings"]
    for path in again.rglob("first-free-*"):
        path.unlink()
    run = audit(WORLD, WORLD, out=again, **SMALL)
    assert "first_look" not in run.result
    assert {n: d for n, d in files(again).items() if "/first-" in n} == wanted


def test_a_folder_without_a_part_may_still_be_cut_otherwise(again: Path, whole: Run) -> None:
    for path in again.rglob("first-*"):
        path.unlink()
    audit(WORLD, WORLD, out=again, **SMALL)
    assert not list(again.rglob("first-*"))
    assert files(again) == files(whole.path)


def test_a_damaged_part_is_named_and_made_again(again: Path) -> None:
    wanted = files(again)
    damaged = next(iter(again.glob("tokens/first-free-*.parquet")))
    damaged.write_bytes(damaged.read_bytes()[:-9])
    with pytest.raises(DataError, match="first-free-00000"):
        report(again)
    audit(WORLD, WORLD, out=again, quick=True, **SMALL)
    assert files(again) == wanted


def test_documents_that_are_being_measured_are_not_measured_again(tmp_path: Path, whole: Run) -> None:
    folder = Path(shutil.copytree(whole.path, tmp_path / "run"))
    counted = Counting()
    run = audit(WORLD, WORLD, out=folder, quick=True, progress=counted, **SMALL)
    assert "first_look" not in run.result
    assert any("is finished" in line for line in counted.said)
    assert counted.tokens == 0
    next(iter(folder.glob("sequences/tempered-*"))).unlink()
    with pytest.raises(UsageError, match="twice"):
        audit(WORLD, WORLD, out=folder, quick=True, **SMALL)


def test_the_folder_of_another_corpus_is_refused_as_that(looked: Run, tmp_path: Path) -> None:
    """Not as parts of this one, with which one could go on."""
    folder = Path(shutil.copytree(looked.path, tmp_path / "run"))
    with pytest.raises(DataError, match="choose another folder"):
        audit(WORLD, "world/even", out=folder, quick=True, **SMALL)


def test_a_first_look_at_all_documents_is_the_audit(tmp_path: Path) -> None:
    counted = Counting()
    run = audit(WORLD, WORLD, out=tmp_path / "run", quick=True, progress=counted, **{**SMALL, "documents": 32})
    assert "first_look" not in run.result
    assert any("the whole audit" in line for line in counted.said)


def test_two_first_looks_are_compared_and_said_to_be_ones(looked: Run, whole: Run, tmp_path: Path) -> None:
    cold = audit(f"{WORLD}+temperature,t=0.5", WORLD, out=tmp_path / "cold", quick=True, **SMALL)
    result = to_json(compare(looked.path, cold.path))
    assert result["title"].endswith("from a first look")
    assert [r["first_look"] for r in result["runs"]] == [{"documents": 32, "of_documents": 48}] * 2
    assert sum("a first look at 32 of 48 documents" in note for note in result["cautions"]) == 2
    assert result["pairs"][0]["documents_shared"] == 32
    mixed = to_json(compare(whole.path, cold.path))
    assert [r["documents"] for r in mixed["runs"]] == [48, 32]
    assert any("48 against 32 documents" in note for note in mixed["cautions"])


def test_with_redacted_text(tmp_path: Path) -> None:
    options: dict[str, Any] = {"documents": 48, "tokens": 12, "prefix": 16, "batch": 16, "redact_text": True}
    first = audit(WORLD, WORLD, out=tmp_path / "run", quick=True, **options)
    assert first.result["first_look"]["documents"] == 32
    run, in_one_go = (audit(WORLD, WORLD, out=tmp_path / name, **options) for name in ("run", "other"))
    assert run.result["findings"] == in_one_go.result["findings"]


def test_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [*WORDS, "-o", str(tmp_path / "run")]
    assert main([*words, "--quick", "--dry-run", "--json"]) == 0
    forecast = json.loads(capsys.readouterr().out)
    assert (forecast["documents"], forecast["tokens_to_score"]) == (32, 32 * 12)
    assert not (tmp_path / "run").exists()
    assert main([*words, "--quick", "--json", "--fail-on", "loss_nats>1.5"]) == 3
    result = json.loads(capsys.readouterr().out)
    assert result["first_look"] == {"documents": 32, "of_documents": 48}
    (gate,) = result["gates"]
    assert gate["needed"] == GO_ON
    assert main(["report", str(tmp_path / "run")]) == 0
    said = capsys.readouterr().out
    assert "This is a first look at 32 of 48 documents." in " ".join(said.split())
    assert "without --quick measures the other 16 documents" in said
    assert main([*words, "--dry-run", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["tokens_found"] == 32 * 4 * 12
    assert main([*words, "--json"]) == 0
    assert "first_look" not in json.loads(capsys.readouterr().out)


@pytest.mark.parametrize(
    ("more", "why"),
    [
        (["--sweep", "prefix=4,6"], "leave one out"),
        (["--ask", "4"], "leave out --quick"),
        (["--sources", "own"], "leave out --quick"),
    ],
)
def test_what_takes_longer_than_a_first_look_is_refused(
    more: list[str], why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*WORDS, "--quick", *more]) == 2
    assert why in capsys.readouterr().err


def test_sources_are_asked_of_the_audit_that_goes_on(tmp_path: Path) -> None:
    world, options = "world/authors", {**SMALL, "tokens": 16}
    audit(world, world, out=tmp_path / "run", quick=True, **options)
    for name in ("run", "other"):
        run = audit(world, world, out=tmp_path / name, sources="own", source_documents=20, **options)
        assert "source" in run.findings
    results = [json.loads((tmp_path / name / "result.json").read_text())["findings"] for name in ("run", "other")]
    assert results[0] == results[1]


# ---- by other processes ------------------------------------------------------------------------------------------------


def test_other_processes_make_the_same_look_and_go_on_from_it(
    looked: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two pools and no more: each starts processes that import everything anew, which is minutes on a busy machine."""
    folder, store = tmp_path / "run", f"file://{tmp_path / 'store'}"
    words = [*WORDS, "-o", str(folder), "--executor", "pool:2"]
    assert main([*words, "--quick"]) in (0, 3)
    assert "a first look at 32 of 48 documents" in capsys.readouterr().err
    assert files(folder) == files(looked.path)
    result = json.loads((folder / "result.json").read_text())
    assert (result["findings"], result["first_look"]) == (looked.result["findings"], looked.result["first_look"])
    alone = Path(shutil.copytree(looked.path, tmp_path / "alone"))
    audit(WORLD, WORLD, out=alone, **SMALL)
    assert main([*words, "--parts", store]) in (0, 3)  # whoever plans sees no folder, and the look counts nevertheless
    assert files(folder) == files(alone)
    assert "first_look" not in json.loads((folder / "result.json").read_text())


def test_a_first_look_by_an_executor_needs_the_folder_and_ends_where_all_is_measured(
    whole: Run, tmp_path: Path
) -> None:
    """In this process, as the others do it."""
    store = f"file://{tmp_path / 'store'}"
    with pytest.raises(UsageError, match="--quick needs a folder that workers share: leave --parts out"):
        audit_on(Local(), WORLD, WORLD, out=tmp_path / "run", parts=store, quick=True, **SMALL)
    done, heard = Path(shutil.copytree(whole.path, tmp_path / "done")), Counting()
    again = audit_on(Local(), WORLD, WORLD, out=done, quick=True, progress=heard, **SMALL)
    assert any("is finished in" in line for line in heard.said)
    assert again.result["findings"] == whole.result["findings"]


def test_what_is_known_is_told_while_cells_are_measured(tmp_path: Path) -> None:
    """As an audit alone tells it, whatever was recorded before."""
    heard: list[SoFar] = []

    class Hears(Counting):
        def known(self, so_far: SoFar) -> None:
            heard.append(so_far)

    audit(WORLD, WORLD, out=tmp_path / "alone", progress=Hears(), **SMALL)
    alone = heard[-1]
    audit_on(Local(), WORLD, WORLD, out=tmp_path / "run", quick=True, **SMALL)
    heard.clear()
    audit_on(Local(), WORLD, WORLD, out=tmp_path / "run", progress=Hears(), **SMALL)
    assert heard[0].n_scored == FIRST_LOOK_DOCUMENTS
    assert heard[-1].n_scored == alone.n_scored == 48
    assert heard[-1].n_bet == alone.n_bet


# ---- the manifest ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["damaged", "gone"])
def test_a_look_whose_manifest_is_lost_is_gone_on_with(again: Path, how: str) -> None:
    wanted, path = files(again), again / "manifest.json"
    layout = json.loads(path.read_text())["layout"]
    path.write_text(path.read_text().replace('"batch": 16', '"batch": 17', 1)) if how == "damaged" else path.unlink()
    with pytest.raises(DataError, match="checksum" if how == "damaged" else "no manifest"):
        report(again)
    counted = Counting()
    audit(WORLD, WORLD, out=again, progress=counted, **SMALL)
    assert "going on from the first look at 32 of them" in counted.said
    assert {n: d for n, d in files(again).items() if "/first-" in n} == wanted
    assert json.loads(path.read_text())["layout"] == layout
    assert report(again).result["counts"]["pairs"] == 48


def test_a_manifest_that_is_cut_otherwise_has_its_checksum(again: Path) -> None:
    for path in again.rglob("first-*"):
        path.unlink()
    audit(WORLD, WORLD, out=again, **SMALL)
    assert "layout" not in RunFolder(again).manifest()
    assert "sha256" in json.loads((again / "manifest.json").read_text())


def test_what_it_leaves_undecided_the_audit_of_all_documents_is_said_to_decide(looked: Run, whole: Run) -> None:
    gates = tuple(parse_gate(text, relative=False) for text in ("horizon<6", "horizon<100"))
    near, far = judge_audit(looked.result, gates)
    assert (near.decision, near.needed) == ("undecided", GO_ON)
    assert far.decision == "undecided"
    assert far.needed != GO_ON, "no number of documents measures a length that was not measured"
    assert all(j.needed != GO_ON for j in judge_audit(whole.result, gates))


def test_the_command_is_the_one_that_made_the_result(again: Path) -> None:
    looked = json.loads((again / "result.json").read_text())["command"]
    assert looked.endswith(" --quick")
    held = json.loads((again / "manifest.json").read_text())["command"]
    assert held == looked.removesuffix(" --quick")
    folder = RunFolder(again)
    folder.open({**folder.manifest(), "command": f"{held} --ask 2"})
    manifest = json.loads((again / "manifest.json").read_text())
    assert manifest["command"] == f"{held} --ask 2"
    assert manifest["earlier_commands"] == [held]
    del folder
    assert report(again).result["command"] == f"{held} --ask 2 --quick"
