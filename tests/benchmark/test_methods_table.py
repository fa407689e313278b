"""The table in docs/benchmark.md is that of the stored results."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path


def test_the_table_is_that_of_the_stored_results(repo_root: Path) -> None:
    spec = importlib.util.spec_from_file_location("bench_methods", repo_root / "benchmarks" / "bench_methods.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    text = (repo_root / "docs" / "benchmark.md").read_text(encoding="utf-8")
    stored = json.loads((repo_root / "benchmarks" / "results" / f"{module.NAME}.json").read_text(encoding="utf-8"))
    begin, end = module.MARKS
    assert text.split(begin)[1].split(end)[0] == module.table(stored), "run python benchmarks/bench_methods.py"
