"""The worked example of docs/training.md, run line by line as it stands there, in a copy of the project."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

BEGIN, END = "<!-- tour: begin -->\n```bash\n", "```\n<!-- tour: end -->"


@pytest.mark.slow
def test_the_tour_runs_as_written(repo_root: Path, tmp_path: Path) -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=repo_root, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("needs git and a checkout, to copy the project's files and nothing else")
    for name in listed.stdout.split("\0"):
        if name and (repo_root / name).is_file():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(repo_root / name, tmp_path / name)
    text = (repo_root / "docs" / "training.md").read_text(encoding="utf-8")
    commands = text.partition(BEGIN)[2].partition(END)[0]
    assert commands.count("\n") > 5
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    (tmp_path / "bin" / "python").chmod(0o755)
    surroundings = {**os.environ, "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(["/bin/sh", "-e", "-c", commands], cwd=tmp_path, env=surroundings, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    rows = [json.loads(line) for line in (tmp_path / "experiments/tiny_keyframes_lite/validation.jsonl").read_text().splitlines()]
    assert [row["iteration"] for row in rows] == [100, 200]
    assert rows[-1]["restored"]["psnr"] > rows[-1]["compressed"]["psnr"]
    manifest = yaml.safe_load((tmp_path / "pretrained_models/manifest.yml").read_text(encoding="utf-8"))
    assert "tour" in json.dumps(manifest)
    assert (tmp_path / "demo/by_my_weights.mp4").stat().st_size > 0
    assert json.loads((tmp_path / "demo/measured/metrics.json").read_text(encoding="utf-8"))
