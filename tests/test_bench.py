"""gpuredux-bench: a wrong result is never timed; it runs from any folder; what it writes can be read. No timing is looked at."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import gpuredux
from gpuredux import backends, bench
from gpuredux.calib import Gain

SMALL = ("--size", "small", "--frames", "3", "--repeat", "5")


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A detector of 16 x 64 pixels, a cache of 64 KiB, an empty folder."""
    monkeypatch.setitem(bench.SIZES, "small", (16, 64))
    monkeypatch.setattr(bench, "last_level_cache", lambda: 1 << 16)
    monkeypatch.setattr(bench, "NUMPY_BUDGET", 0.01)
    monkeypatch.chdir(tmp_path)


def run(*args: str) -> tuple[int, str]:
    done = CliRunner().invoke(bench.app, args)
    return done.exit_code, done.output


def test_every_op_is_checked_and_timed() -> None:
    code, said = run(*SMALL, "--backend", "numpy", "--backend", "numba", "--json", "a.json", "--csv", "a.csv")
    assert code == 0, said
    rows = json.loads(Path("a.json").read_text())["rows"]
    assert {(r["op"], r["backend"]) for r in rows} == {(op, b) for op in gpuredux.OPS for b in ("numpy", "numba")}
    assert all(r["ok"] and r["gb_per_s"] > 0 for r in rows)
    lines = Path("a.csv").read_text().splitlines()
    table = list(csv.DictReader(line for line in lines if not line.startswith("#")))
    assert [r["op"] for r in table] == [r["op"] for r in rows] and lines[0].startswith("# gpuredux: ")


def test_a_wrong_result_is_never_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    right = Gain.numba

    def wrong(self, plan, *x):
        right(self, plan, *x)
        x[len(self.inputs)].reshape(-1).view(np.uint32)[-1] ^= 1      # the last bit of the last pixel

    monkeypatch.setattr(Gain, "numba", wrong)
    monkeypatch.setattr(bench, "timed", lambda *_: pytest.fail("timed"))
    code, said = run(*SMALL, "--backend", "numba", "--op", "calib.gain", "--json", "a.json")
    assert code == 1 and "WRONG: energy" in said
    assert not any(r["ok"] for r in json.loads(Path("a.json").read_text())["rows"])


def test_unknown_names_and_missing_backends_are_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    for option, there in (("--op", "calib.gain"), ("--backend", "numba"), ("--size", "epix100")):
        code, said = run(option, "nonsense")
        assert code == 2 and "'nonsense' is unknown" in said and there in said

    def missing() -> None:
        raise backends.BackendUnavailable("cupy: not here")

    monkeypatch.setattr(backends.CUPY, "devices", missing)
    code, said = run("--backend", "cupy")
    assert code == 2 and "cupy: not here" in said


def test_list() -> None:
    code, said = run("--list")
    assert code == 0 and all(name in said for name in (*backends.BACKENDS, "calib.gain", "16M"))
