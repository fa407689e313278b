"""What is known of a finished clip: its record, the hashes that prove it complete, and the list of all clips of one CRF."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from keyframes_gan.atomic import atomic_write
from keyframes_gan.preprocess.settings import Settings, natural

VERSION = 1
RECORD = "clip.json"
BLOCK = 1 << 20


def hash_file(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()


def hash_folder(folder: Path) -> str:
    """Return one SHA-256 over a folder's files in order of name, each as name, zero byte, content."""
    digest = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        digest.update(path.name.encode() + b"\0")
        digest.update(path.read_bytes())
    return digest.hexdigest()


def hash_path(path: Path) -> str:
    """Return the hash of a file, or of a folder's files."""
    return hash_folder(path) if path.is_dir() else hash_file(path)


def read_record(path: Path) -> dict[str, Any] | None:
    """Return the record in a file, or None when there is none that can be read."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return record if isinstance(record, dict) else None


def why_incomplete(record: dict[str, Any] | None, settings: Settings) -> str:
    """Return why a clip has to be made (again), in a few words; an empty string when it is complete and unchanged."""
    if record is None:
        return "new"
    if record.get("version") != VERSION:
        return "written by another version"
    if record.get("options") != settings.options():
        return "options changed"
    try:
        changed = [path for path, value in record["sha256"].items() if hash_path(settings.base / path) != value]
    except (OSError, KeyError):
        return "files are missing"
    return f"{', '.join(changed)} changed" if changed else ""


def write_list(base: Path, crf: int) -> Path:
    """Write `clips_CRF.jsonl`, one line for every complete clip of that CRF, and return its path."""
    records = [read_record(path) for path in (base / f"processed_{crf}").glob(f"*/{RECORD}") if not path.parent.name.startswith(".")]
    found = sorted((record for record in records if record is not None), key=lambda record: natural(str(record["name"])))
    target = base / f"clips_{crf}.jsonl"
    with atomic_write(target) as temporary:
        temporary.write_text("".join(json.dumps(record) + "\n" for record in found), encoding="utf-8")
    return target
