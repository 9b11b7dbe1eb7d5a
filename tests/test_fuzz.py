"""Every decoder against mutated chunks: what fuzz.py does with millions, with hundreds; and that it finds what is wrong."""

from __future__ import annotations

from typing import Any

import fuzz
import numpy as np
import pytest
from fuzz_forms import MAKERS, Row

MUTANTS = 300


@pytest.mark.parametrize("name", MAKERS)
def test_mutated_chunks_are_refused_or_what_others_make_of_them(target: Any, name: str) -> None:
    """On devices of the form that other tests compile for too."""
    kernels = target.backend.kernels
    kinds, wrong = fuzz.fuzz(name, MUTANTS, 5, target.backend, target.device, slice(1, 2) if kernels else slice(None))
    assert not wrong, "\n".join(wrong)
    assert MUTANTS // 20 < kinds["taken"] < kinds["mutants"] * 0.9


@pytest.mark.parametrize("name", MAKERS)
def test_the_judges_see_one_wrong_bit_and_chunks_taken_that_are_not_right(name: str) -> None:
    form = fuzz.forms(name)[1]
    chunk = form.right[-1]
    mask = form.masks[0] if form.masks else 0
    assert form.one is None or form.one(chunk) is not None
    runner = fuzz.Runner(form, 1, len(chunk))
    payload = np.frombuffer(chunk + bytes(len(chunk)), np.uint8).reshape(2, -1)
    raw, good = runner(payload, np.array([len(chunk), 0], np.uint32), np.array([mask, 0], np.uint32))
    right = Row(chunk, mask, bool(good[0]), raw[0].tobytes())
    lie = bytes([right.raw[0] ^ 1]) + right.raw[1:]
    cut = right._replace(chunk=chunk[: len(chunk) // 2])
    said = form.judge([right, right._replace(raw=lie), right._replace(good=False, raw=bytes(len(lie))), *[cut] * (name != "zfp")])
    assert said[0] == "" and all(k.startswith("WRONG") for k in said[1:]), said
