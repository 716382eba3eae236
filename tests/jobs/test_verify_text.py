"""Text without ids: tokenised again, held against the model's own texts; spelled tokens; prompts as text and as chats."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from markupsafe import escape

from freerun.errors import DataError, UsageError
from freerun.jobs.verify.options import VerifyOptions
from freerun.jobs.verify.reading import reading_of
from freerun.jobs.verify.verify import verify
from freerun.predictors.base import Continuations, Predictor
from freerun.predictors.rules import SamplingRule
from freerun.results.verify import VerifyResult
from freerun.samples.reading import open_samples
from freerun.specs.spec import load_predictor
from freerun.worlds.markov import MarkovWorld
from tests.templates import TURN, talking

Row = dict[str, Any]
N, TOKENS = 48, 40


class Merging(MarkovWorld):
    """A chain whose symbols are spelled so that two of them in turn read like a third: text does not give the ids again."""

    spelled = ("a", "b", "ab", " ", "c", "d")

    def __init__(self, *, often: bool = False) -> None:
        table = np.random.default_rng(7).dirichlet(np.ones(6), 6)
        if often:
            table[0] = [0.1, 0.5, 0.1, 0.1, 0.1, 0.1]  # b follows a
        super().__init__(table, name="merging")

    def encode(self, text: str) -> list[int]:
        """The longest symbol first, as greedy tokenizers do."""
        ids: list[int] = []
        while text:
            symbol = max((s for s in self.spelled if text.startswith(s)), key=len)
            ids.append(self.spelled.index(symbol))
            text = text[len(symbol) :]
        return ids

    def token_bytes(self, token_id: int) -> bytes:
        return self.spelled[token_id].encode()


MODEL, OFTEN = Merging(), Merging(often=True)


def drawn(
    model: Predictor, prompts: list[list[int]], rule: str = "t=1", *, seed: int = 3, tokens: int = TOKENS
) -> list[np.ndarray]:
    wanted = Continuations(
        [np.array(p) for p in prompts],
        np.arange(len(prompts))[:, None],
        tokens,
        seed=seed,
        sampling=SamplingRule.declared(rule),
    )
    made = sorted(model.generate(wanted), key=lambda s: s.row)
    return [s.observation.token_id.astype(np.int64) for s in made]


def as_text(model: Predictor, ids: Any) -> str:
    return b"".join(model.token_bytes(int(i)) for i in ids).decode("utf-8", "replace")


def rows_of(rule: str = "t=1", *, n: int = N, model: Predictor = MODEL) -> list[Row]:
    """As verl writes them."""
    rng = np.random.default_rng(0)
    prompts = [rng.choice([1, 4, 5], 4).tolist() for _ in range(n)]  # symbols that come back
    return [
        {"input": as_text(MODEL, p), "output": as_text(MODEL, ids), "step": 3}
        for p, ids in zip(prompts, drawn(model, prompts, rule), strict=True)
    ]


def written(folder: Path, rows: list[Row], name: str = "samples.jsonl") -> Path:
    path = folder / name
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def finding(result: VerifyResult, name: str = "match") -> Any:
    return next(f for f in result.findings if f.name == name)


def test_text_of_the_model_agrees_though_its_ids_do_not_come_back(tmp_path: Path) -> None:
    """The tests on single tokens reject honest text here; against own texts that went the same way it agrees."""
    rows = rows_of(model=OFTEN)
    result = verify(written(tmp_path, rows), OFTEN, out=tmp_path / "out")
    assert (result.verdict.match, result.samples.tokens, result.samples.ends) == ("agrees", "text", "missing")
    made = result.samples.comparison
    assert made is not None
    assert made.changed_share > 0.05
    assert made.n_prompts == N
    wrongly = [{"prompt_ids": MODEL.encode(r["input"]), "completion_ids": MODEL.encode(r["output"])} for r in rows]
    naive = verify(written(tmp_path, wrongly, "naive.jsonl"), OFTEN, out=tmp_path / "naive")
    assert naive.verdict.match == "differs"
    assert any("decide nothing" in note for note in finding(result).notes)


def test_text_by_another_rule_is_seen_and_the_rule_named(tmp_path: Path) -> None:
    path = written(tmp_path, rows_of("t=0.6"))
    result = verify(path, MODEL, out=tmp_path / "out")
    assert result.verdict.match == "differs"
    assert (result.cause.kind, result.cause.held_by) == ("rule", "own_texts")
    assert result.cause.candidate is not None
    assert result.cause.candidate.words in ("temperature 0.5", "temperature 0.6", "temperature 0.7")
    again = verify(path, MODEL, out=tmp_path / "declared", declared="t=0.6")
    assert again.verdict.match == "agrees"


def test_an_interrupted_comparison_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path, rows_of(n=36))
    first = verify(path, MODEL, out=tmp_path / "out")
    (tmp_path / "out" / "stages" / "own-001.json").unlink()
    made: list[int] = []
    generate = type(MODEL).generate
    monkeypatch.setattr(
        type(MODEL), "generate", lambda self, c, **k: made.append(len(c.prefixes)) or generate(self, c, **k)
    )
    second = verify(path, MODEL, out=tmp_path / "out")
    assert made == [4]
    assert second.findings == first.findings


def test_too_few_texts_are_not_judged(tmp_path: Path) -> None:
    result = verify(written(tmp_path, rows_of(n=5)), MODEL, out=tmp_path / "out")
    assert result.verdict.match == "not_judged"
    assert "at least 8 completions" in result.verdict.sentence


def test_text_cannot_show_its_ends(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="text without ids shows no end tokens"):
        verify(written(tmp_path, rows_of(n=9)), MODEL, out=tmp_path / "out", ends="present")


# ---- tokens that are spelled -------------------------------------------------------------------------------------------


def spelled(ids: Any, text: str) -> Row:
    """A chat completion with log-probabilities, as OpenAI's protocol has it."""
    content = [{"token": MODEL.spelled[i], "logprob": -1.0, "bytes": list(MODEL.token_bytes(int(i)))} for i in ids]
    return {"choices": [{"message": {"content": text}, "logprobs": {"content": content}, "finish_reason": "length"}]}


