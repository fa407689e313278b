"""What `python -m keyframes_gan.weights` does: list, fetch and verify the manifest's weights, and add files of your own.

It stands apart from `keyframes_gan.weights` because adding builds the network that a file is said to be for, which that module never does.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

import archs
from keyframes_gan import weights
from keyframes_gan.atomic import atomic_write
from keyframes_gan.errors import DoorParser, OptionsError, WeightsError, path_of
from keyframes_gan.options.reading import read_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from keyframes_gan.types import WeightsEntry

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]*")
LINE_WIDTH = 140
SHOWN = 80


def main(argv: Sequence[str]) -> int:
    """Run one command; 1 when `verify` finds an altered file.

    Raises:
        WeightsError: no such name, a file that cannot be fetched, or one that `add` refuses.
    """
    given = _parser().parse_args(argv)
    if given.action == "add":
        row = add(
            given.name,
            given.source,
            arch=given.arch,
            kwargs=_mapping(given.kwargs),
            param_key=given.param_key,
            licence=given.licence,
            provenance=given.provenance,
            replace=given.replace,
        )
        sys.stdout.write(f"{row.name}: {weights.FOLDER / row.file}  sha256 {row.sha256}\n")
        return 0
    rows = [weights.entry(name) for name in given.names] or list(weights.entries().values())
    altered = 0
    for row in rows:
        if given.action == "list":
            line = f"{row.file}  {row.licence}  {row.url or 'no address'}"
        elif given.action == "verify":
            line = _state_of(row)
            altered += line == "altered"
        else:
            line = _fetched(row, asked=bool(given.names))
        sys.stdout.write(f"{row.name}: {line}\n")
    return int(altered > 0)


def _parser() -> argparse.ArgumentParser:
    parser = DoorParser(prog="python -m keyframes_gan.weights", description=__doc__)
    actions = parser.add_subparsers(dest="action", required=True, metavar="{list,fetch,verify,add}")
    for action, text in (
        ("list", "names, files, licences and addresses"),
        ("fetch", "download; without names, all that have an address and a free licence"),
        ("verify", "compare files with their hashes"),
    ):
        actions.add_parser(action, help=text).add_argument("names", nargs="*", metavar="NAME", help="default: all")
    new = actions.add_parser("add", help="check a file of your own, and make it usable by name").add_argument
    new("name", metavar="NAME", help="how --weights will call it")
    new("--from", dest="source", type=path_of, required=True, metavar="FILE", help="checkpoint (.pth of tensors, or .safetensors)")
    new(
        "--arch",
        help="network of this project that it is for (archs.ARCHS); default: as train.py's safetensors say, else one that spandrel knows",
    )
    new("--kwargs", default="", help="arguments of that network, for instance '{dim_embd: 256}'")
    new("--param_key", "--param-key", help="entry of the file to take (default: params_ema, else params, else state_dict)")
    new("--licence", help="of the numbers; needed for a new name")
    new("--provenance", help="where they come from, for instance the options file, commit, iteration and data of a training")
    new("--replace", action="store_true", help="put it in place of the weights that have this name; what is not given stays as it is")
    return parser


def _mapping(text: str) -> dict[str, Any] | None:
    if not text:
        return None
    document = read_text(text, "--kwargs")
    if document.problems or not isinstance(document.data, dict):
        found = f": {document.problems[0].message}" if document.problems else ""
        msg = f"--kwargs: expected YAML like '{{name: value}}', got {text[:SHOWN]!r}{found}"
        raise WeightsError(msg)
    return {str(key): value for key, value in document.data.items()}


def _state_of(row: WeightsEntry) -> str:
    """Return one word or sentence on whether a row's file is here and sound."""
    try:
        path = weights.locate(row.name, allow_download=False)
    except WeightsError as error:
        return "altered" if "sha256" in str(error) else "absent"
    return "ok" if row.sha256 else f"present, hash unknown to the manifest: {weights.digest(path)}"


def _fetched(row: WeightsEntry, *, asked: bool) -> str:
    """Fetch a row's file where it is asked for by name, or has an address and a free licence."""
    if asked:
        return str(weights.locate(row.name))
    if row.restricted:
        return f"skipped: licence {row.licence}; name it to fetch it"
    return str(weights.locate(row.name)) if row.url else "skipped: no address to fetch it from"


