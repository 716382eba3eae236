"""The folder of a distance with a server: reported again, exported, judged by gates, interrupted and gone on with."""

from __future__ import annotations

import csv
import json
import os
import random
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("aiohttp", reason="the extra [servers] is not installed")

from freerun.commands.main import main
from freerun.errors import DataError
from freerun.exports.trackers import tracked_numbers
from freerun.jobs.distance.distance import report_distance
from freerun.records.distance import read_distance
from freerun.records.store import RunFolder
from tests.predictors.servers import fake as fakes
from tests.predictors.servers.checkpoint import noisy
from tests.predictors.servers.fake import Fake, serving

SIZE = ["--documents", "64", "--prefix", "8", "--tokens", "12"]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> str:
    """As many texts as a mean's gate needs."""
    rng = random.Random(3)
    path = tmp_path_factory.mktemp("corpus") / "texts.jsonl"
    rows = [{"text": "".join(rng.choices("abcdefghij  ", k=60)) + f" {i}."} for i in range(70)]
    path.write_text("\n".join(map(json.dumps, rows)))
    return str(path)


@pytest.fixture(scope="module")
def two(tokenizer: Path) -> Iterator[tuple[Fake, Fake, list[str]]]:
    """Two servers of two models, and how they are named."""
    with ExitStack() as stack:
        one, other = Fake(folder=tokenizer), Fake(folder=tokenizer)
        table = noisy(0.4)
        plain = other.answer

        def answer(path: str, body: dict[str, Any]) -> Any:
            kept, fakes.TABLE = fakes.TABLE, table
            try:
                return plain(path, body)
            finally:
                fakes.TABLE = kept

        other.answer = answer  # type: ignore[method-assign]
        specs = []
        for provider, server in (("vllm", one), ("sglang", other)):
            stack.enter_context(serving(server))
            specs.append(f"{provider}/m@{server.url},tokenizer=hf/{tokenizer}")
        yield one, other, specs


@pytest.fixture(scope="module")
def made(two: Any, corpus: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("distance") / "run"
    assert main(["distance", *two[2], corpus, *SIZE, "-o", str(path)]) == 0
    return path


def test_the_report_is_made_again_without_a_server(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = json.loads((made / "result.json").read_text())
    for name in ("result.json", "report.html"):
        (made / name).unlink()
    assert main(["report", str(made), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == before
    assert json.loads((made / "result.json").read_text()) == before
    page = (made / "report.html").read_text()
    assert "Telling A&#39;s text from B&#39;s, by length" in page
    assert "Requests to the server" in page
    assert main(["report", str(made)]) == 0
    said = capsys.readouterr().out
    assert "nats against B over 12 tokens (K, an estimate)" in " ".join(said.split())
    assert main(["report", str(made), "--transfer", str(made)]) == 2
    assert "has no detector to try elsewhere" in capsys.readouterr().err


def test_tables_hold_each_document_and_no_number_that_needs_whole_laws(made: Path, tmp_path: Path) -> None:
    assert main(["export", str(made), "--to", "csv", "-o", str(tmp_path)]) == 0
    rows = list(csv.DictReader((tmp_path / "documents.csv").read_text().splitlines()))
    assert {r["name"] for r in rows} == {"loss_difference_nats", "k_nats", "k_reverse_nats", "tv"}
    result = json.loads((made / "result.json").read_text())
    estimates = {e["name"]: e for f in result["findings"] for e in f["estimates"]}
    for name in ("loss_difference_nats", "k_nats", "k_reverse_nats", "tv"):
        mine = [r for r in rows if r["name"] == name]
        assert len(mine) == 64
        total = sum(float(r["top"]) for r in mine) / sum(float(r["bottom"]) for r in mine)
        assert total == pytest.approx(estimates[name]["value"], rel=1e-9)
    assert main(["export", str(made), "--to", "parquet", "-o", str(tmp_path)]) == 0
    assert (tmp_path / "documents.parquet").is_file()


def test_a_card_says_how_far_by_whole_texts(made: Path, tmp_path: Path) -> None:
    assert main(["export", str(made), "--to", "model-card", "-o", str(tmp_path)]) == 0
    card = (tmp_path / "model-card.md").read_text()
    assert "nats a text away (K of texts of up to 12 tokens" in card
    assert "a token away" not in card
    assert "None" not in card
    index = (tmp_path / "model-index.yaml").read_text()
    assert '"k_nats"' in index
    assert '"kl_nats"' not in index
    numbers = tracked_numbers(json.loads((made / "result.json").read_text()))
    assert {"writers/tv", "writers/k_nats", "tokens/loss_difference_nats"} <= set(numbers)


@pytest.mark.parametrize(
    ("gates", "code", "decisions"),
    [
        (["tv>0.95", "k_nats>50"], 0, ["pass", "pass"]),
        (["tv>0.01"], 1, ["fail"]),
        (["best_horizon<2"], 0, ["pass"]),
        (["kl_nats>0.01", "same_top<0.9"], 3, ["undecided", "undecided"]),
    ],
)
def test_gates(
    gates: list[str],
    code: int,
    decisions: list[str],
    two: Any,
    made: Path,
    corpus: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """On the finished run: nothing is measured again."""
    words = ["distance", *two[2], corpus, *SIZE, "-o", str(made), "--json"]
    assert main([*words, *(w for gate in gates for w in ("--fail-on", gate))]) == code
    result = json.loads(capsys.readouterr().out)
    assert [g["decision"] for g in result["gates"]] == decisions


def test_ctrl_c_keeps_parts_and_the_same_command_goes_on(
    two: Any, made: Path, corpus: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fake = two[0]
    n, once = len(fake.seen), iter([True])

    def interrupting(path: str, body: dict[str, Any], attempt: int) -> None:
        if len(fake.seen) >= n + 80 and next(once, False):  # requests come at once: one is the eightieth or later
            os.kill(os.getpid(), signal.SIGINT)

    fake.faults = interrupting
    words = ["distance", *two[2], corpus, *SIZE, "-o", str(tmp_path / "run")]
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # what runs in the background inherits deaf ears
    try:
        assert main(words) == 130
    finally:
        signal.signal(signal.SIGINT, before)
    said = capsys.readouterr().err
    assert "kept in" in said
    assert "the same command goes on from there" in said
    fake.faults = lambda path, body, attempt: None
    parts = {p: p.stat().st_mtime_ns for p in (tmp_path / "run" / "two_laws").glob("*.parquet")}
    assert 0 < len(parts) < 12
    with pytest.raises(DataError, match=r"is not finished .*go on with: freerun distance"):
        report_distance(tmp_path / "run")
    assert main(words) == 0
    assert all(p.stat().st_mtime_ns == t for p, t in parts.items())
    mine, whole = (json.loads((p / "result.json").read_text()) for p in (tmp_path / "run", made))
    assert mine["findings"] == whole["findings"]
    assert mine["requests"]["sessions"] == 2


def test_a_damaged_part_is_named_and_made_again(two: Any, made: Path, corpus: str, tmp_path: Path) -> None:
    import shutil

    copied = tmp_path / "run"
    shutil.copytree(made, copied)
    part = copied / "two_laws" / "b-00001.parquet"
    part.write_bytes(part.read_bytes()[:-40])
    with pytest.raises(DataError, match=r"b-00001 is missing or damaged"):
        report_distance(copied)
    assert main(["distance", *two[2], corpus, *SIZE, "-o", str(copied)]) == 0
    texts = [read_distance(RunFolder(p)).texts["b"] for p in (made, copied)]
    assert (texts[0].laws.log_p == texts[1].laws.log_p).all()