def batch(folder: Path, n: int) -> tuple[Path, Path, list[Row]]:
    """Answers and requests of a batch, and the same samples with their ids."""
    prompts = [[1, 4, 5] for _ in range(n)]
    whole = drawn(MODEL, prompts)
    answers = [
        {"custom_id": str(k), "response": {"status_code": 200, "body": spelled(ids, as_text(MODEL, ids))}}
        for k, ids in enumerate(whole)
    ]
    asked = [{"custom_id": str(k), "body": {"prompt": as_text(MODEL, p)}} for k, p in enumerate(prompts)]
    with_ids = [
        {"prompt_ids": p, "completion_ids": ids.tolist(), "logprobs": [-1.0] * len(ids)}
        for p, ids in zip(prompts, whole, strict=True)
    ]
    return written(folder, answers, "answers.jsonl"), written(folder, asked, "requests.jsonl"), with_ids


def test_spelled_tokens_give_their_ids_exactly(tmp_path: Path) -> None:
    answers, requests, with_ids = batch(tmp_path, 12)
    result = verify(answers, MODEL, out=tmp_path / "out", requests=str(requests))
    assert result.samples.tokens == "pieces"
    same = verify(written(tmp_path, with_ids), MODEL, out=tmp_path / "ids")
    assert finding(result).estimates == finding(same).estimates
    assert finding(result, "rollout_against_trainer") == finding(same, "rollout_against_trainer")
    assert any("known exactly" in note for note in finding(result, "samples").notes)


def test_one_spelling_of_no_token_makes_it_a_file_of_text(tmp_path: Path) -> None:
    """Leaving out the rows that cannot be read would select by what they say."""
    answers, requests, _ = batch(tmp_path, 12)
    answers.write_text(answers.read_text().replace('"bytes": [98]', '"bytes": [120, 98]', 1))
    result = verify(answers, MODEL, out=tmp_path / "out", requests=str(requests))
    assert result.samples.tokens == "text"


def test_a_batch_without_its_requests_says_what_is_missing(tmp_path: Path) -> None:
    answers, _, _ = batch(tmp_path, 3)
    with pytest.raises(DataError, match="--requests FILE"):
        verify(answers, MODEL, out=tmp_path / "out")


# ---- chats -------------------------------------------------------------------------------------------------------------


TALKER = talking()
CHAT = [{"role": "user", "content": "hello"}]
RENDERED = f"user:hello{TURN}assistant:"


def answers(prompt: str, n: int, *, seed: int = 3) -> list[np.ndarray]:
    """Written after a rendered prompt."""
    return drawn(TALKER, [TALKER.template.encode(prompt)] * n, seed=seed)


