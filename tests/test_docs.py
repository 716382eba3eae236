"""Docs that are generated from the code, and words in them that must be true."""

from __future__ import annotations

import re
from pathlib import Path

from docs import cli
from docs.schema import schemas
from docs.tables import pages
from freerun.commands.main import VERBS, verb_parser
from freerun.findings.registry import QUESTIONS
from freerun.records.schema import SCHEMA_VERSION

ROOT = Path(__file__).parents[1]


def test_the_records_page_names_the_version_of_the_schema() -> None:
    """Its tables are held by `test_tables_of_numbers_are_those_of_the_code`."""
    assert f"version {SCHEMA_VERSION}" in (ROOT / "docs" / "records.md").read_text()


def test_commands_in_the_readme_exist() -> None:
    text = (ROOT / "README.md").read_text()
    for verb, words in re.findall(r"^\s+freerun (\w+)(.*)$", text, flags=re.MULTILINE):
        assert verb in VERBS
        options = {o for action in verb_parser(verb)._actions for o in action.option_strings}
        for flag in re.findall(r"--[a-z-]+", words):
            assert flag in options, f"{verb} {flag}"


def test_links_in_the_docs_lead_somewhere() -> None:
    for page in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name} -> {target}"


def test_every_question_has_a_page_that_the_methods_name() -> None:
    methods = (ROOT / "docs" / "methods.md").read_text()
    for question in QUESTIONS:
        assert (ROOT / question.page).exists(), question.name
        assert f"(findings/{question.name}.md)" in methods, question.name


def test_tables_of_numbers_are_those_of_the_code() -> None:
    """If it fails: `python docs/tables.py`."""
    for page, text in pages().items():
        assert page.read_text() == text, page.name


def test_the_reference_of_the_command_line_is_that_of_the_parsers() -> None:
    """If it fails: `python docs/cli.py`."""
    assert cli.PAGE.read_text() == cli.reference()


def test_the_schemas_are_those_of_the_types() -> None:
    """If it fails: `python docs/schema.py`."""
    for page, text in schemas().items():
        assert page.read_text() == text, page.name


def test_nothing_in_the_readme_is_unfinished() -> None:
    assert "PLACEHOLDER" not in (ROOT / "README.md").read_text()
