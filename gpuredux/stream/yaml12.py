"""YAML with the scalars of YAML 1.2's core schema, as plain Python values, and the line on which every key stands.

`no` and `off` are words, 1e-3 is a number, 0o17 is fifteen, 017 is seventeen, 12:30:00 is a word. Refused with their line:
keys that are given twice or are not words, tags, aliases that contain themselves, more than one document.
source: YAML 1.2.2, chapter 10.3
"""

from __future__ import annotations

import re
from typing import Any

import yaml

Path = tuple[str | int, ...]

SCALARS = (
    ("null", r"~|null|Null|NULL|", "~nN\0"),
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", "-+0123456789"),
    ("float", r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?(?:\.inf|\.Inf|\.INF)|\.nan|\.NaN|\.NAN", "-+.0123456789"),
)
PREFIX = "tag:yaml.org,2002:"


class YamlError(ValueError):
    """(line, path, what is wrong), once for every fault."""

    def __init__(self, faults: list[tuple[int, Path, str]]) -> None:
        super().__init__("; ".join(f"line {line}: {what}" for line, _, what in faults))
        self.faults = faults


class _Loader(yaml.SafeLoader):
    """The safe loader without the implicit types of YAML 1.1."""


_Loader.yaml_implicit_resolvers = {}
for _name, _pattern, _first in SCALARS:
    _letters = ["" if c == "\0" else c for c in _first]
    _Loader.add_implicit_resolver(PREFIX + _name, re.compile(f"^(?:{_pattern})$"), _letters)


def load(text: str) -> tuple[Any, dict[Path, int]]:
    """The value of a document, and the line of every path in it. Raises YamlError."""
    try:
        node = yaml.compose(text, Loader=_Loader)
    except yaml.MarkedYAMLError as e:
        mark = e.problem_mark or e.context_mark
        line = mark.line + 1 if mark else 1
        raise YamlError([(line, (), f"not YAML: {e.problem or e.context}")]) from None
    except (yaml.YAMLError, RecursionError) as e:
        raise YamlError([(1, (), f"not YAML: {str(e).splitlines()[0]}")]) from None
    lines: dict[Path, int] = {}
    faults: list[tuple[int, Path, str]] = []
    value = None if node is None else _value(node, (), lines, faults, ())
    if faults:
        raise YamlError(faults)
    return value, lines


def _value(node: Any, path: Path, lines: dict[Path, int], faults: list[tuple[int, Path, str]], inside: tuple[int, ...]) -> Any:
    line = node.start_mark.line + 1
    lines.setdefault(path, line)
    if id(node) in inside:
        faults.append((line, path, "an alias that contains itself"))
        return None
    if len(lines) > 100_000:
        raise YamlError([(line, path, "more than 100000 values (aliases counted as what they stand for)")])
    inside = (*inside, id(node))
    kind = node.tag.removeprefix(PREFIX)
    if isinstance(node, yaml.SequenceNode) and kind == "seq":
        return [_value(item, (*path, i), lines, faults, inside) for i, item in enumerate(node.value)]
    if isinstance(node, yaml.MappingNode) and kind == "map":
        return _mapping(node, path, lines, faults, inside)
    if isinstance(node, yaml.ScalarNode) and kind in ("str", *(name for name, *_ in SCALARS)):
        if kind == "str" or re.fullmatch(next(p for name, p, _ in SCALARS if name == kind), node.value):
            return _scalar(kind, node.value)
    faults.append((line, path, f"tag {node.tag!r} is not allowed here"))
    return None


def _mapping(node: Any, path: Path, lines: dict[Path, int], faults: list[tuple[int, Path, str]], inside: tuple[int, ...]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key, value in node.value:
        line = key.start_mark.line + 1
        if not isinstance(key, yaml.ScalarNode) or key.tag != PREFIX + "str":
            faults.append((line, path, f"a key must be a word, got {getattr(key, 'value', 'a list or mapping')!r}; quote it"))
            continue
        here = (*path, str(key.value))
        if key.value in result:
            faults.append((line, here, f"duplicate key, first given in line {lines[here]}"))
            continue
        lines[here] = line
        result[str(key.value)] = _value(value, here, lines, faults, inside)
    return result


def _scalar(kind: str, text: str) -> Any:
    if kind == "str":
        return text
    if kind == "null":
        return None
    if kind == "bool":
        return text.lower() == "true"
    if kind == "int" and (text[:2] in ("0o", "0x") or len(text) < 1000):
        return int(text[2:], 8) if text[:2] == "0o" else int(text, 16 if text[:2] == "0x" else 10)
    return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
