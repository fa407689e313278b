"""Safe YAML in which every value knows where it stands.

The language is YAML 1.1 as PyYAML's safe loader reads it, with two corrections: `1e-4` is a number, and a key given twice is a problem
instead of the last one winning. No tag builds anything but plain data, and aliases cannot blow a small file up into a large one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import yaml

from keyframes_gan.errors import OptionsError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

KeyPath = tuple["str | int", ...]
MAX_NODES = 20_000
MAX_LEVELS = 50
MAP_TAG, SEQ_TAG, MERGE_TAG = "tag:yaml.org,2002:map", "tag:yaml.org,2002:seq", "tag:yaml.org,2002:merge"


class Place(NamedTuple):
    """Where something stands: a file (or the flag `--force_yml`), a line and a column, both from 1."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


class Problem(NamedTuple):
    """One thing that is wrong."""

    place: Place
    key: KeyPath
    message: str

    def __str__(self) -> str:
        return f"{self.place}: {dotted(self.key)}: {self.message}" if self.key else f"{self.place}: {self.message}"


def dotted(key: KeyPath) -> str:
    """Write a key as people do: `train.optim_g.betas[1]`."""
    text = ""
    for part in key:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


@dataclass
class Document:
    """Plain data, the place of every key and of every value in it, and what was wrong on the way."""

    file: str
    data: Any = None
    keys: dict[KeyPath, Place] = field(default_factory=dict)
    values: dict[KeyPath, Place] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def place(self, key: KeyPath, *, of_key: bool = False) -> Place:
        """Return where the value (or the key) stands, or the nearest thing around it that is in the file."""
        for length in range(len(key), 0, -1):
            found = (self.keys if of_key else self.values).get(key[:length])
            if found is not None:
                return found
        return Place(self.file, 1, 1)


class _TooDeepError(yaml.MarkedYAMLError):
    """More levels than anybody means."""


class _Loader(yaml.SafeLoader):
    """The safe loader, with numbers such as 1e-4 read as numbers, and a limit to levels, since each takes some of Python's stack."""

    _level = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """Return the next node, with all in it."""
        if self._level > MAX_LEVELS:
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]  # PyYAML's own
            problem = f"expected at most {MAX_LEVELS} levels of sections or lists, got more"
            raise _TooDeepError(problem=problem, problem_mark=mark)
        self._level += 1
        node = super().compose_node(parent, index)
        self._level -= 1
        return node


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)[eE][-+]?[0-9]+$"), list("-+0123456789.")
)


def read(path: Path, *, name: str | None = None) -> Document:
    """Read a YAML file.

    Args:
        path: the file.
        name: what to call it in messages; default: the path.

    Raises:
        OptionsError: there is no such file, it cannot be read, or it is not UTF-8.
    """
    label = name or str(path)
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        msg = f"{label}: cannot read the options file ({error.strerror}); give an existing file with -opt"
        raise OptionsError(msg) from error
    except UnicodeDecodeError as error:
        msg = f"{label}: expected UTF-8 text, got byte {error.object[error.start]:#04x} at {error.start}; save the file as UTF-8"
        raise OptionsError(msg) from error
    return read_text(text, label)


def read_text(text: str, label: str) -> Document:
    """Read YAML from a string; syntax errors become problems of the document."""
    document = Document(label)
    try:
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
            if node is not None:
                document.data = _Walk(document, loader).value(node, ())
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = Place(label, mark.line + 1, mark.column + 1) if mark else Place(label, 1, 1)
        prefix = "" if isinstance(error, _TooDeepError) else "not YAML: "
        document.problems.append(Problem(place, (), f"{prefix}{error.problem}"))
    except yaml.YAMLError as error:
        document.problems.append(Problem(Place(label, 1, 1), (), f"not YAML: {' '.join(str(error).split())}"))
    return document


