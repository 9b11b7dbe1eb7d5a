"""The house rules that a program can check: sizes, docstrings, layout, and what must not be there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import gpuredux

ROOT = Path(__file__).parents[1]
PYTHON = sorted(p for folder in ("gpuredux", "datasets", "tests", "bench") for p in (ROOT / folder).rglob("*.py"))
KERNELS = sorted(p for p in (ROOT / "gpuredux").rglob("*.*") if p.suffix in (".cl", ".h"))
ENVIRONMENT = {"gpuredux/backends.py": {"OCL_ICD_VENDORS"}, "datasets/real.py": {"GPUREDUX_DATA"}}
LONG_FILE, LONG_FUNCTION = 200, 40


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def every_python(function):
    return pytest.mark.parametrize("path", PYTHON, ids=name_of)(function)


def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def called(node: ast.AST) -> str:
    """The dotted name of a call, '' for anything else."""
    return ast.unparse(node.func) if isinstance(node, ast.Call) else ""


@pytest.mark.parametrize("path", PYTHON + KERNELS, ids=name_of)
def test_a_long_file_says_why(path: Path) -> None:
    lines = path.read_text().splitlines()
    if len(lines) > LONG_FILE:
        reason = rf"[Oo]ver {LONG_FILE} lines: \w|^/\* The whole portability layer"
        assert re.search(reason, lines[0]), f"{len(lines)} lines, and the first does not say why (Over {LONG_FILE} lines: ...)"


@every_python
def test_functions_are_short(path: Path) -> None:
    functions = [n for n in ast.walk(tree_of(path)) if isinstance(n, (ast.FunctionDef, ast.AsyncFunctionDef))]
    lengths = {f"{f.name} ({f.lineno})": f.end_lineno - f.lineno + 1 for f in functions if "Long: " not in (ast.get_docstring(f) or "")}
    assert not {k: n for k, n in lengths.items() if n > LONG_FUNCTION}


@every_python
def test_nothing_is_silent(path: Path) -> None:
    """No exception is caught bare or swallowed by `pass`; but a narrow one may be, if a comment says why."""
    lines = path.read_text().splitlines()
    handlers = [n for n in ast.walk(tree_of(path)) if isinstance(n, ast.ExceptHandler)]
    empty = [h for h in handlers if all(ast.unparse(s) in ("pass", "...") for s in h.body)]
    silent = [h.lineno for h in handlers if h.type is None]
    silent += [h.lineno for h in empty if "Exception" in ast.unparse(h) or "#" not in "".join(lines[h.lineno - 1 : h.end_lineno])]
    silent += [n.lineno for n in ast.walk(tree_of(path)) if called(n).endswith("suppress") and "Exception" in ast.unparse(n)]
    assert not silent


@every_python
def test_no_foreign_code_runs(path: Path) -> None:
    """No pickle, eval or exec in the package; tests may pickle what they made."""
    tree = tree_of(path)
    names = [called(n) for n in ast.walk(tree)]
    assert not {"eval", "exec", "__import__"} & set(names)
    imports = {a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
    imports |= {n.module or "" for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)}
    assert path.is_relative_to(ROOT / "tests") or not {"pickle", "marshal", "shelve", "dill", "joblib"} & imports
    assert path.is_relative_to(ROOT / "tests") or "allow_pickle=True" not in path.read_text()


def environment_of(tree: ast.Module) -> set[str]:
    """The environment variables that a file names; `all` where it takes the whole environment."""
    names, keyed = set(), set()
    for n in ast.walk(tree):
        inside = n.value if isinstance(n, ast.Subscript) else getattr(n.func, "value", None) if isinstance(n, ast.Call) else None
        if inside is not None and ast.unparse(inside).endswith("environ") and (isinstance(n, ast.Subscript) or n.args):
            names.add(ast.unparse(n.slice if isinstance(n, ast.Subscript) else n.args[0]).strip("'"))
            keyed.add(inside)
        elif called(n).endswith("getenv"):
            names.add(ast.unparse(n.args[0]).strip("'"))
    whole = [n for n in ast.walk(tree) if isinstance(n, (ast.Attribute, ast.Name)) and ast.unparse(n).split(".")[-1] in ("environ", "environb")]
    return names | ({"all"} if any(n not in keyed for n in whole) else set())


@every_python
def test_no_environment_variable(path: Path) -> None:
    """But GPUREDUX_DATA for tests, and OCL_ICD_VENDORS where the loader must be told. A test may hand the whole environment to a child."""
    allowed = {"GPUREDUX_DATA", "all"} if path.is_relative_to(ROOT / "tests") else ENVIRONMENT.get(name_of(path), set())
    assert environment_of(tree_of(path)) <= allowed


@pytest.mark.parametrize("path", PYTHON + KERNELS, ids=name_of)
def test_nothing_is_left_to_do(path: Path) -> None:
    words = ["TO" + "DO", "FIX" + "ME", "X" * 3]
    assert not [w for w in words if re.search(rf"\b{w}\b", path.read_text())]


@pytest.mark.parametrize("path", [p for p in PYTHON if p.name == "__init__.py"], ids=name_of)
def test_init_does_no_work(path: Path) -> None:
    """Docstring, imports and names only; the catalogue and the version are gpuredux/__init__.py's."""
    body = tree_of(path).body
    assert ast.get_docstring(tree_of(path)), "a package says what it is"
    calls = [called(n) for n in ast.walk(tree_of(path)) if called(n)]
    if path == ROOT / "gpuredux" / "__init__.py":
        assert calls == ["version"]
    else:
        assert not calls and all(isinstance(n, (ast.Expr, ast.Import, ast.ImportFrom, ast.Assign)) for n in body)


