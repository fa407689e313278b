"""The gate in front of training: an options file is read, checked and typed before anything heavy is imported.

`load` reports all problems at once as `file:line:col: key: message, got value`. Nothing here imports torch or BasicSR.
"""

from __future__ import annotations

import copy
import difflib
import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import ValidationError

from keyframes_gan.errors import OptionsError
from keyframes_gan.options.benchmark import Benchmark
from keyframes_gan.options.reading import Document, KeyPath, Problem, override, read
from keyframes_gan.options.routed import Routing
from keyframes_gan.options.schemas import TRAININGS, Recipe, known_keys, plain
from keyframes_gan.options.section import Section

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pydantic_core import ErrorDetails

__all__ = ["ROOT", "TRAININGS", "Benchmark", "Options", "digest", "load", "load_benchmark", "load_routing", "plain"]

ROOT = Path(__file__).resolve().parents[2]
SHOWN_CHARACTERS = 60

Options = Recipe
Checked = TypeVar("Checked", bound=Section)


def load(path: Path, overrides: Sequence[str] = (), *, root: Path = ROOT, check_paths: bool = True, processes: int = 1) -> Options:
    """Read and check an options file.

    Args:
        path: the YAML file.
        overrides: `section:key=value` entries that replace or add values, as `--force_yml` takes them.
        root: where relative paths in the file start.
        check_paths: whether the files it names must exist.
        processes: how many train together.

    Raises:
        OptionsError: with one line for each problem.
    """
    document = read(path)
    override(document, overrides)
    return _checked(document, _training_of, {"root": root, "check_paths": check_paths, "processes": processes})


def load_benchmark(path: Path, overrides: Sequence[str] = (), *, root: Path = ROOT, check_paths: bool = True) -> Benchmark:
    """Read and check an options file of `benchmark.py`; arguments and errors as `load`."""
    document = read(path)
    override(document, overrides)
    return _checked(document, lambda _: Benchmark, {"root": root, "check_paths": check_paths})


def load_routing(path: Path, *, root: Path = ROOT, check_paths: bool = True) -> Routing:
    """Read and check a file of the kind of options/infer/routed.yml; arguments and errors as `load`."""
    return _checked(read(path), lambda _: Routing, {"root": root, "check_paths": check_paths})


def _checked(document: Document, schema_of: Callable[[Document], type[Checked] | None], context: dict[str, Any]) -> Checked:
    """Return the options of a document, checked against the schema that `schema_of` finds, or raise all its problems."""
    checked = None
    if document.data is None and not document.problems:
        document.problems.append(Problem(document.place(()), (), "expected options, got an empty file"))
    elif not isinstance(document.data, dict):
        document.problems += [] if document.problems else [Problem(document.place(()), (), "expected a mapping of options")]
    else:
        schema = schema_of(document)
        checked = None if schema is None else _validate(document, schema, context)
    if document.problems or checked is None:
        ordered = sorted(set(document.problems), key=lambda problem: (problem.place, str(problem.key)))
        raise OptionsError("\n".join(str(problem) for problem in ordered))
    return checked


def digest(options: Options) -> str:
    """Return the sha256 (hex) of the effective options, that is with defaults filled in and overrides applied."""
    return hashlib.sha256(json.dumps(plain(options), sort_keys=True).encode()).hexdigest()


def _training_of(document: Document) -> type[Options] | None:
    """Return the schema that `model_type` names; where there is none, that is a problem of the document."""
    kind = document.data.get("model_type")
    schema = TRAININGS.get(kind) if isinstance(kind, str) else None
    if schema is None:
        message = f"expected one of {', '.join(TRAININGS)}, got {_shown(kind)}"
        document.problems.append(Problem(document.place(("model_type",)), ("model_type",), message))
    return schema


