"""The commands that a manifest keeps."""

from __future__ import annotations

from freerun.records.manifest import Manifest, with_command


def test_a_manifest_that_knew_no_command_learns_one() -> None:
    learned = with_command(Manifest({"plan": {}}), "freerun audit b")
    assert (learned["command"], learned["earlier_commands"]) == ("freerun audit b", [])
    again = with_command(Manifest(learned), "freerun audit c")
    assert (again["command"], again["earlier_commands"]) == ("freerun audit c", ["freerun audit b"])
    assert with_command(Manifest(again), "freerun audit c")["earlier_commands"] == ["freerun audit b"]
