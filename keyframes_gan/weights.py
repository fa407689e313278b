"""Weights: where they come from, whether they are what they claim to be, and whether they fit.

`pretrained_models/manifest.yml` is the only place that knows a file name, an address, a hash or a licence. Here a name becomes
a checked file (`locate`), a file becomes tensors (`load_state`), and tensors go into a network, strictly (`load_into`).
Pickles are never unpickled freely: `torch.load(weights_only=True)` or safetensors. Importing this module does not import torch.

    python -m keyframes_gan.weights {list,fetch,verify} [NAME ...]
    python -m keyframes_gan.weights add NAME --from FILE ...
"""

from __future__ import annotations

import difflib
import hashlib
import json
import logging
import os
import pickle
import re
import sys
import warnings
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from keyframes_gan.download import FLAG, fetch
from keyframes_gan.errors import WeightsError, run_door
from keyframes_gan.types import WeightsEntry

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from torch import Tensor, nn

FOLDER = Path(__file__).resolve().parents[1] / "pretrained_models"
MANIFEST = "manifest.yml"
PARAM_KEYS = ("params_ema", "params", "state_dict", "G", "model")
SHOWN_KEYS = 3
HASH = re.compile(r"[0-9a-f]{8,64}")

_FIELDS: dict[str, tuple[type, ...]] = {
    "file": (str,),
    "url": (str, type(None)),
    "sha256": (str, type(None)),
    "arch": (str, type(None)),
    "kwargs": (dict,),
    "param_key": (str, type(None)),
    "licence": (str,),
    "provenance": (str,),
}

logger = logging.getLogger(__name__)


def entries() -> dict[str, WeightsEntry]:
    """Return the manifest's rows by name.

    In a row, `sha256` is the whole hash in lower case, or its first digits (at least 8), or "" where it is not known;
    `arch` is "" for files that are not a network of this project.

    Raises:
        WeightsError: the manifest is missing or a row is malformed; the message names row and field.
    """
    path = FOLDER / MANIFEST
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        msg = f"{path}: expected the list of weights, got {error.strerror}; restore the file from the repository"
        raise WeightsError(msg) from error
    return dict(_parse(text))


def entry(name: str) -> WeightsEntry:
    """Return the manifest's row `name`.

    Raises:
        WeightsError: no such row; the message names the most similar one.
    """
    rows = entries()
    if name not in rows:
        known = f"expected a name from pretrained_models/{MANIFEST}, got {name!r}"
        msg = f"weights: {known}; {_meant(name)}python -m keyframes_gan.weights list shows them all"
        raise WeightsError(msg)
    return rows[name]


def _meant(name: str) -> str:
    """Return a hint at the manifest's name that is most like `name`."""
    close = difflib.get_close_matches(name, entries(), n=1)
    return f"did you mean {close[0]}? " if close else ""


@lru_cache(maxsize=4)
def _parse(text: str) -> dict[str, WeightsEntry]:
    try:
        rows = yaml.safe_load(text)
    except yaml.YAMLError as error:
        msg = f"{MANIFEST}: expected YAML, got {' '.join(str(error).split())}"
        raise WeightsError(msg) from error
    if not isinstance(rows, dict):
        msg = f"{MANIFEST}: expected names with fields, got {type(rows).__name__}"
        raise WeightsError(msg)
    return {str(name): _row(str(name), fields) for name, fields in rows.items()}


def _row(name: str, fields: object) -> WeightsEntry:
    if not isinstance(fields, dict) or set(fields) != set(_FIELDS):
        got = ", ".join(map(str, fields)) if isinstance(fields, dict) else type(fields).__name__
        msg = f"{MANIFEST}: {name}: expected the fields {', '.join(_FIELDS)}, got {got}"
        raise WeightsError(msg)
    for field, kinds in _FIELDS.items():
        if not isinstance(fields[field], kinds):
            msg = f"{MANIFEST}: {name}.{field}: expected {' or '.join(kind.__name__ for kind in kinds)}, got {fields[field]!r}"
            raise WeightsError(msg)
    if Path(fields["file"]).name != fields["file"]:
        msg = f"{MANIFEST}: {name}.file: expected a bare file name, got {fields['file']!r}"
        raise WeightsError(msg)
    if fields["sha256"] is not None and not HASH.fullmatch(fields["sha256"]):
        msg = f"{MANIFEST}: {name}.sha256: expected 8 to 64 lower-case hexadecimal digits or null, got {fields['sha256']!r}"
        raise WeightsError(msg)
    given: dict[str, Any] = {**fields, "sha256": fields["sha256"] or "", "arch": fields["arch"] or ""}
    return WeightsEntry(name=name, **given)