def add(
    name: str,
    source: Path,
    *,
    arch: str | None = None,
    kwargs: dict[str, Any] | None = None,
    param_key: str | None = None,
    licence: str | None = None,
    provenance: str | None = None,
    replace: bool = False,
) -> WeightsEntry:
    """Check a checkpoint, copy it into `pretrained_models/` as NAME.safetensors and write its row into the manifest.

    Args:
        name: of the row.
        source: the checkpoint; of several entries the averaged weights are taken (see `keyframes_gan.weights.load_state`).
        arch: the network it must fit, strictly, a name of `archs.ARCHS`; None: the one that train.py wrote into a safetensors file, else
            any network that spandrel knows, as strictly.
        kwargs: the network's arguments; None: those that train.py wrote into the file.
        param_key: the entry of the file to take.
        licence: of the numbers.
        provenance: where they come from.
        replace: whether a row of that name may be replaced; `arch`, `kwargs`, `licence` and `provenance` that are None then stay.

    Raises:
        WeightsError: the name is taken or not allowed, a licence is missing, or the file is no checkpoint, would run code, does not fit the
            network, or holds values that are not finite.
    """
    if not source.is_file():
        msg = f"--from: expected a checkpoint, got {source}, which is no file"
        raise WeightsError(msg)
    old = weights.entries().get(name)
    if old is not None and not replace:
        msg = f"{name}: expected a name that the manifest does not have yet, got one it has; choose another, or add --replace"
        raise WeightsError(msg)
    if not NAME.fullmatch(name):
        msg = f"expected a name of letters, digits and _ . + -, got {name!r}"
        raise WeightsError(msg)
    licence = licence or (old.licence if old else None)
    if not licence:
        msg = f"{name}: expected --licence, for instance Apache-2.0, got none"
        raise WeightsError(msg)
    if arch is None and kwargs is None:
        named, arguments = weights.metadata(source)
        arch, kwargs = (named, arguments) if named in archs.ARCHS else (None, None)
    arch = arch if arch is not None or old is None else old.arch or None
    kwargs = kwargs if kwargs is not None or old is None else old.kwargs
    state = weights.load_state(source, param_key=param_key)
    _check_fits(state, arch, kwargs or {}, str(source))
    target = weights.FOLDER / f"{name}.safetensors"
    if target.exists() and not replace:
        msg = f"{target}: expected no such file yet; remove it, choose another name, or add --replace"
        raise WeightsError(msg)
    _save(state, target)
    fields = {
        "file": target.name,
        "url": None,
        "sha256": weights.digest(target),
        "arch": arch,
        "kwargs": kwargs or {},
        "param_key": None,
        "licence": licence,
        "provenance": provenance or (old.provenance if old else f"Added from {source.name}."),
    }
    _write_row(name, fields)
    return weights.entry(name)


def _check_fits(state: dict[str, Tensor], arch: str | None, kwargs: dict[str, Any], source: str) -> None:
    """Raise `WeightsError` unless the tensors are finite and fit the network, key by key."""
    from keyframes_gan import public_networks  # noqa: PLC0415

    bad = [key for key, value in state.items() if value.is_floating_point() and not value.isfinite().all()]
    if bad:
        msg = f"{source}: expected finite numbers, got others in {len(bad)} of {len(state)} tensors ({bad[0]}); choose another checkpoint"
        raise WeightsError(msg)
    if arch is None:
        public_networks.identify(dict(state), source)
        return
    try:
        network = archs.build(arch, **kwargs)
    except (OptionsError, TypeError, ValueError) as error:
        msg = f"--arch {arch}, --kwargs {kwargs}: expected a network of this project and its arguments, got: {error}"
        raise WeightsError(msg) from error
    weights.load_into(network, state, name=source)


def _save(state: dict[str, Tensor], target: Path) -> None:
    from safetensors.torch import save  # noqa: PLC0415

    content = save({key: value.detach().clone().contiguous() for key, value in state.items()})
    with atomic_write(target) as part:
        part.write_bytes(content)  # its own save_file would make a file that nobody else can read


def _write_row(name: str, fields: dict[str, Any]) -> None:
    """Put a row into the manifest, in place of the one that has its name or at the end; comments and other rows stay."""
    path = weights.FOLDER / weights.MANIFEST
    text = path.read_text(encoding="utf-8")
    row = yaml.safe_dump({name: fields}, sort_keys=False, allow_unicode=True, width=LINE_WIDTH)
    block = re.compile(rf"^{re.escape(name)}:.*\n(?:[ \t].*\n|\n(?=[ \t]))*", re.MULTILINE)
    whole = text if text.endswith("\n") else text + "\n"
    changed = block.sub(lambda _: row, whole, count=1) if block.search(whole) else f"{whole}\n{row}"
    with atomic_write(path) as part:
        part.write_text(changed, encoding="utf-8")
