"""compress.roibin against plain loops; its files by h5py and hdf5plugin alone; misuse. Over 200 lines: ops and files, each with an outsider."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin  # noqa: F401  registers the filters
import numpy as np
import pytest
from conftest import Target
from flip_bits import flip_bits

import gpuredux
from gpuredux.compress import Auto, Roibin, RoibinDecode, ShuffleZstd, Zfp, hdf5, hdf5_roibin, verify
from gpuredux.compress.codecs import CODECS
from gpuredux.compress.hdf5_roibin import read_roibin, write_roibin
from gpuredux.features import PeakFinderV3r3, Windows
from gpuredux.op import DecodeError, Op
from gpuredux.status import Frame

SHAPE = (2, 21, 27)
Read = Callable[[str, str], np.ndarray]


def peaks(*frames: list[tuple[int, float, float]], cap: int = 4) -> dict[str, np.ndarray]:
    """panel, row, col of each frame's peaks; more than cap are only counted."""
    table = np.zeros((len(frames), cap, 3), np.float32)
    for f, listed in enumerate(frames):
        table[f, : min(len(listed), cap)] = np.reshape(listed[:cap], (-1, 3))
    return {"peak_panel": table[..., 0].astype(np.int32), "peak_row": table[..., 1].copy(), "peak_col": table[..., 2].copy(),
            "peak_count": np.array([len(k) for k in frames], np.int32)}


# over two edges, two that overlap, one in the other panel; none; one far outside, NaN and a panel that is not there; five of which four are listed
WINDOWS = peaks([(0, 0.4, 1.2), (0, 10, 12), (0, 12, 14.6), (1, 20, 26)], [], [(0, -50, 3), (0, math.nan, 4), (2, 5, 5)],
                [(0, 1, 1), (0, 1, 9), (1, 3, 3), (1, 9, 9), (1, 5, 20)])


def frames(dtype: str) -> np.ndarray:
    x = np.random.default_rng(7).poisson(40, (4, *SHAPE)).astype(dtype)
    x[0, 0, 10, 12], x[1, 1, 5, 5] = 60000, 65000
    if dtype == "float32":
        x += np.random.default_rng(8).normal(0, 2, x.shape).astype(np.float32)
        x[1, 0, 4, 4:7], x[2, 1, 20, 26] = [np.nan, np.inf, -np.inf], np.nan
    return x