def digest(path: Path) -> str:
    """Return the SHA-256 of a file, 64 lower-case hexadecimal digits."""
    state = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            state.update(block)
    return state.hexdigest()


def locate(name_or_path: str | Path, *, allow_download: bool = True) -> Path:
    """Return the file that `name_or_path` means, checked against the manifest's hash when it is a name.

    A name is looked up in `pretrained_models/`, then in torch's own cache; failing both, it is downloaded (once, even when
    several processes ask at the same time), after its licence has been printed where that is not a free one. A path to a file is
    taken as it is.

    Args:
        name_or_path: a name of the manifest, or a file.
        allow_download: False to fail rather than use the network.

    Raises:
        WeightsError: no such name or file, the hash differs, or it cannot be fetched.
    """
    if isinstance(name_or_path, Path) or name_or_path not in entries():
        path = Path(name_or_path).expanduser()
        if path.is_file():
            return path
        if isinstance(name_or_path, Path) or path.suffix or len(path.parts) > 1:
            msg = f"{name_or_path}: expected a weights file, got nothing there; {_meant(path.stem)}change --weights"
        else:
            known = f"expected a file, or a name from pretrained_models/{MANIFEST}, got {name_or_path!r}"
            msg = f"weights: {known}; {_meant(name_or_path)}change --weights"
        raise WeightsError(msg)
    row = entry(str(name_or_path))
    target = FOLDER / row.file
    for path in (target, _torch_cache() / row.file):
        if path.is_file():
            _check(row, path)
            return path
    if row.url is None or not allow_download:
        where = "no address to fetch it from" if row.url is None else f"{row.url} (downloading is switched off)"
        msg = f"{row.name}: expected {target}, got nothing there; {where}: put it there. {FLAG}. {row.provenance}"
        raise WeightsError(msg)
    if row.restricted:
        sys.stderr.write(f"note: {row.name}: licence: {row.licence}. {row.provenance}\n")
    fetch(row.url, target, check=lambda path: _check(row, path), resume=bool(row.sha256))
    return target


def kwargs_of(name_or_path: str | Path, arch: str) -> dict[str, Any]:
    """Return the arguments with which the network `arch` takes these weights.

    They are those of the manifest, or those that train.py wrote into a safetensors file; none where it says nothing of `arch`.

    Raises:
        WeightsError: the file cannot be read.
    """
    if isinstance(name_or_path, str) and name_or_path in entries():
        row = entry(name_or_path)
        return dict(row.kwargs) if row.arch == arch else {}
    named, kwargs = metadata(Path(name_or_path).expanduser())
    return kwargs if named == arch else {}


def metadata(path: Path) -> tuple[str, dict[str, Any]]:
    """Return the network's name and arguments that train.py wrote into a safetensors file; "" and {} where there are none.

    Of final weights it writes the .pth and the safetensors file side by side, so either may be named.

    Raises:
        WeightsError: the file cannot be read.
    """
    path = path.with_suffix(".safetensors")
    if not path.is_file():
        return "", {}
    from safetensors import SafetensorError, safe_open  # noqa: PLC0415

    try:
        with safe_open(path, framework="np") as stored:
            known = stored.metadata() or {}
        kwargs = json.loads(known.get("kwargs", "{}"))
    except (SafetensorError, OSError, ValueError) as error:
        msg = f"{path}: expected a checkpoint (.safetensors), got something else: {error}"
        raise WeightsError(msg) from error
    return (str(known.get("arch", "")), kwargs) if isinstance(kwargs, dict) else ("", {})


def at_hand(name: str) -> bool:
    """Tell whether the file of the manifest's row `name` is on this machine; whether it is sound, `locate` will see.

    Raises:
        WeightsError: no such row.
    """
    row = entry(name)
    return any((folder / row.file).is_file() for folder in (FOLDER, _torch_cache()))


def _torch_cache() -> Path:
    """Return the folder where torch.hub and torchvision leave what they download."""
    cache = os.environ.get("XDG_CACHE_HOME", "~/.cache")
    return Path(os.environ.get("TORCH_HOME", f"{cache}/torch")).expanduser() / "hub" / "checkpoints"


def _check(row: WeightsEntry, path: Path) -> None:
    """Raise `WeightsError` unless the hash of `path` is, or begins with, the manifest's."""
    if not row.sha256:
        logger.info("%s: the manifest knows no hash for %s; only its keys are checked", row.name, path.name)
        return
    got = digest(path)
    if not got.startswith(row.sha256):
        msg = f"{path}: expected sha256 {row.sha256}, got {got}; the file is altered or incomplete: delete it and fetch it again"
        raise WeightsError(msg)


