"""The README says what the repository holds: its tables are those of the stored results, its commands and files exist."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="module")
def table(repo_root: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("table", repo_root / "benchmarks" / "table.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_tables_are_those_of_the_stored_results(repo_root: Path, table: ModuleType) -> None:
    readme = (repo_root / "README.md").read_text(encoding="utf-8")
    for name, block in (("quality", table.quality()), ("benchmark", table.benchmark()), ("measurements", table.document())):
        begin, end = (mark.format(name) for mark in table.MARKS)
        assert readme.split(begin)[1].split(end)[0] == block, "run python benchmarks/table.py --write"


def test_begins_with_a_picture_and_the_shipped_weights(repo_root: Path, table: ModuleType) -> None:
    opening = (repo_root / "README.md").read_text(encoding="utf-8").split("## Quick start")[0]
    (picture,) = re.findall(r"!\[.+\]\((.+)\)", opening)
    assert (repo_root / picture).stat().st_size < 300_000
    assert "public domain" in " ".join(opening.split())
    assert opening.index(picture) < opening.index(table.quality())


@pytest.mark.parametrize("page", ["README.md", "docs/inference.md", "docs/benchmark.md"])
def test_links_lead_to_files(repo_root: Path, page: str) -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", (repo_root / page).read_text(encoding="utf-8"))
    assert [link for link in links if not ((repo_root / page).parent / link).exists()] == []


@pytest.mark.parametrize("page", ["README.md", "docs/training.md", "docs/inference.md", "docs/preprocessing.md", "docs/benchmark.md"])
def test_scripts_and_options_that_are_named_exist(repo_root: Path, page: str) -> None:
    text = (repo_root / page).read_text(encoding="utf-8")
    named = set(re.findall(r"\bpython ([\w/]+\.py)\b", text)) | set(re.findall(r"\b((?:options|docs)/[\w/]+\.(?:yml|md))\b", text))
    assert named
    assert {name for name in named if not (repo_root / name).is_file()} == set()
