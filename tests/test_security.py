"""What SECURITY.md promises about code, pickles and the network."""

from __future__ import annotations

import ast
import json
import re
import socket
from pathlib import Path
from typing import Any

import pytest

from freerun.commands.main import main
from freerun.errors import BackendError
from freerun.specs.providers import LoadOptions
from freerun.specs.spec import load_predictor

ROOT = Path(__file__).parents[1]
SOURCE = sorted((ROOT / "src" / "freerun").rglob("*.py"))
FORBIDDEN = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}


def calls(tree: ast.AST) -> list[str]:
    return [ast.unparse(n.func) for n in ast.walk(tree) if isinstance(n, ast.Call)]


@pytest.mark.parametrize("path", SOURCE, ids=lambda p: str(p.relative_to(ROOT)))
def test_no_pickle_and_no_code_from_text(path: Path) -> None:
    tree = ast.parse(path.read_text())
    imported = {a.name.split(".")[0] for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
    imported |= {str(n.module).split(".")[0] for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)}
    assert not imported & FORBIDDEN
    assert not set(calls(tree)) & {"eval", "exec", "compile", "os.system", "yaml.load"}
    for call in (n for n in ast.walk(tree) if isinstance(n, ast.Call) and ast.unparse(n.func) == "torch.load"):
        assert path.name == "slime.py"  # rollouts that a trainer wrote, never weights
        assert "weights_only=True" in ast.unparse(call)
    assert not re.search(r"allow_pickle\s*=\s*True|shell\s*=\s*True|use_safetensors\s*=\s*False", path.read_text())


def test_weights_that_can_run_code_are_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    (tmp_path / "pytorch_model.bin").write_bytes(b"\x80\x04cos\nsystem\n")
    with pytest.raises(BackendError, match=r"no \*\.safetensors"):
        load_predictor(f"hf/{tmp_path}")


@pytest.fixture
def folder_with_code(tmp_path: Path) -> tuple[Path, Path]:
    """A model folder that brings its own code, which leaves a mark when it runs."""
    folder, mark = tmp_path / "model", tmp_path / "it ran"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"")
    names = {"AutoConfig": "evil.Config", "AutoModelForCausalLM": "evil.Model"}
    (folder / "config.json").write_text(json.dumps({"model_type": "unheard-of", "auto_map": names}))
    (folder / "evil.py").write_text(
        f"from pathlib import Path\nPath({str(mark)!r}).write_text('x')\n"
        "from transformers import PretrainedConfig\nclass Config(PretrainedConfig): model_type = 'unheard-of'\n"
    )
    return folder, mark


def test_code_of_a_model_does_not_run_without_the_flag(folder_with_code: tuple[Path, Path]) -> None:
    folder, mark = folder_with_code
    with pytest.raises(BackendError) as raised:
        load_predictor(f"hf/{folder}")
    assert not mark.exists()
    assert "\n" not in str(raised.value)


def test_the_flag_is_what_makes_the_difference(
    folder_with_code: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control of the test above: with the flag this folder's code does run."""
    folder, mark = folder_with_code
    dynamic = pytest.importorskip("transformers.dynamic_module_utils")
    monkeypatch.setattr(dynamic, "HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.syspath_prepend(str(tmp_path / "modules"))
    with pytest.raises(BackendError):
        load_predictor(f"hf/{folder}", LoadOptions(trust_remote_code=True))
    assert mark.exists()


def test_a_report_and_an_audit_of_local_things_use_no_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("someone asked for the network")

    for name in ("connect", "connect_ex", "bind"):
        monkeypatch.setattr(socket.socket, name, refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    words = ["audit", "world/markov", "world/markov", "--tokens", "16", "--documents", "16"]
    assert main([*words, "-o", str(tmp_path / "run")]) in (0, 3)
    assert main(["report", str(tmp_path / "run")]) in (0, 3)
    page = (tmp_path / "run" / "report.html").read_text()
    assert not re.search(r"""(?:src|href|url)\s*[=(]\s*["']?\s*(?:https?:)?//""", page)
    assert "default-src 'none'" in page


def test_every_test_that_is_named_is_there() -> None:
    text = (ROOT / "SECURITY.md").read_text()
    named = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", text)
    assert len(named) > 10
    for path, name in named:
        assert (ROOT / path).is_file(), path
        assert not name or f"def {name}(" in (ROOT / path).read_text(), (path, name)
