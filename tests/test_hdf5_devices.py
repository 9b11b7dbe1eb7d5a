"""Files read to where a backend keeps its arrays: every layout, decoded there, byte for byte what the host reads; and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from conftest import NUMPY, Target

from gpuredux import DecodeError, backends
from gpuredux.compress import Precondition, Quantize, QuantizeCounts, ReversibleWavelet, Roibin, Wavelet, Zfp, hdf5
from gpuredux.compress.hdf5_roibin import read_roibin, write_roibin
from gpuredux.compress.hdf5_wavelet import read_wavelet, write_wavelet

SHAPE, N = (21, 34), 6
CHOICES: tuple[Any, ...] = (slice(None), slice(1, 4), 3, [5, 0, 3, 3], slice(0, 0))


def counts(dtype: str = "u2") -> np.ndarray:
    x = np.random.default_rng(1).poisson(3.0, (N, *SHAPE)).astype(dtype)
    x[2, 4, :9] = 40000 if dtype == "u2" else 70000
    x[3] = np.arange(SHAPE[0] * SHAPE[1]).reshape(SHAPE) * 60       # of Precondition more exceptions than a list of 64
    return x


def energies() -> np.ndarray:
    """Frame 0 has what no code fits, frame 1 more of it than a list of 16."""
    x = np.random.default_rng(2).normal(0, 3, (N, *SHAPE)).astype(np.float32)
    x[0, 0, :4] = np.nan, np.inf, 1e30, -0.0
    x[1, 3] = 1e12
    return x


def marks() -> np.ndarray:
    marked = np.zeros((N, *SHAPE), np.uint8)
    marked[:, 7, 3:9], marked[1, 3, :3] = 1, 2
    return marked


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("devices") / "a.h5"
    gaps = np.zeros(SHAPE, bool)
    gaps[4:6] = True
    with h5py.File(path, "w", libver="v110") as f:
        hdf5.write(f, "plain", counts(), "auto")
        hdf5.write(f, "panels", counts().reshape(N // 2, 2, *SHAPE), "bitshuffle_lz4", panels=True)
        hdf5.write(f, "zfp", energies()[2:], Zfp(tolerance=0.5))
        for name, codec in (("abs", Quantize(abs=0.25, capacity=16)), ("rel", Quantize(rel=0.01, capacity=16))):
            with hdf5.Writer(f, name, SHAPE, codec, encoder="shuffle_zstd") as writer:
                writer.append(energies(), pixel_status=marks())
        hdf5.write(f, "counts", counts(), QuantizeCounts(capacity=8))
        ways: dict[str, dict[str, Any]] = {
            "narrow": {"code": "uint8"}, "previous": {"predictor": "previous", "code": "uint8", "every": 4}, "left_up": {"predictor": "left_up"},
            "gaps": {"gaps": gaps, "gap_values": (3,)}, "pedestal": {"predictor": "pedestal", "pedestal": counts()[0]},
        }
        for name, how in ways.items():
            hdf5.write(f, name, counts(), Precondition("uint16", capacity=64, **how), encoder="bitshuffle_lz4")
        write_wavelet(f.create_group("wavelet"), Wavelet(0.5, capacity=20), energies(), pixel_status=marks())
        write_wavelet(f.create_group("reversible"), ReversibleWavelet("uint16"), counts())
        good = np.ones(SHAPE, bool)
        good[3, 5:8] = False
        at = {"peak_panel": np.zeros((4, 1), np.int32), "peak_row": np.full((4, 1), 6, np.float32), "peak_col": np.full((4, 1), 7, np.float32),
              "peak_count": np.array([1, 0, 1, 1], np.int32)}
        op = Roibin(abs=2.0, good=good, half=2)
        write_roibin(f.create_group("roibin"), op, op(energies()[2:], *at.values(), frame_status=np.zeros(4, np.uint32)), SHAPE, peaks=at)
    return path


def same(target: Target, got: Any, want: np.ndarray) -> None:
    assert target.backend.is_mine(got)
    assert got.shape == want.shape and got.dtype == want.dtype and target.get(got).tobytes() == want.tobytes()


@pytest.mark.parametrize("name", ["plain", "panels", "zfp", "abs", "rel", "counts", "narrow", "previous", "left_up", "gaps", "pedestal"])
def test_every_layout(file: Path, target: Target, name: str) -> None:
    with h5py.File(file) as f:
        n = len(f[name])
    for frames in CHOICES if target is not NUMPY else (slice(1, 3),):
        chosen = [k % n for k in frames] if isinstance(frames, list) else min(frames, n - 1) if isinstance(frames, int) else frames
        got = hdf5.read(file, name, chosen, backend=target.backend.name, device=target.device)
        same(target, got, hdf5.read(file, name, chosen))
    if name in ("abs", "rel"):
        same(target, hdf5.read(file, name, masked=0, backend=target.backend.name, device=target.device), hdf5.read(file, name, masked=0))


@pytest.mark.parametrize("name", ["abs", "previous"])
def test_batches(file: Path, target: Target, name: str) -> None:
    want, at = hdf5.read(file, name), []
    for first, got in hdf5.batches(file, name, np.int64(2), slice(1, None), backend=target.backend.name, device=target.device):
        same(target, got, want[first : min(first + 2, N)])
        at.append(first)
    assert at == [1, 3, 5] and isinstance(next(hdf5.batches(file, name))[1], np.ndarray)


@pytest.mark.parametrize(("name", "read"), [("wavelet", read_wavelet), ("reversible", read_wavelet), ("roibin", read_roibin)])
def test_groups(file: Path, target: Target, name: str, read: Callable[..., Any]) -> None:
    with h5py.File(file) as f:
        for rows in (slice(None), slice(1, 3), slice(2, 2)):
            same(target, read(f[name], rows, backend=target.backend.name, device=target.device), read(f[name], rows))
        more: dict[str, Any] = {"fill": -1} if name == "roibin" else {"masked": 0}
        same(target, read(f[name], **more, backend=target.backend.name, device=target.device), read(f[name], **more))


def test_damage_is_found_there_too(file: Path, target: Target, tmp_path: Path) -> None:
    path = tmp_path / "b.h5"
    path.write_bytes(file.read_bytes())
    with h5py.File(path, "r+") as f:
        f["plain_side/chunk_crc32c"][2] ^= 1
        f["abs_side/outlier_index"][1] += 5
        for side in ("narrow_side", "wavelet"):     # the last one of the first frame that has any
            ends = f[side]["outlier_offset"][:]
            f[side]["outlier_index"][ends[ends > 0][0] - np.uint64(1)] += 1
        for name, match in (("plain", "frame 2.*damaged"), ("abs", "outliers"), ("narrow", "exceptions")):
            with pytest.raises(DecodeError, match=match):
                hdf5.read(f, name, backend=target.backend.name, device=target.device)
        with pytest.raises(DecodeError, match="outliers"):
            read_wavelet(f["wavelet"], backend=target.backend.name, device=target.device)


def test_misuse(file: Path, target: Target) -> None:
    name, device = target.backend.name, target.device
    for arguments, error, words in (
        ({"backend": "cuda"}, ValueError, "choose from"), ({"device": device}, TypeError, "goes with backend"),
        ({"backend": name, "device": 0}, TypeError, r"devices\(\)"),
        ({"backend": name, "device": backends.Device("other", 0, "x")}, ValueError, "is not one of"),
    ):
        for read in (lambda **k: hdf5.read(file, "abs", **k), lambda **k: read_wavelet(file, **k), lambda **k: read_roibin(file, **k)):
            with pytest.raises(error, match=words):
                read(**arguments)
    with pytest.raises(TypeError, match=r"block_bits.*side=False"):
        hdf5.write(file.parent / "b.h5", "d", energies()[2:], Zfp(tolerance=0.5, side=True))
    for codec, words in ((Wavelet(0.5), "write_wavelet writes it"), (Wavelet, r"Wavelet\(\)")):
        with pytest.raises(TypeError, match=words):
            hdf5.write(file.parent / "b.h5", "d", energies(), codec)
    with pytest.raises(TypeError, match="newbyteorder"):
        hdf5.write(file.parent / "b.h5", "d", energies().astype(">f4"))
    for frames in ([1, 2.5], np.ones(N, bool), "all"):
        with pytest.raises(TypeError, match="sequence of numbers"):
            hdf5.read(file, "abs", frames)
    with h5py.File(file) as f, pytest.raises(TypeError, match="path or an open h5py Group"):
        hdf5.read(f["plain"], "plain")
    if target.backend.kernels:
        with pytest.raises(ValueError, match="0 or NaN on"):
            hdf5.read(file, "abs", masked=-1, backend=name, device=device)