@pytest.mark.parametrize("name", gpuredux.OPS)
def test_an_op_is_two_files_of_one_stem(name: str) -> None:
    op = gpuredux.OPS[name]
    family, stem = name.split(".")
    assert op.__module__ == f"gpuredux.{family}.{stem}"
    here = ROOT / "gpuredux" / family
    assert (here / f"{stem}.py").is_file()
    assert (here / f"{stem}.cl").is_file() or op.device is gpuredux.Op.device


@pytest.mark.parametrize("name", gpuredux.OPS)
def test_an_op_says_what_it_computes(name: str) -> None:
    """The form of an op's docstring: formula or what, in:, out:, exact or the bound, source:."""
    text = gpuredux.OPS[name].__doc__ or ""
    first, rest = text.partition("\n")[::2]
    assert first.endswith("."), "the first line says what is computed"
    for pattern in (r"^    in: ", r"^    out: ", r"^    (exact|bound)\b", r"^    source: "):
        assert re.search(pattern, rest, re.M), f"no line {pattern[5:]!r}"
    for declared in gpuredux.OPS[name].inputs:
        assert re.search(rf"\b{declared.rstrip('?')}\b", rest) or "names" in rest, f"{declared} is not in the docstring"


@pytest.mark.parametrize("path", KERNELS, ids=name_of)
def test_a_kernel_is_of_the_one_dialect(path: Path) -> None:
    """No headers but kernels' own, no doubles by accident, no restrict; it opens with its formula or grid, in a comment."""
    text = path.read_text()
    code = re.sub(r"/\*.*?\*/|//[^\n]*", "", text, flags=re.S)
    assert text.startswith("/*")
    for name in re.findall(r"#include(.*)", code):
        assert (ROOT / "gpuredux" / name.strip(' "')).suffix == ".cl" and (ROOT / "gpuredux" / name.strip(' "')).is_file(), f"#include{name}: no kernel's text"
    assert not re.search(r"\brestrict\b", code)
    if path.suffix == ".cl":
        assert "grid:" in text, "a kernel says its grid"
        assert not re.search(r"\bdouble\b|__kernel|__global__|threadIdx|get_local_id", code), "device.h has a name for it"
        if not any(re.search("f64|float64|double", c) for c in re.findall(r"/\*.*?\*/", text, re.S)):
            assert not re.search(r"\bf64\b", code), "double precision, and no comment that says why"
            assert not re.search(r"(?<![\w.])\d+\.\d*(e[-+]?\d+)?(?![\w.])", code), "a literal without f is a double"


def test_the_package_holds_what_it_needs() -> None:
    """Installed, not only in the checkout: the kernels, the header, the shared cases."""
    installed = Path(gpuredux.__file__).parent
    for path in KERNELS:
        assert (installed / path.relative_to(ROOT / "gpuredux")).read_text() == path.read_text(), f"{path.name}: the installed one differs, or is not there"