def by_hand(x: np.ndarray, where: dict[str, np.ndarray], f: int, op: Roibin, marks: np.ndarray | None) -> tuple[np.ndarray, dict[Any, Fraction]]:
    """Which pixels must be kept, corrections apart: those of windows and what is no measurement; and the mean of each bin's others, in fractions."""
    side, sums = int(op.half or 0), {}
    exact = np.zeros(x.shape, bool)
    for k in range(min(int(where["peak_count"][f]), where["peak_panel"].shape[1])):
        panel, row, col = (float(where[f"peak_{c}"][f, k]) for c in ("panel", "row", "col"))
        for p, r, c in np.ndindex(x.shape):
            if p == panel and abs(r - np.rint(row)) <= side and abs(c - np.rint(col)) <= side:
                exact[p, r, c] = True
    for p, r, c in np.ndindex(x.shape):
        good = op.good is None or op.good[p, r, c]
        measured = good and math.isfinite(x[p, r, c]) and (marks is None or marks[p, r, c] == 0)
        if measured and not exact[p, r, c]:
            sums.setdefault((p, r // op.size[0], c // op.size[1]), []).append(Fraction(float(x[p, r, c])))
        exact[p, r, c] = good and (exact[p, r, c] or not measured)
    return exact, {k: sum(v) / len(v) for k, v in sums.items()}


@pytest.mark.parametrize("dtype", ["uint16", "float32"])
@pytest.mark.parametrize("bound", [None, 9.0])
def test_what_comes_back(target: Target, dtype: str, bound: float | None) -> None:
    x, rng = frames(dtype), np.random.default_rng(9)
    good, marks = rng.random(SHAPE) > 0.1, (rng.random(x.shape) < 0.03).astype(np.uint8)
    op = Roibin(3.0, half=3, size=(2, 4), bound=bound, good=good, capacity=SHAPE[1] * 40)
    given = {"energy": x, **WINDOWS, "pixel_status": marks, "frame_status": np.zeros(4, np.uint32)}
    out = op(**{k: target.put(v) for k, v in given.items()}, backend=target.backend.name)
    decoder = op.decoder(SHAPE, fill=77)
    y = target.get(decoder(**{k: v for k, v in out._asdict().items() if k in decoder.input_names}, backend=target.backend.name).energy)
    out = {k: target.get(v) for k, v in out._asdict().items()}
    assert (out["frame_status"] == [0, 0, 0, Frame.OUTLIER_OVERFLOW]).all(), "a peak beyond the list has lost its window"
    for f in range(4):
        exact, means = by_hand(x[f], WINDOWS, f, op, marks[f])
        kept = np.unpackbits(out["roi_bits"][f].view(np.uint8), bitorder="little")[: x[f].size].reshape(SHAPE).astype(bool)
        assert kept[exact].all() and not kept[~good].any() and out["roi_count"][f] == kept.sum()
        assert x[f][kept].tobytes() == y[f][kept].tobytes() == out["roi"][f, : kept.sum()].tobytes()
        assert (y[f][~good] == 77).all()
        rest, worst = good & ~kept, 0.0
        for p, r, c in np.argwhere(rest):
            mean = means[p, r // 2, c // 4]
            value = Fraction(float(out["code"][f, p, r // 2, c // 4])) * Fraction(float(op.quantizer.step))
            assert abs(value - mean) <= 3
            assert y[f, p, r, c] == (float(value) if dtype == "float32" else round(value))
            worst = max(worst, abs(float(x[f, p, r, c]) - float(y[f, p, r, c])))
        assert out["max_error"][f] == np.float32(worst) and out["background_error"][f] <= 3
        if bound is None:
            assert (kept == exact).all(), "nothing but windows and what is no measurement"
        else:
            assert worst <= bound and kept.sum() > exact.sum()


def test_what_no_code_fits_is_kept(target: Target) -> None:
    """Means beyond 16 bits of codes: bin (0, 0), (1, 1); the others cost what they cost."""
    x = np.zeros((1, 4, 6), np.int32)
    x[0, 0, 0], x[0, 3, 3] = 2**31 - 1, -(2**31)
    out = Roibin(0.5, half=0)(**{k: target.put(v) for k, v in {"energy": x, **peaks([])}.items()}, backend=target.backend.name)
    code = target.get(out.code)[0]
    assert code[0, 0] == code[1, 1] == -32768 and not code[0, 1:].any() and target.get(out.roi_count)[0] == 8 and target.get(out.max_error)[0] == 0
    assert sorted(target.get(out.roi)[0, :8].tolist()) == [-(2**31), 0, 0, 0, 0, 0, 0, 2**31 - 1]


def test_a_bound_of_0_is_lossless(target: Target) -> None:
    x = frames("uint16")
    op = Roibin(2.0, half=2, bound=0.0, capacity=SHAPE[0] * SHAPE[1] * SHAPE[2])
    out = op(**{k: target.put(v) for k, v in {"energy": x, **WINDOWS}.items()}, backend=target.backend.name)
    host = {k: target.get(v) for k, v in out._asdict().items() if k in RoibinDecode.inputs}
    assert not target.get(out.max_error).any() and (host["roi_count"] < x[0].size).all()
    assert verify(x, host, op.decoder(SHAPE)).holds


def test_a_decoder_says_what_does_not_agree(target: Target) -> None:
    op = Roibin(2.0, half=2, capacity=50)
    out = op(**{"energy": frames("uint16"), **WINDOWS})
    given = {k: np.array(getattr(out, k)) for k in ("code", "roi_bits", "roi", "roi_count")}
    given["roi_bits"][1, -1] |= 1 << 31        # behind the last pixel
    given["roi_count"][2] += 1
    _, status = op.decoder(SHAPE)(**{k: target.put(v) for k, v in {**given, "frame_status": np.zeros(4, np.uint32)}.items()}, backend=target.backend.name)
    assert target.get(status).tolist() == [Frame.OUTLIER_OVERFLOW, Frame.CORRUPT, Frame.CORRUPT, Frame.OUTLIER_OVERFLOW]


@pytest.mark.parametrize(("fields", "message"), [
    ({"abs": 0.0}, "abs must be"), ({"abs": "1"}, "abs must be a real number"), ({"abs": 1.0, "size": (0, 2)}, "size must be"),
    ({"abs": 1.0, "half": 32}, "half"),
    ({"abs": 1.0, "bound": -1.0}, "bound must be"), ({"abs": 1.0, "bound": math.nan}, "bound must be"), ({"abs": 1.0, "code": "int32"}, "code must be"),
    ({"abs": 1.0, "capacity": 0}, "capacity must be"), ({"abs": 1.0, "half": None}, "half"), ({"abs": 1.0, "good": np.ones(4, int)}, "good must be bool"),
])
def test_misuse(fields: dict[str, Any], message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=f"^compress.roibin: .*{message}"):
        Roibin(**fields)


def test_misuse_of_the_decoder() -> None:
    for fields, message in (({"shape": (4,), "step": 1.0}, "shape must be"), ({"shape": (4, 4), "step": 1.0009765625}, "significant bits"),
                            ({"shape": (4, 4), "step": 1.0, "size": (2,)}, "size must be"), ({"shape": (4, 4), "step": 1.0, "code": "int32"}, "code must be")):
        with pytest.raises(ValueError, match=f"^compress.roibin_decode: .*{message}"):
            RoibinDecode(**fields)


# ---------------------------------------------------------------------------------------------------------------------- files
STOCK = """
import sys, h5py, hdf5plugin, numpy as np
with h5py.File(sys.argv[1]) as f:
    code, mask, roi, offset = f["background"][:], f["mask"][:], f["roi"][:], f["roi_offset"][:]
    mean = code * f["background"].attrs["scale_factor"]
    a, b = f.attrs["bin_size"]
y = np.repeat(np.repeat(np.rint(mean), a, -2), b, -1)[..., : mask.shape[-2], : mask.shape[-1]]
for i in range(len(y)):
    y[i][mask[i] == 1] = roi[offset[i] : offset[i + 1]]
    y[i][mask[i] == 2] = 5
np.save(sys.argv[2], y)
assert "gpuredux" not in sys.modules
"""


@pytest.mark.parametrize("codec", CODECS)
def test_a_stock_reader_rebuilds_a_file(tmp_path: Path, codec: str) -> None:
    """In a process of its own, which knows h5py, hdf5plugin and the layout's few words."""
    x, path = frames("uint16"), tmp_path / "run.h5"
    good = np.random.default_rng(9).random(SHAPE) > 0.1
    op = Roibin(3.0, half=3, bound=12.0, good=good)
    out = op(**{"energy": x, **WINDOWS, "frame_status": np.zeros(4, np.uint32)})
    write_roibin(path, op, out, SHAPE, codec=codec, peaks=WINDOWS, whole={3: x[3]}, provenance={"run": 7})
    subprocess.run([sys.executable, "-c", STOCK, str(path), str(tmp_path / "y.npy")], check=True, cwd=tmp_path)
    y, ours = np.load(tmp_path / "y.npy"), read_roibin(path, fill=5)
    assert ours.dtype == x.dtype and np.array_equal(ours, y) and np.array_equal(read_roibin(path, slice(1, 3), fill=5), y[1:3])
    assert np.abs(y - x.astype(float))[:, good].max() <= 12 and np.array_equal(y[3][good], x[3][good])
    with h5py.File(path) as f:
        assert f["windows"][: f["windows_offset"][1]].tolist() == [[0, -3, -2], [0, 7, 9], [0, 9, 12], [1, 17, 23]]
        assert f["background_side/frame_status"][:].tolist() == [0, 0, 0, Frame.OUTLIER_OVERFLOW] and f["max_error"][3] == 0 and f.attrs["pixel_bound"] == 12
        assert [f[k].id.get_create_plist().get_nfilters() for k in ("mask", "roi")] == [2, 3] and '"run": 7' in f.attrs["provenance"]
        assert '"backend": "numba"' in f.attrs["provenance"]


@pytest.mark.parametrize("codec", [ShuffleZstd(), Auto()])
def test_one_call_from_frames_to_chunks(target: Target, tmp_path: Path, codec: Op) -> None:
    """Peaks, windows, bins and the codec in one chain; its payload is what the file stores."""
    x = frames("float32")[:1]
    x[0, 0, 9:12, 11:14] += [[90, 400, 90], [400, 999, 400], [90, 400, 90]]
    op = Roibin(3.0, half=3)
    chain = gpuredux.Chain([PeakFinderV3r3(amax_thr=100.0, max_peaks=9), op, codec], keep=[*(k for k in op.writes if k != "code"), *codec.writes])
    out = chain(target.put(x), backend=target.backend.name)
    write_roibin(tmp_path / "run.h5", op, out, SHAPE, codec=codec)
    y = read_roibin(tmp_path / "run.h5")
    assert np.array_equal(y[0, 0, 7:14, 9:16], x[0, 0, 7:14, 9:16]) and abs(y - x).max() == np.float32(target.get(out.max_error)[0])


def test_files_that_are_refused(tmp_path: Path) -> None:
    x, op = frames("uint16"), Roibin(3.0, half=3)
    out = op(**{"energy": x, **WINDOWS, "frame_status": np.zeros(4, np.uint32)})
    with pytest.raises(ValueError, match=r"frames \[3\] have OUTLIER_OVERFLOW"):
        write_roibin(tmp_path / "a.h5", op, out, SHAPE)
    with pytest.raises(ValueError, match="frame_shape"):
        write_roibin(tmp_path / "a.h5", op, out, (2, 27, 21), frames=3)
    with pytest.raises(ValueError, match=r"whole\[3\] must be uint16"):
        write_roibin(tmp_path / "a.h5", op, out, SHAPE, whole={3: x[3].astype(float)})
    assert not (tmp_path / "a.h5").exists()
    write_roibin(tmp_path / "a.h5", op, out, SHAPE, frames=3)
    with pytest.raises(FileExistsError):
        write_roibin(tmp_path / "a.h5", op, out, SHAPE, frames=3)
    with h5py.File(tmp_path / "a.h5", "r+") as f:
        with pytest.raises(ValueError, match="holds background, background_side, mask"):
            write_roibin(f, op, out, SHAPE, frames=3)
        write_roibin(f.create_group("none"), op, out, SHAPE, frames=0)
        assert read_roibin(f["none"]).shape == (0, *SHAPE)


def test_what_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    x, op = frames("uint16")[:3], Roibin(3.0, half=3)
    table = {k: v[:3] for k, v in WINDOWS.items()}
    out = op(**{"energy": x, **table})
    with h5py.File(tmp_path / "a.h5", "w") as f:
        f.create_group("taken")["windows"] = [1, 2]
        with pytest.raises(ValueError, match="holds windows already"):
            write_roibin(f["taken"], op, out, SHAPE)
        assert list(f["taken"]) == ["windows"] and not len(f["taken"].attrs)
        for fields, message in (({"whole": {99: x[0]}}, r"whole must be of rows 0 to 2, got \[99\]"), ({"frames": 4}, "frames must be 0 to 3"),
                                ({"frames": -1}, "frames must be 0 to 3")):
            with pytest.raises(ValueError, match=message):
                write_roibin(f, op, out, SHAPE, **fields)
        bare = gpuredux.Chain([op, Auto()], keep=[*(k for k in op.writes if k != "code"), "payload", "size"])(**{"energy": x, **table})
        with pytest.raises(ValueError, match="writes filter_mask, which made lacks"):
            write_roibin(f.create_group("bare"), op, bare, SHAPE, codec="auto")
        with pytest.raises(TypeError, match="loses bits"):
            write_roibin(f.create_group("zfp"), op, out, SHAPE, codec=Zfp(tolerance=1.0))

        def full(*given: Any) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(hdf5_roibin, "_seal", full)
        for where in (f.create_group("late"), tmp_path / "late.h5"):
            with pytest.raises(OSError, match="No space"):
                write_roibin(where, op, out, SHAPE, peaks=table)
        assert not list(f["late"]) and not len(f["late"].attrs) and not (tmp_path / "late.h5").exists()


def small(path: Path, **fields: Any) -> np.ndarray:
    """A file, and its frames."""
    x = frames("uint16")[:3]
    op = Roibin(3.0, half=3, bound=40.0)
    write_roibin(path, op, op(**{"energy": x, **{k: v[:3] for k, v in WINDOWS.items()}}), SHAPE, **fields)
    return read_roibin(path)


def put(key: str, at: Any, value: Any) -> Callable[[Any], None]:
    return lambda f: f[key].__setitem__(at, value)


def said(key: str, value: Any, of: str = "/") -> Callable[[Any], None]:
    return lambda f: f[of].attrs.__setitem__(key, value)


def without(key: str, of: str = "/") -> Callable[[Any], None]:
    return lambda f: f[of].attrs.__delitem__(key)


LIES: dict[str, tuple[Callable[[Any], None], str]] = {
    "roi_offset": (put("roi_offset", 1, 9), "are not what was written"), "roi_offset descends": (put("roi_offset", slice(None), [0, 9, 3, 4]), "not what was"),
    "frame_shape": (said("frame_shape", (2, 21, 26)), "not what was written"), "bin_size": (said("bin_size", (1, 4)), "not what was written"),
    "dtype": (said("dtype", np.bytes_("int16")), "list of int16"), "text": (said("dtype", "uint16"), "nothing that was written"),
    "step": (said("scale_factor", np.float32(1.5), "background"), "not what was written"), "layout": (said("roibin_layout", 3), "roibin_layout 3; known is 2"),
    "no layout": (without("roibin_layout"), "roibin_layout None"), "no frame_shape": (without("frame_shape"), "no attribute frame_shape"),
    "no step": (without("scale_factor", "background"), "no attribute scale_factor"), "no seal": (without("seal_crc32c"), "no attribute seal_crc32c"),
    "no mask": (lambda f: f.__delitem__("mask"), "no dataset 'mask'"), "mask": (put("mask", (0, 0, 0, 0), 3), "damaged: CRC32C"),
    "roi cut": (lambda f: f.move("roi_offset", "roi"), "no dataset 'roi_offset'|list of uint16|already exists|cannot be read"),
    "1e10 rows": (lambda f: f["mask"].resize(10**10, 0), "are not of 3 frames"),
    "1e10 rows of all": (lambda f: [f[k].resize(10**10, 0) for k in ("mask", "background")], "are not what was written"),
}


@pytest.mark.parametrize("name", LIES)
def test_lies_are_found(tmp_path: Path, name: str) -> None:
    small(tmp_path / "a.h5")
    change, message = LIES[name]
    with h5py.File(tmp_path / "a.h5", "r+") as f:
        if name == "roi cut":
            del f["roi"]
        change(f)
    with pytest.raises(ValueError, match=message):
        read_roibin(tmp_path / "a.h5")


def test_a_mask_that_is_none(tmp_path: Path) -> None:
    """With right CRCs: another writer's."""
    small(tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5", "r+") as f:
        mask = f["mask"][:]
        for value, message in ((3, "mask of frame 1 holds 3"), (1, "frame 1 has another number of exact pixels")):
            del f["mask"], f["mask_side"]
            mask[1, 0, 0, 0] = value if mask[1, 0, 0, 0] != value else 0
            hdf5.write(f, "mask", mask, "shuffle_zstd")
            with pytest.raises(DecodeError, match=message):
                read_roibin(f)


@pytest.mark.parametrize("codec", ["shuffle_zstd", "bitshuffle_lz4", "auto"])
def test_flipped_bits_are_found(tmp_path: Path, codec: str) -> None:
    """100 of each file: what was written, or an error that says so."""
    y = small(tmp_path / "a.h5", codec=codec)
    flip_bits(tmp_path / "a.h5", y, read_roibin, 100)


def test_peaks_are_found_again(real: Read, tmp_path: Path) -> None:
    """CSPAD, thermolysin, the finder and cuts that the file names: all 201 peaks are found again. Their pixels are the same; the finder's background looks
    further than the window, so that some centroids move by hundredths of a pixel."""
    frame = real("cspad_thermolysin_1.h5", "data")[None]
    good = (frame[0] > -100) & (frame[0] < 16383)
    find = PeakFinderV3r3(rank=3, r0=4.0, dr=2.0, nsigm=0.0, npix_min=2, npix_max=30, amax_thr=250.0, atot_thr=500.0, son_min=9.0, good=good)
    table = find(frame)
    given = {k: getattr(table, k) for k in ("peak_panel", "peak_row", "peak_col", "peak_count")}
    op = Roibin(90.0, good=good)
    write_roibin(tmp_path / "run.h5", op, op(frame, **given), frame.shape[1:], peaks=given)
    y = read_roibin(tmp_path / "run.h5")
    cut = Windows(half=8, good=good)
    assert np.array_equal(cut(y, **given)[0, :201], cut(frame, **given)[0, :201])
    at, back = (np.stack([getattr(t, f"peak_{c}")[0, : t.peak_count[0]] for c in ("panel", "row", "col")], 1) for t in (table, find(y)))
    far = np.abs(at[:, None] - back[None]).max(-1)
    assert len(at) == 201 and (far.min(1) < 0.5).all() and (far.min(0) > 0.5).sum() <= 1
    with h5py.File(tmp_path / "run.h5") as f:      # a file by itself costs some 35 KB, of however many frames
        assert frame.nbytes / sum(f[k].id.get_storage_size() for k in ("background", "mask", "roi", "windows")) > 160
    assert frame.nbytes / (tmp_path / "run.h5").stat().st_size > 100


@pytest.mark.parametrize("third", [-3e-25, -2e-25])
def test_a_bound_that_float64_would_round_to(target: Target, third: float) -> None:
    """1 and what is some 1e-25 below 0 are further apart than 1, and a difference in float64 is not."""
    x, none = np.array([[[1, -1], [third, 0]]], np.float32), np.zeros((1, 1), np.int32)
    op = Roibin(2.0**-86, size=(2, 2), bound=1.0)
    out = op(*(target.put(k) for k in (x, none, none, none, none[0])), backend=target.backend.name)
    code, count = int(target.get(out.code)[0, 0, 0]), int(target.get(out.roi_count)[0])
    assert code < 0 and count == 1 and target.get(out.roi)[0, 0] == 1.0 and target.get(out.max_error)[0] == 1.0
    y = Fraction(code) * Fraction(2) ** -86
    assert abs(1 - y) > 1 >= abs(-1 - y)
