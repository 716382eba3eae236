"""What a first look (`--quick`) finds in the folder of its audit."""

from __future__ import annotations

from collections.abc import Callable

from freerun.errors import DataError, UsageError
from freerun.jobs.audit.preparing import Prepared
from freerun.records.store import RunFolder


def check_quick(ready: Prepared, say: Callable[[str], None]) -> None:
    """Say where a first look is no smaller than the audit, and refuse one at documents that the audit is measuring already.

    Raises:
        UsageError: the folder holds parts of the whole audit, which is not finished.
    """
    folder, n = ready.folder, len(ready.pairs.pairs)
    if folder.has_parts and all(folder.done(u.name, u.key(ready.manifest["plan_hash"])) for u in ready.units):
        say(f"--quick: the audit of all {n} documents is finished in {folder.path}")
    elif ready.first or _holds_another(folder, str(ready.manifest["plan_hash"])):
        return  # another run is refused, by what it is, when the folder is opened
    elif not folder.has_parts:
        say(f"--quick: there are {n} documents, so the first look is the whole audit")
    else:
        raise UsageError(
            f"--quick: {folder.path} holds parts of the audit of all {n} documents, and a first look would measure some of them "
            "twice; go on without --quick, or choose another folder with -o"
        )


def _holds_another(folder: RunFolder, plan_hash: str) -> bool:
    try:
        return bool(folder.manifest()["plan_hash"] != plan_hash)
    except DataError:
        return False
