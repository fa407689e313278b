"""What all sections of an options file are made of: a strict base, and the types of their values."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, NoReturn

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo
from pydantic_core import PydanticCustomError


class Section(BaseModel):
    """A mapping of the file: strict types, no unknown keys, frozen."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


def refuse(key: str, message: str) -> NoReturn:
    """Fail a check that concerns `key` (dotted, relative to the section that checks)."""
    kind = "check"
    raise PydanticCustomError(kind, "{message}", {"message": message, "key": key})


def refuse_all(found: list[tuple[str, str]]) -> None:
    """Fail all of several checks, if there are any: (key, message) as `refuse` takes them."""
    if found:
        kind = "checks"
        raise PydanticCustomError(kind, "several", {"found": found})


def _existing(path: str, info: ValidationInfo) -> str:
    """Check that a file is there; paths are relative to the root that the gate was given."""
    context = info.context or {}
    if context.get("check_paths", False) and not (Path(context["root"]) / Path(path).expanduser()).is_file():
        msg = "no such file (relative paths start at the repository's root)"
        raise ValueError(msg)
    return path


def _weights(source: str, info: ValidationInfo) -> str:
    """Check weights that are given as a file; a bare name is looked up in the manifest when the run starts."""
    return _existing(source, info) if Path(source).name != source or Path(source).suffix else source


ExistingFile = Annotated[str, AfterValidator(_existing)]
WeightsSource = Annotated[str, AfterValidator(_weights)]
Positive = Annotated[int, Field(ge=1)]
Count = Annotated[int, Field(ge=0)]
Rate = Annotated[float, Field(gt=0)]
Weight = Annotated[float, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