def test_a_chat_is_rendered_by_the_template(tmp_path: Path) -> None:
    rows = [{"messages": CHAT, "completion_ids": ids.tolist()} for ids in answers(RENDERED, 30)]
    path = written(tmp_path, rows)
    with pytest.raises(DataError, match="--chat renders it by the model's own"):
        verify(path, TALKER, out=tmp_path / "none")
    result = verify(path, TALKER, out=tmp_path / "out", chat=True)
    assert result.verdict.match == "agrees"
    assert result.samples.template is not None
    assert result.samples.template.after == f"{TURN}assistant:"
    assert [p.kind for p in result.samples.prompts] == ["chat"]
    assert "template" in result.plan
    assert escape("What the model's chat template wrote") in (tmp_path / "out" / "report.html").read_text()


def test_the_last_turn_of_the_assistant_is_the_completion(tmp_path: Path) -> None:
    rows = [
        {"messages": [*CHAT, {"role": "assistant", "content": as_text(TALKER, ids)}]} for ids in answers(RENDERED, 30)
    ]
    rows = [r for r in rows if r["messages"][-1]["content"]]
    result = verify(written(tmp_path, rows), TALKER, out=tmp_path / "out", chat=True)
    assert (result.verdict.match, result.samples.tokens) == ("agrees", "text")


KINDS = {
    "turn": "hello",
    "restored": "user:helloassistant:",
    "rendered": RENDERED,
}


@pytest.mark.parametrize("kind", KINDS)
def test_prompts_as_text_become_the_same_ids(kind: str, tmp_path: Path) -> None:
    """A user's words, a rendered chat that lost its markers, and one that has them."""
    path = written(tmp_path, [{"prompt": KINDS[kind], "completion": "hi"}])
    samples = open_samples(path)
    reading = reading_of(samples, TALKER, VerifyOptions(chat=True))
    prompt = reading.prompt(next(iter(samples)))  # type: ignore[arg-type]
    assert (prompt.kind, prompt.ids.tolist()) == (kind, TALKER.template.encode(RENDERED))


def test_what_is_put_first_is_put_once(tmp_path: Path) -> None:
    led = talking(begins=True, lead=True)
    path = written(tmp_path, [{"messages": CHAT, "completion": "hi"}, {"prompt": "hello", "completion": "hi"}])
    for chat in (True, False):
        samples = open_samples(path)
        reading = reading_of(samples, led, VerifyOptions(chat=chat))
        ids = [reading.prompt(s).ids for s in samples if chat or s.messages is None]  # type: ignore[union-attr, arg-type]
        assert all(i[0] == 0 and i[1] != 0 for i in ids)


def test_a_prompt_that_was_put_otherwise_is_a_cause(tmp_path: Path) -> None:
    """Drawn after the rendered prompt; the file says the user's words, which plain reading takes for all that stood there."""
    rows = [{"prompt": "hello", "completion_ids": ids.tolist()} for ids in answers(RENDERED, 120)]
    path = written(tmp_path, rows)
    result = verify(path, TALKER, out=tmp_path / "out")
    assert result.verdict.match == "differs"
    assert result.cause.candidate is not None
    assert (result.cause.kind, result.cause.candidate.law) == ("other_law", "by_template")
    assert any("another chat template" in note for note in finding(result, "cause").notes)
    assert verify(path, TALKER, out=tmp_path / "chat", chat=True).verdict.match == "agrees"


def test_settings_of_a_template_need_one(tmp_path: Path) -> None:
    path = written(tmp_path, [{"prompt": "hello", "completion": "hi"}])
    with pytest.raises(UsageError, match="give --chat with it"):
        verify(path, TALKER, out=tmp_path / "out", system="Be brief.")
    with pytest.raises(UsageError, match="no variable loudly"):
        verify(path, TALKER, out=tmp_path / "out", chat=True, template_options=("loudly=true",))
    with pytest.raises(UsageError, match="has no chat template"):
        verify(path, load_predictor("world/authors"), out=tmp_path / "out", chat=True)


def test_fields_of_other_names(tmp_path: Path) -> None:
    rows = [{"question": r["input"], "answer": r["output"], "step": 1} for r in rows_of(n=10)]
    result = verify(written(tmp_path, rows), MODEL, out=tmp_path / "out", prompt_field="question", text_field="answer")
    assert result.samples.n_completions == 10
    with pytest.raises(UsageError, match="name the fields of rows of the format 'freerun'"):
        verify(written(tmp_path, rows), MODEL, out=tmp_path / "out", prompt_field="question", format="verl")
