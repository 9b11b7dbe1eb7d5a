"""A YAML file as a checked configuration: its text, the lines of its keys, and the strict blocks that it is made of."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from . import yaml12
from .faults import ConfigError, at, dotted, explain


class Block(BaseModel):
    """Strict: no key that nobody reads, no value of another type."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


# The keys that tell whose configuration a file is.
COMMANDS = {"gpuredux-stream run and check": ("source", "stages", "sink"), "gpuredux-stream dark": ("darks", "output", "estimator")}
Model = TypeVar("Model", bound=Block)


@dataclasses.dataclass(frozen=True)
class Text:
    """The text of a configuration; at() words a fault."""

    text: str
    file: str
    folder: Path
    lines: dict[yaml12.Path, int]

    def at(self, path: yaml12.Path, what: str) -> str:
        return at(self.file, self.lines, path, what)

    def resolve(self, path: str) -> Path:
        """A path as the file means it."""
        return self.folder / path

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.text.encode()).hexdigest()


def text_of(file: str | Path) -> tuple[str, str, Path]:
    """A file's text, its name for messages, and the folder where its paths begin. Raises ConfigError."""
    name, path = str(file), Path(file)
    try:
        return path.read_bytes().decode(), name, path.resolve().parent
    except (OSError, UnicodeDecodeError) as e:
        raise ConfigError([f"{name}: cannot be read: {getattr(e, 'strerror', None) or e}"]) from None


def validated(model: type[Model], text: str, name: str) -> tuple[Model, dict[yaml12.Path, int]]:
    """A text as such a configuration, and the lines of its keys. Raises ConfigError."""
    try:
        value, lines = yaml12.load(text)
    except yaml12.YamlError as e:
        raise ConfigError([f"{name}:{line}: {dotted(where)}{': ' if where else ''}{what}" for line, where, what in e.faults]) from None
    if not isinstance(value, dict):
        raise ConfigError([f"{name}: must be a mapping with {', '.join(model.model_fields)}; got {type(value).__name__}"])
    other = _for_another(model, value)
    if other:
        raise ConfigError([f"{name}: {other}"])
    try:
        return model.model_validate(value), lines
    except ValidationError as e:
        raise ConfigError([at(name, lines, *explain(model, value, dict(error))) for error in e.errors()]) from None


def _for_another(model: type[Block], value: dict[str, object]) -> str:
    """Words for a mapping that has the keys of another command alone, or ''."""
    keys = {command: [k for k in known if k in value] for command, known in COMMANDS.items()}
    (own,) = [command for command, known in COMMANDS.items() if known[0] in model.model_fields]
    other = next((command for command, found in keys.items() if found and not keys[own]), None)
    if other is None:
        return ""
    return f"looks like a configuration of {other} (it has {', '.join(keys[other])}); that of {own} has {', '.join(COMMANDS[own])}"
