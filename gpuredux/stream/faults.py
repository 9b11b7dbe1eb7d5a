"""What is wrong with a configuration, as lines for its author: FILE:LINE: stages[1].treshold: unknown key; did you mean 'threshold'?"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Annotated, Any, get_args, get_origin

from pydantic import BaseModel

from .yaml12 import Path

LIMITS = {"greater_than_equal": "ge", "less_than_equal": "le", "greater_than": "gt", "less_than": "lt"}


class ConfigError(ValueError):
    """Everything that is wrong with a configuration, a line each."""

    def __init__(self, lines: list[str]) -> None:
        super().__init__("\n".join(lines))
        self.lines = lines


def dotted(path: Path) -> str:
    """stages[1].threshold"""
    return "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in path).removeprefix(".")


def at(file: str, lines: dict[Path, int], path: Path, what: str) -> str:
    """One fault; its line is that of the nearest key that stands in the file."""
    known = next((path[:k] for k in range(len(path), -1, -1) if path[:k] in lines), None)
    line = f":{lines[known]}" if known is not None else ""
    return f"{file}{line}: {dotted(path)}{': ' if path else ''}{what}"


def did_you_mean(word: object, choices: Iterable[str]) -> str:
    """; did you mean 'x'? or else the choices there are; of features, which are many, that there are some"""
    choices = list(choices)
    close = difflib.get_close_matches(str(word), choices, 1, 0.6)
    short = list(dict.fromkeys("features.*" if c.startswith("features.") else c for c in choices))
    return f"; did you mean {close[0]!r}?" if close else f"; choose from {', '.join(short)}" if choices else ""


def explain(model: type[BaseModel], value: Any, error: dict[str, Any]) -> tuple[Path, str]:
    """A pydantic error as the path in the file and the words."""
    path, kind, context = _path(value, error["loc"]), error["type"], error.get("ctx", {})
    got = f", got {_short(error['input'])}"
    if kind == "extra_forbidden":
        return path, f"unknown key{did_you_mean(path[-1], _keys(model, value, path[:-1]))}"
    if kind == "missing":
        return path, "missing"
    if kind == "union_tag_invalid":
        return (*path, "type"), f"unknown type {context['tag']!r}{did_you_mean(context['tag'], _words(context['expected_tags']))}"
    if kind == "union_tag_not_found":
        return (*path, "type"), f"missing{did_you_mean('', _tags(model, value, path))}"
    if kind == "literal_error" and isinstance(error["input"], str):
        return path, f"unknown {'type ' if path[-1] == 'type' else ''}{error['input']!r}{did_you_mean(error['input'], _words(context['expected']))}"
    if kind in LIMITS:
        word = {"ge": "at least", "le": "at most", "gt": "more than", "lt": "less than"}[LIMITS[kind]]
        return path, f"must be {word} {context[LIMITS[kind]]}{got}"
    if kind in ("too_short", "dict_type", "model_type", "model_attributes_type", "list_type"):
        return path, ("must not be empty" if kind == "too_short" else f"must be a {'list' if kind == 'list_type' else 'mapping'}{got}")
    words = error["msg"].replace("Input should be", "must be")
    return path, words + got + ("; write true or false" if kind == "bool_type" else "")


def _words(quoted: str) -> list[str]:
    return [w.strip(" '") for w in quoted.replace(" or ", ",").split(",")]


def _short(value: Any) -> str:
    text = repr(value)
    return f"{text if len(text) < 60 else text[:57] + '...'} ({'nothing' if value is None else type(value).__name__})"


def _path(value: Any, loc: tuple[Any, ...]) -> Path:
    """pydantic's place without the type words that it puts in."""
    path: list[str | int] = []
    for p in loc:
        if isinstance(value, dict) and p in value:
            value = value[p]
        elif isinstance(value, list) and isinstance(p, int) and p < len(value):
            value = value[p]
        elif isinstance(value, dict) and value.get("type") == p and p != loc[-1]:
            continue
        elif p in ("RingsBlock", "NormalisationBlock", "float", "int", "str") or str(p).startswith("function-"):
            continue        # the members of a union, each of which says what it misses
        path.append(p)
    return tuple(path)


def _annotation(model: type[BaseModel], value: Any, path: Path) -> Any:
    """What stands at a path of the model, unions resolved by their `type`."""
    here: Any = model
    for p in path:
        here = here.model_fields[str(p)].annotation if isinstance(here, type) and issubclass(here, BaseModel) else get_args(here)[-1]
        value = value[p]
        if p != path[-1] or isinstance(value, dict):
            here = next((m for m in _members(here) if isinstance(value, dict) and _is_type(m, value)), here)
    return here


def _is_type(model: Any, value: dict[str, Any]) -> bool:
    """A member of a union that a mapping means; one without `type` is the only one."""
    field = model.model_fields.get("type")
    return field is None or value.get("type") in get_args(field.annotation)


def _members(annotation: Any) -> list[Any]:
    """The models of a union."""
    if get_origin(annotation) is Annotated:
        return _members(get_args(annotation)[0])
    members = get_args(annotation) if get_origin(annotation) not in (list, dict) else ()
    return [m for m in members if isinstance(m, type) and issubclass(m, BaseModel)]


def _keys(model: type[BaseModel], value: Any, path: Path) -> list[str]:
    block = _annotation(model, value, path)
    return list(block.model_fields) if hasattr(block, "model_fields") else []


def _tags(model: type[BaseModel], value: Any, path: Path) -> list[str]:
    return [t for m in _members(_annotation(model, value, path)) if "type" in m.model_fields for t in get_args(m.model_fields["type"].annotation)]