def load_state(name_or_path: str | Path, *, param_key: str | None = None) -> dict[str, Tensor]:
    """Return the tensors of a checkpoint by key, on the CPU.

    Args:
        name_or_path: as for `locate`.
        param_key: the entry that holds the tensors ("params", "params_ema"). None: the manifest's, else the first of
            `params_ema`, `params`, `state_dict`, `G`, `model` that the file has, else the file itself.

    Raises:
        WeightsError: as for `locate`; or the file is no checkpoint, holds anything but tensors, or would run code when unpickled.
    """
    path = locate(name_or_path)
    if param_key is None and isinstance(name_or_path, str) and name_or_path in entries():
        param_key = entry(name_or_path).param_key
    return _tensors(_read(path), path, param_key)


def _read(path: Path) -> object:
    """Return what a checkpoint file holds, without running any code of it."""
    import torch  # noqa: PLC0415  (importing weights must stay cheap)
    from safetensors import SafetensorError  # noqa: PLC0415
    from safetensors.torch import load_file  # noqa: PLC0415

    try:
        if path.suffix == ".safetensors":
            return load_file(path, device="cpu")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # on odd pickles torch both warns and raises; the error says it all
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        reason = re.search(r"(?:GLOBAL|global) (\S+)|([Uu]nsupported [^\n.]*)", str(error))
        found = " ".join(group for group in reason.groups() if group) if reason else "an unreadable pickle"
        msg = f"{path}: expected a checkpoint of plain tensors, got {found}; it was not loaded, because unpickling it could run code"
        raise WeightsError(msg) from error
    except (SafetensorError, RuntimeError, EOFError, ValueError, LookupError, TypeError, AttributeError, OSError) as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        msg = f"{path}: expected a checkpoint (.pth of tensors, or .safetensors), got something else: {first}"
        raise WeightsError(msg) from error


def _tensors(content: Any, path: Path, param_key: str | None) -> dict[str, Tensor]:  # noqa: ANN401
    """Return the entry `param_key` of `content`, checked to be tensors by name."""
    import torch  # noqa: PLC0415

    if not isinstance(content, dict):
        msg = f"{path}: expected tensors by name, got {type(content).__name__}"
        raise WeightsError(msg)
    if param_key is None:
        param_key = next((key for key in PARAM_KEYS if isinstance(content.get(key), dict)), None)
    if param_key is not None:
        if not isinstance(content.get(param_key), dict):
            msg = f"{path}: expected an entry {param_key!r}, got {_few([str(key) for key in content])}; choose another param_key"
            raise WeightsError(msg)
        content = content[param_key]
    named: dict[str, Any] = {str(key): value for key, value in content.items()}
    odd = [f"{key} ({type(value).__name__})" for key, value in named.items() if not isinstance(value, torch.Tensor)]
    if odd or not named:
        msg = f"{path}: expected tensors by name, got {_few(odd) if odd else 'none'}"
        raise WeightsError(msg)
    return named


def load_into(
    module: nn.Module, state: Mapping[str, Tensor], *, name: str, rename: Callable[[dict[str, Tensor]], dict[str, Tensor]] | None = None
) -> None:
    """Copy `state` into `module`, strictly: every key, no other key, every shape.

    Args:
        module: the network.
        state: tensors by key.
        name: how messages call the weights.
        rename: maps foreign key names to the network's, for instance `archs.vgg_arch.rename_torchvision`.

    Raises:
        WeightsError: the keys or shapes differ; the message counts missing, extra and misshapen ones and shows the first few.
            The network is then unchanged.
    """
    given = dict(state) if rename is None else rename(dict(state))
    wanted = module.state_dict()
    missing = [key for key in wanted if key not in given]
    extra = [key for key in given if key not in wanted]
    misshapen = [
        f"{key} {tuple(given[key].shape)} instead of {tuple(value.shape)}"
        for key, value in wanted.items()
        if key in given and given[key].shape != value.shape
    ]
    if missing or extra or misshapen:
        wrong = "; ".join(
            f"{len(keys)} {what}: {_few(keys)}" for what, keys in (("missing", missing), ("extra", extra), ("misshapen", misshapen)) if keys
        )
        msg = f"{name}: expected weights of {type(module).__name__} ({len(wanted)} tensors), got others: {wrong}; choose other weights"
        raise WeightsError(msg)
    module.load_state_dict(given, strict=True)


def _few(keys: Sequence[str]) -> str:
    shown = ", ".join(keys[:SHOWN_KEYS])
    return shown if len(keys) <= SHOWN_KEYS else f"{shown}, ..."


if __name__ == "__main__":
    from keyframes_gan.weights_door import main

    sys.exit(run_door(main))