def _validate(document: Document, schema: type[Checked], context: dict[str, Any]) -> Checked | None:
    """Check the data against a schema, adding to the document's problems."""
    already = {problem.key for problem in document.problems}
    try:
        return schema.model_validate(document.data, context=context)
    except ValidationError as error:
        details = _details(error)
    unknown = [_key(document.data, detail["loc"]) for detail in details if detail["type"] == "extra_forbidden"]
    found = [_problem(document, detail) for detail in (*details, *_further(document.data, schema, context, unknown))]
    document.problems += [problem for problem in found if problem.key not in already]
    return None


def _further(data: Any, schema: type[Checked], context: dict[str, Any], unknown: list[KeyPath]) -> list[ErrorDetails]:  # noqa: ANN401
    """Return what does not go together in a file that has `unknown` keys or names missing files; while it has, that is not looked at."""
    known = copy.deepcopy(data)
    for key in unknown:
        _at(known, key[:-1]).pop(key[-1], None)
    try:
        schema.model_validate(known, context={**context, "check_paths": False})
    except ValidationError as error:
        return [detail for detail in _details(error) if detail["type"] == "check"]
    return []


def _details(error: ValidationError) -> list[ErrorDetails]:
    return [detail for several in error.errors(include_url=False) for detail in _single(several)]


def _single(detail: ErrorDetails) -> list[ErrorDetails]:
    """Return the errors that a section's checks found together, else the one error."""
    if detail["type"] != "checks":
        return [detail]
    return [{**detail, "type": "check", "msg": message, "ctx": {"key": key}} for key, message in detail["ctx"]["found"]]


def _problem(document: Document, detail: ErrorDetails) -> Problem:
    """Turn one of pydantic's errors into a problem with a place."""
    key = _key(document.data, detail["loc"])
    kind, message = detail["type"], detail["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    if kind == "extra_forbidden":
        known, name = known_keys(), str(key[-1])
        near = difflib.get_close_matches(name, known, n=1)
        hint = " in this section; others have it" if name in known else f"; did you mean {near[0]}?" if near else ""
        return Problem(document.place(key, of_key=True), key, f"unknown key{hint}")
    if kind == "missing":
        return Problem(document.place(key, of_key=True), key, "missing; it has no default")
    if kind == "check":
        key = (*key, *str(detail["ctx"]["key"]).split("."))
        return Problem(document.place(key), key, f"{message}, got {_shown(_at(document.data, key))}")
    if kind in {"union_tag_invalid", "union_tag_not_found"}:
        names = detail["ctx"].get("expected_tags", "a type").replace("'", "")
        value = _at(document.data, (*key, "type"))
        return Problem(document.place((*key, "type")), (*key, "type"), f"expected one of {names}, got {_shown(value)}")
    if kind == "value_error":
        return Problem(document.place(key), key, f"{message}, got {_shown(detail['input'])}")
    return Problem(document.place(key), key, f"expected {message[:1].lower()}{message[1:]}, got {_shown(detail['input'])}")


def _key(data: Any, location: tuple[int | str, ...]) -> KeyPath:  # noqa: ANN401
    """Leave out what pydantic adds to a location: the chosen member of a union, and marks such as `[key]`."""
    key: list[int | str] = []
    for part in location:
        inside = isinstance(data, dict) and part in data
        if isinstance(data, list) and isinstance(part, int) and part < len(data):
            inside = True
        if inside:
            data = data[part]
            key.append(part)
        elif isinstance(data, dict) and part != data.get("type") and part != "[key]":
            key.append(part)
            data = None
    return tuple(key)


def _at(data: Any, key: KeyPath) -> Any:  # noqa: ANN401
    """Return the value at `key`, None where there is none."""
    for part in key:
        try:
            data = data[part]
        except (KeyError, IndexError, TypeError):
            return None
    return data


def _shown(value: Any) -> str:  # noqa: ANN401
    """Write a value as in YAML, shortened."""
    text = "nothing" if value is None else json.dumps(value, default=str)
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[: SHOWN_CHARACTERS - 3]}..."
