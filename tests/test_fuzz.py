"""Every decoder against mutated chunks: what fuzz.py does with millions, with hundreds; and that it finds what is wrong."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fuzz
import fuzz_files
import h5py
import hdf5plugin
import numpy as np
import pytest
from fuzz_forms import MAKERS, Row

from gpuredux import DecodeError
from gpuredux.compress import hdf5
from gpuredux.compress.codecs import encoder_of
from gpuredux.compress.hdf5_layout import create_chunks

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


# ------------------------------------------------------------------------------------------------------------------- bombs
def peak(call: Callable[[], Any]) -> int:
    """Bytes that Python and NumPy held at most."""
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", [name for name in MAKERS if name not in ("auto", "zfp", "bitshuffle")])
def test_a_bomb_is_refused_in_the_room_of_one_frame(name: str) -> None:
    """4 MB of zeros in few bytes, as they are and with the header of the frame that is asked for: a decoder's limit is the frame's size. A zfp stream and a
    bitshuffle chunk say nothing of sizes."""
    form = fuzz.forms(name)[1]
    with h5py.File("bomb.h5", "w", driver="core", backing_store=False) as f:
        filters = form.op.inverse().filters(2) if name != "lz4" else None
        if filters is None:
            d = f.create_dataset("d", data=np.zeros((1, 1 << 21), np.uint16), chunks=(1, 1 << 21), **hdf5plugin.LZ4())
        else:
            d = create_chunks(f, "d", (1 << 21,), np.uint16, filters=filters)
            d.resize(1, axis=0)
            d[0] = 0
        bomb = d.id.read_direct_chunk((0, 0))[1]
    assert len(bomb) < 200_000 and form.one is not None
    lie = bytearray(bomb)
    form.heal(lie, form.right[0])
    for chunk in (bomb, bytes(lie), bomb[:12] + b"\xff" * 8 + bomb[20:]):

        def refused(chunk: bytes = chunk) -> None:
            with pytest.raises(DecodeError):
                form.one(chunk)

        refused()       # once, that numba has compiled
        assert peak(refused) < 1 << 20


@pytest.mark.parametrize("codec", ("bitshuffle", "bitshuffle_lz4", "bitshuffle_zstd", "shuffle_zstd", "shuffle_deflate", "blosc_bitshuffle_lz4", "auto"))
def test_a_file_that_claims_what_its_codec_cannot_hold_is_refused_before_anything_is_allocated(tmp_path: Path, codec: str) -> None:
    """A frame of 200 MB in 60 bytes is more than any of the formats can make of them: 255 times (LZ4), 1032 (deflate), 32768 (zstd)."""
    frame = (10_000, 10_000)
    with h5py.File(tmp_path / "bomb.h5", "w") as f:
        d = create_chunks(f, "d", frame, np.uint16, filters=encoder_of(codec).filters(2))
        d.resize(1, axis=0)
        d.id.write_direct_chunk((0, 0, 0), bytes(60), 9 if codec == "auto" else 0)

    def refused() -> None:
        with pytest.raises(DecodeError, match=r"cannot be \d+ bytes compressed"):
            hdf5.read(tmp_path / "bomb.h5", "d", unchecked=True)

    assert peak(refused) < 1 << 20


LISTS = {"hdf5_layout_4": "d_side/key_frame", "roibin_layout_2": "roi_offset", "wavelet_layout_2": "lossless_frame"}


@pytest.mark.parametrize("kind", LISTS)
def test_a_list_that_claims_more_than_its_file_has_is_refused_before_anything_is_allocated(tmp_path: Path, kind: str) -> None:
    write, read = fuzz_files.makers()[kind]
    write(tmp_path / "bomb.h5")
    with h5py.File(tmp_path / "bomb.h5", "r+") as f:
        made, name = f[LISTS[kind]][:], LISTS[kind]
        del f[name]
        f.create_dataset(name, (1 << 24,), made.dtype, chunks=(1024,), maxshape=(None,))     # of fill values: not a byte is stored

    def refused() -> None:
        with pytest.raises(DecodeError, match="claims 16777216 entries"):
            read(tmp_path / "bomb.h5")

    assert peak(refused) < 4 << 20


# ------------------------------------------------------------------------------------------------------------------- files
@pytest.mark.parametrize("inside", (False, True))
def test_files_with_lies_are_refused_or_what_was_written(inside: bool) -> None:
    """Each kind that fuzz_files.py knows."""
    counts, wrong = fuzz_files.fuzz_files(20, 3, inside)
    assert not [(kind, told) for kind, _, told in wrong if told.startswith("WRONG")]
    assert all(c["right"] and c["refused DecodeError"] for c in counts.values()), counts
