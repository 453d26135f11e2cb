"""The catalog of models, read from catalog.toml: names, licences, files with sizes, hashes and sources."""

from __future__ import annotations

import difflib
import tomllib
from functools import cached_property
from importlib.resources import files as package_files
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from chinwag.errors import WeightsError

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
PlainName = Annotated[str, Field(pattern=r"^[\w][\w.+-]*$")]
Bytes = Annotated[int, Field(gt=0)]
SourceName = Literal["index", "hub"]


class _CatalogTable(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class PackageArchive(_CatalogTable):
    """A package on the package index, named as pip names it."""

    requirement: Annotated[str, Field(pattern=r"^[\w.-]+==[\w.]+$")]
    bytes: Bytes
    platform: str = ""
    sdist: bool = False
    sha256: Sha256 | None = None

    @property
    def package(self) -> str:
        """The package's name without its version."""
        return self.requirement.partition("==")[0]

    @model_validator(mode="after")
    def _pinned(self) -> Self:
        if self.sdist and self.sha256 is None:
            raise ValueError("an sdist needs its sha256: pip runs its build backend")
        return self


class ArchiveMember(_CatalogTable):
    """A member of an archive that is a file, or the next piece of one. size, sha256: of the piece."""

    requirement: str
    member: str
    size: Bytes | None = None
    sha256: Sha256 | None = None


class HubFile(_CatalogTable):
    """A file on the Hugging Face hub at a pinned revision."""

    repo: Annotated[str, Field(pattern=r"^[\w.-]+/[\w.-]+$")]
    revision: Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")]
    path: str


class File(_CatalogTable):
    """One file of a model. Every source must deliver the bytes with this sha256."""

    name: PlainName
    size: Bytes
    sha256: Sha256
    index: tuple[ArchiveMember, ...] = Field(default=(), strict=False)
    hub: HubFile | None = None

    @cached_property
    def pieces(self) -> tuple[FilePiece, ...]:
        """Archive members of the package index with their offsets in the file."""
        pieces: list[FilePiece] = []
        offset = 0
        for part in self.index:
            size = part.size or self.size
            pieces.append(FilePiece(self, part, offset, size, part.sha256 or self.sha256))
            offset += size
        return tuple(pieces)

    def has(self, source: SourceName) -> bool:
        """Return whether the source offers the file."""
        return bool(self.index) if source == "index" else self.hub is not None

    @model_validator(mode="after")
    def _adds_up(self) -> Self:
        if not self.index and self.hub is None:
            raise ValueError(f"{self.name} has no source")
        if len(self.index) > 1:
            if any(part.size is None or part.sha256 is None for part in self.index):
                raise ValueError(f"{self.name}: each of several parts needs its size and sha256")
            if sum(part.size or 0 for part in self.index) != self.size:
                raise ValueError(f"{self.name}: the parts' sizes do not add up to {self.size}")
        return self


class FilePiece:
    """An archive member and its byte range in the file: [offset, offset + size)."""

    def __init__(self, file: File, part: ArchiveMember, offset: int, size: int, sha256: str) -> None:
        self.file, self.part = file, part
        self.offset, self.size, self.sha256 = offset, size, sha256


class CatalogModel(_CatalogTable):
    """One entry of the catalog."""

    name: PlainName
    task: Literal["vad", "turn", "stt", "llm", "tts"]
    languages: tuple[str, ...] = Field(min_length=1, strict=False)
    licence: str
    description: str
    archives: tuple[PackageArchive, ...] = Field(default=(), strict=False)
    files: tuple[File, ...] = Field(min_length=1, strict=False)

    @property
    def size(self) -> int:
        """Bytes on disk."""
        return sum(file.size for file in self.files)

    def pieces_of(self, archive: PackageArchive) -> list[FilePiece]:
        """Return all pieces of this model that the archive contains."""
        return [piece for file in self.files for piece in file.pieces if piece.part.requirement == archive.requirement]

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        names = [file.name.lower() for file in self.files]
        if len(set(names)) != len(names):
            raise ValueError("two files have the same name")
        wanted = {part.requirement for file in self.files for part in file.index}
        if wanted != {archive.requirement for archive in self.archives}:
            raise ValueError("the archives are not those that the files' parts name")
        return self


class Catalog:
    """Models by name, in the file's order. text: TOML as in catalog.toml, which is the default."""

    def __init__(self, text: str | None = None) -> None:
        if text is None:
            text = package_files("chinwag.weights").joinpath("catalog.toml").read_text("utf-8")
        try:
            models = [CatalogModel(**table) for table in tomllib.loads(text)["models"]]
        except (tomllib.TOMLDecodeError, KeyError, TypeError, ValidationError) as error:
            raise WeightsError(f"The catalog of models cannot be read: {error}.", "Install Chinwag again.") from error
        self.models = {model.name: model for model in models}

    def model(self, name: str) -> CatalogModel:
        """Return the model with that name. Raises WeightsError with the most similar name if there is none."""
        if name in self.models:
            return self.models[name]
        near = difflib.get_close_matches(name, self.models, n=1, cutoff=0.4)
        fix = f"Did you mean {near[0]}?" if near else f"There are: {', '.join(self.models)}."
        raise WeightsError(f"There is no model called {name}.", fix)