class _Walk:
    """Turns a tree of YAML nodes into plain data."""

    def __init__(self, document: Document, loader: _Loader) -> None:
        self.document, self.loader = document, loader
        self.nodes = 0
        self.above: set[int] = set()

    def value(self, node: yaml.Node, key: KeyPath) -> Any:  # noqa: ANN401
        """Return the data of `node`, noting places and problems."""
        self.document.values.setdefault(key, self._place(node))
        self.nodes += 1
        if id(node) in self.above or self.nodes > MAX_NODES:
            if self.nodes <= MAX_NODES + 1:
                self._problem(node, key, f"aliases repeat themselves or give more than {MAX_NODES} values")
            return None
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, key)
        self.above.add(id(node))
        try:
            if isinstance(node, yaml.MappingNode) and node.tag == MAP_TAG:
                return self._mapping(node, key)
            if isinstance(node, yaml.SequenceNode) and node.tag == SEQ_TAG:
                return [self.value(item, (*key, number)) for number, item in enumerate(node.value)]
        finally:
            self.above.discard(id(node))
        self._problem(node, key, f"the tag {node.tag} is not allowed; only plain data is")
        return None

    def _scalar(self, node: yaml.ScalarNode, key: KeyPath) -> Any:  # noqa: ANN401
        try:
            return self.loader.construct_object(node)
        except yaml.constructor.ConstructorError:
            self._problem(node, key, f"the tag {node.tag} is not allowed; only plain data is")
        except ValueError as error:
            self._problem(node, key, f"cannot be read: {error}")
        return None

    def _mapping(self, node: yaml.MappingNode, key: KeyPath) -> dict[str, Any]:
        own: dict[str, Any] = {}
        merged: dict[str, Any] = {}
        for name_node, value_node in node.value:
            if name_node.tag == MERGE_TAG:
                merged = {**self._merge(value_node, key), **merged}
                continue
            if not isinstance(name_node, yaml.ScalarNode):
                self._problem(name_node, key, "expected a name before the colon")
                continue
            name = name_node.value
            here = (*key, name)
            if name in own:
                self._problem(name_node, here, f"given twice, first at line {self.document.keys[here].line}")
                continue
            self.document.keys[here] = self._place(name_node)
            self.document.values[here] = self._place(value_node)
            own[name] = self.value(value_node, here)
        return {**merged, **own}

    def _merge(self, node: yaml.Node, key: KeyPath) -> dict[str, Any]:
        """Return what `<<:` brings in; of several mappings the first wins."""
        if isinstance(node, yaml.SequenceNode):
            merged: dict[str, Any] = {}
            for item in reversed(node.value):
                merged.update(self._merge(item, key))
            return merged
        if isinstance(node, yaml.MappingNode):
            brought = self.value(node, key)
            return brought if isinstance(brought, dict) else {}
        self._problem(node, key, "expected a mapping after <<")
        return {}

    def _place(self, node: yaml.Node) -> Place:
        return Place(self.document.file, node.start_mark.line + 1, node.start_mark.column + 1)

    def _problem(self, node: yaml.Node, key: KeyPath, message: str) -> None:
        self.document.problems.append(Problem(self._place(node), key, message))


def override(document: Document, entries: Sequence[str]) -> None:
    """Set values from `a:b:c=value` entries, each value read as YAML; sections that are not there are made."""
    for number, entry in enumerate(entries, start=1):
        name, equals, text = entry.partition("=")
        key: KeyPath = tuple(part.strip() for part in name.split(":"))
        place = Place("--force_yml", number, 1)
        if not equals or not all(key):
            document.problems.append(Problem(place, (), f"expected section:key=value, got {entry!r}"))
            continue
        given = read_text(text, "--force_yml")
        document.problems += [Problem(place, key, problem.message) for problem in given.problems]
        section = document.data
        for length, part in enumerate(key[:-1], start=1):
            if isinstance(section, dict) and part not in section:
                section[part] = {}
                document.keys[key[:length]] = document.values[key[:length]] = place
            section = section.get(part) if isinstance(section, dict) else None
        if not isinstance(section, dict):
            document.problems.append(Problem(place, key, f"{dotted(key[:-1]) or 'the file'} is no section to set it in"))
            continue
        section[str(key[-1])] = given.data
        for places in (document.keys, document.values):
            for stale in [old for old in places if old[: len(key)] == key]:
                del places[stale]
            places[key] = place
