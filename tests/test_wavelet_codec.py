"""The wavelet codec against PyWavelets, the 5/3 of JPEG 2000 in plain Python, stock HDF5, its own bound. Over 200 lines: codes and their files."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin  # noqa: F401  registers the filters
import numpy as np
import pytest
from conftest import Target
from flip_bits import flip_bits
from test_quantize_bounds import STRICT

from gpuredux import Chain
from gpuredux.compress import BitshuffleZstd, BitshuffleZstdDecode, Quantize, ReversibleWavelet, Wavelet, WaveletDecode
from gpuredux.compress.codecs import CODECS
from gpuredux.compress.hdf5_wavelet import read_wavelet, write_wavelet
from gpuredux.datasets.case import seeded
from gpuredux.status import Frame

pywt = pytest.importorskip("pywt", reason="PyWavelets is not installed: the test extra has it")
LISTS = ("code", "outlier_index", "outlier_value", "outlier_count")


def scene(n: int = 3, frame: tuple[int, int] = (64, 80)) -> np.ndarray:
    """Smooth, with noise of 1 and peaks."""
    rng, (rows, cols) = seeded("scene"), np.mgrid[: frame[0], : frame[1]]
    x = 100 + 40 * np.sin(rows / 9) * np.cos(cols / 14) + rng.normal(0, 1, (n, *frame))
    x[rng.random(x.shape) < 0.002] += 5000
    return x.astype(np.float32)


def back_and_forth(op: Wavelet, x: np.ndarray, **named: Any) -> tuple[Any, np.ndarray]:
    out = op(x, **named)
    return out, op.inverse()(*(getattr(out, k) for k in LISTS))


def holds(x: np.ndarray, y: np.ndarray, bound: float) -> np.ndarray:
    """Within the bound, in float64, or the same bits."""
    with np.errstate(invalid="ignore", over="ignore"):
        return (np.abs(x.astype(np.float64) - y.astype(np.float64)) <= bound) | (x.view(np.uint32) == y.view(np.uint32))


def unfolded(code: np.ndarray) -> np.ndarray:
    wide = code.astype(np.int64)
    return (wide >> 1) ^ -(wide & 1)


def test_coefficients_are_pywavelets_in_steps() -> None:
    x = scene(1)
    op = Wavelet(0.5, levels=1, weights=(1.25,))
    c = unfolded(op(x).code[0, 0]) * 1.0
    c[:32, :40] *= op.steps[0]
    c[32:] *= op.steps[1]
    c[:32, 40:] *= op.steps[1]
    limited = np.clip(x[0].astype(np.float64), -op.most, op.most)
    want, _ = pywt.coeffs_to_array(pywt.wavedec2(limited, "bior4.4", "periodization", 1))
    inside = np.zeros(c.shape, bool)
    inside[3:29, 3:37] = inside[35:61, 3:37] = inside[3:29, 43:77] = inside[35:61, 43:77] = True     # edges go on in another way
    off = np.abs(c - want)[inside]
    kept = (c != 0)[inside]
    assert 0.2 < kept.mean() < 0.9
    assert off[kept].max() < 0.5001 * op.steps[1] and off.max() < 0.8501 * op.steps[1]


def lifted(s: list[int]) -> list[int]:
    """Low and high coefficients of a line: ITU-T T.800 annex F, on whole numbers of any size."""
    n = len(s)
    if n == 1:
        return s
    turn = lambda i: abs(i) if i < n else 2 * n - 2 - i  # noqa: E731
    d = {k: s[k] - (s[turn(k - 1)] + s[turn(k + 1)]) // 2 for k in range(1, n, 2)}
    low = [s[k] + (d[turn(k - 1)] + d[turn(k + 1)] + 2) // 4 for k in range(0, n, 2)]
    return low + list(d.values())


@pytest.mark.parametrize("frame", [(5, 9), (8, 6), (1, 7)])
def test_whole_numbers_are_lifted_as_the_standard_says(frame: tuple[int, int]) -> None:
    raw = seeded(f"{frame}").poisson(30, (1, *frame)).astype(np.uint16)
    want = raw[0].astype(object)
    rows, cols = frame
    for _ in range(2):
        want[:rows, :cols] = np.array([lifted(list(line)) for line in want[:rows, :cols].T], object).T
        want[:rows, :cols] = np.array([lifted(list(line)) for line in want[:rows, :cols]], object)
        rows, cols = (rows + 1) // 2, (cols + 1) // 2
    assert np.array_equal(unfolded(ReversibleWavelet("uint16", 2)(raw))[0], want.astype(np.int64))


def test_the_bound_holds_where_other_codecs_break_theirs(target: Target) -> None:
    for i, (name, (bound, make)) in enumerate(STRICT.items()):
        x = make(np.random.default_rng(i), 1 << 13).astype(np.float32).reshape(1, 64, 128)
        op = Wavelet(bound, capacity=1 << 13)
        out = op(target.put(x), backend=target.backend.name)
        y = target.get(op.inverse()(*(getattr(out, k) for k in LISTS), backend=target.backend.name))
        assert holds(x, y, bound).all(), name
        error, listed = target.get(out.max_error)[0], np.isin(np.arange(x.size), target.get(out.outlier_index)[0, : target.get(out.outlier_count)[0]])
        worst = np.abs(x.astype(np.float64).reshape(-1)[~listed] - y.reshape(-1)[~listed]).max(initial=0.0)
        assert worst <= error <= bound and error <= np.nextafter(np.float32(worst), np.float32(np.inf)), name
        if name in ("unit normal", "NaN", "Inf", "3e38"):       # nothing is listed that a correction can bring within the bound
            assert (np.abs(x.reshape(-1)[listed]) < 1e30).sum() == 0


def test_marks_lists_and_overflow() -> None:
    x = scene()
    x[0, 3, 5], x[0, 9, 70], x[1, :2] = np.nan, -np.inf, np.nan
    status, good = np.zeros(x.shape, np.uint8), np.ones(x.shape[1:], bool)
    status[2, 8, 8], good[40, 7] = 4, False
    op = Wavelet(1.0, capacity=100, good=good)
    out, y = back_and_forth(op, x, pixel_status=status, frame_status=np.array([1, 2, 4], np.uint32))
    assert out.outlier_count.tolist() == [2, 160, 0] and out.frame_status.tolist() == [1, 2 | Frame.OUTLIER_OVERFLOW, 4]
    assert np.isnan(y[:, 40, 7]).all() and np.isnan(y[2, 8, 8]) and np.isnan(y[0, 3, 5]) and y[0, 9, 70] == -np.inf
    assert np.isnan(y[1, 1, 20:]).all()         # cut off: no number is made up
    use = good & (status == 0)
    assert holds(x, y, 1.0)[0][use[0]].all() and holds(x, y, 1.0)[2][use[2]].all()
    zero = WaveletDecode(op.steps, op.residual_step, masked_value=0.0)(*(getattr(out, k) for k in LISTS))
    assert (zero[:, 40, 7] == 0).all() and zero[2, 8, 8] == 0


def test_a_large_step_and_a_threshold_leave_it_to_the_corrections() -> None:
    x = scene(1)
    for fields in ({"step": 4096.0}, {"dead_zone": 500.0}, {"levels": 8}, {"weights": (64.0, 0.125)}, {"fill": -50.0}):
        out, y = back_and_forth(Wavelet(0.25, **fields), x)
        assert out.outlier_count[0] == 0 and holds(x, y, 0.25).all() and 0.2 < out.max_error[0] <= 0.25


def test_chains_with_encoders(target: Target) -> None:
    x = scene()
    code = Wavelet(0.5)(x).code
    made = Chain([Wavelet(0.5), BitshuffleZstd()], keep=("payload", "size"))(target.put(x), backend=target.backend.name)
    again = BitshuffleZstdDecode((2, 64, 80), "uint16")(made.payload, made.size, backend=target.backend.name)
    assert np.array_equal(target.get(again.code), code)
    strict = Quantize(0.5)
    lossy, plain = strict(x), Chain([strict, ReversibleWavelet("int16", of="code")], keep=("code",))(x)
    assert np.array_equal(ReversibleWavelet("int16", of="code").inverse()(plain), lossy.code)


def test_it_is_smaller_on_an_image_and_not_much_larger_on_noise() -> None:
    size = lambda code: int(BitshuffleZstd()(code).size.sum())  # noqa: E731
    rng, (rows, cols) = seeded("noise"), np.mgrid[:256, :256]
    noise = rng.normal(0, 1, (1, 256, 256)).astype(np.float32)
    image = noise + (100 + 40 * np.sin(rows / 9) * np.cos(cols / 14)).astype(np.float32)
    for bound, smooth, alone in ((1.0, 0.7, 1.35), (3.0, 0.4, 1.35)):
        assert size(Wavelet(bound)(image).code) < smooth * size(Quantize(bound)(image).code)
        assert size(Wavelet(bound)(noise).code) < alone * size(Quantize(bound)(noise).code)


def test_recorded_frames(real: Any) -> None:
    x = np.ascontiguousarray(real("projection_flat_dark.h5", "flat")[None, :256, :256])
    op = ReversibleWavelet("uint16")
    assert np.array_equal(op.inverse()(op(x)), x)
    energy = x.astype(np.float32)
    out, y = back_and_forth(Wavelet(100.0), energy)
    assert out.outlier_count[0] == 0 and holds(energy, y, 100.0).all()


GOLDEN = {"wavelet": "848d3c47f949f32c", "reversible": "804efb23900c339e"}


def test_the_format_stays() -> None:
    """Of frames without arithmetic that may change: SHA-256 of codes, lists and decoded values."""
    rows, cols = np.mgrid[:37, :53]
    x = ((rows * 7 + cols * cols * 3 + (rows * cols) % 11) % 4096 / 8.0).astype(np.float32)[None]
    x[0, 5, 5], x[0, 6, 6] = np.inf, 1e30
    out, y = back_and_forth(Wavelet(0.5, capacity=2), x)
    raw = (rows * cols * 31 % 65536).astype(np.uint16)[None]
    got = {"wavelet": b"".join(a.tobytes() for a in (*out, y)), "reversible": ReversibleWavelet("uint16")(raw).tobytes()}
    assert {k: hashlib.sha256(v).hexdigest()[:16] for k, v in got.items()} == GOLDEN


# --------------------------------------------------------------------------------------------------------------- files
def test_a_file_by_itself(tmp_path: Path, target: Target) -> None:
    """Written from any backend; codes by stock h5py; frames by nothing but the attributes, in float64."""
    x = scene()
    x[1, 0, :30] = np.nan
    path = tmp_path / "run.h5"
    write_wavelet(path, Wavelet(0.5, capacity=20), target.put(x), encoder="shuffle_deflate", frame_status=target.put(np.array([1, 0, 0], np.uint32)),
                  backend=target.backend.name, provenance={"run": 7})
    y = read_wavelet(path)
    assert holds(x, y, 0.5).all() and (read_wavelet(path, slice(1, 2)).view(np.uint32) == x[1:2].view(np.uint32)).all()     # kept whole
    with h5py.File(path) as f:
        said, code = dict(f.attrs), f["code"][0]
        assert f["lossless_frame"][:].tolist() == [1] and f["code_side/frame_status"][:].tolist() == [1, Frame.OUTLIER_OVERFLOW, 0]
        assert 0 < f["max_error"][0] <= said["error_bound"] == 0.5 and f["max_error"][1] == 0
        assert said["dtype"] == b"float32" and '"run": 7' in said["provenance"] and target.backend.name in said["provenance"]
    c, sizes = unfolded(code[0]).astype(np.float64), [(64, 80)]
    for _ in range(said["levels"]):
        sizes.append(tuple((k + 1) // 2 for k in sizes[-1]))
    step = np.full((64, 80), said["steps"][0], np.float64)
    for level, (rows, cols) in reversed(list(enumerate(sizes[1:], 1))):
        step[rows : sizes[level - 1][0], : sizes[level - 1][1]] = step[: sizes[level - 1][0], cols : sizes[level - 1][1]] = said["steps"][level]
    c *= step
    for level in range(said["levels"], 0, -1):
        rows, cols = sizes[level - 1]
        part = np.apply_along_axis(unlifted, 1, c[:rows, :cols])
        c[:rows, :cols] = np.apply_along_axis(unlifted, 0, part)
    rebuilt = c + unfolded(code[1]) * said["residual_step"]
    coded = code[1] < 65534
    assert coded.mean() > 0.99 and np.abs(rebuilt - y[0])[coded].max() < 0.01


def unlifted(line: np.ndarray) -> np.ndarray:
    """The inverse of 9/7 on one line, as ITU-T T.800 annex F has it: four steps, then low and high by their scale."""
    n, half, k = len(line), (len(line) + 1) // 2, 1.230174104914001
    x = np.empty(n)
    x[::2], x[1::2] = line[:half] * k / np.sqrt(2), line[half:] * -np.sqrt(2) / k
    turn = lambda i: np.where(np.abs(i) < n, np.abs(i), 2 * n - 2 - np.abs(i))  # noqa: E731
    for first, factor in ((0, 0.443506852043971), (1, 0.882911075530934), (0, -0.052980118572961), (1, -1.586134342059924)):
        at = np.arange(first, n, 2)
        x[at] = x[at] - factor * (x[turn(at - 1)] + x[turn(at + 1)])
    return x


def test_groups_batches_and_words(tmp_path: Path) -> None:
    raw = seeded("raw").poisson(5, (3, 2, 24, 32)).astype(np.uint16)
    with h5py.File(tmp_path / "all.h5", "w") as f:
        write_wavelet(f.create_group("a/b"), ReversibleWavelet("uint16"), raw)
        assert np.array_equal(read_wavelet(f["a/b"]), raw) and np.array_equal(read_wavelet(f["a/b"], slice(2, 9)), raw[2:])
        write_wavelet(f.create_group("none"), Wavelet(0.5), scene(0))
        assert read_wavelet(f["none"]).shape == (0, 64, 80)
        with pytest.raises(ValueError, match="holds code, code_side"):
            write_wavelet(f["a/b"], ReversibleWavelet("uint16"), raw)
        with pytest.raises(ValueError, match="pixel_status must be uint8"):
            write_wavelet(f.create_group("c"), Wavelet(0.5), scene(), pixel_status=np.zeros((3, 5), np.uint8))
        assert not list(f["c"])     # what fails leaves nothing
    with pytest.raises(FileExistsError):
        write_wavelet(tmp_path / "all.h5", ReversibleWavelet("uint16"), raw)
    for op, error in ((Quantize(0.5), TypeError), (ReversibleWavelet("uint16", back=True), TypeError), (Wavelet(0.5), TypeError)):
        with pytest.raises(error):
            write_wavelet(tmp_path / "new.h5", op, raw)
    assert not (tmp_path / "new.h5").exists()


def put(name: str, at: Any, value: Any) -> Any:
    return lambda f: f[name].__setitem__(at, value)


def said(name: str, value: Any) -> Any:
    return lambda f: f.attrs.__setitem__(name, value)


def bit(f: Any) -> None:
    mask, chunk = f["code"].id.read_direct_chunk((2, 0, 0, 0))
    f["code"].id.write_direct_chunk((2, 0, 0, 0), chunk[:500] + bytes([chunk[500] ^ 1]) + chunk[501:], mask)


def emptied(f: Any) -> None:
    del f["lossless_frame"]
    f["lossless_frame"] = np.empty(0, np.uint64)


DAMAGE: dict[str, tuple[Any, str]] = {
    "bit": (bit, "frame 2 .*damaged: CRC32C"), "offset": (put("outlier_offset", 1, 9), "not what"),
    "offset 0": (put("outlier_offset", ..., 0), "not what"),
    "no values": (lambda f: f.__delitem__("outlier_value"), "no dataset 'outlier_value'"), "no whole frame": (emptied, "not what was written"),
    "another frame": (put("lossless_frame", 0, 2), "not what was written"), "index": (put("outlier_index", 2, 9), "not where its codes say"),
    "steps": (said("steps", np.array([1.0], np.float32)), "not what was written"), "residual": (said("residual_step", np.float32(np.nan)), "not what was"),
    "dtype": (said("dtype", np.bytes_("uint16")), "not what was written"), "dtype, a number": (said("dtype", 5), "not what was written"),
    "levels": (said("levels", np.uint32(3)), "not what was written"), "bound": (said("error_bound", 9.0), "not what was written"),
    "no levels": (lambda f: f.attrs.__delitem__("levels"), "no attribute"), "no seal": (lambda f: f.attrs.__delitem__("seal_crc32c"), "no attribute"),
    "1e10 rows": (lambda f: f["code"].resize(10**10, 0), "not what was written"), "layout": (said("wavelet_layout", 3), "wavelet_layout 3; known is 2"),
    "no layout": (lambda f: f.attrs.__delitem__("wavelet_layout"), "wavelet_layout None"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_is_found(tmp_path: Path, name: str) -> None:
    x, (change, message) = scene(), DAMAGE[name]
    x[0, 0, :3], x[1, 0, :15] = np.nan, np.nan
    write_wavelet(tmp_path / "a.h5", Wavelet(0.5, capacity=10), x)
    with h5py.File(tmp_path / "a.h5", "r+") as f:
        change(f)
    with pytest.raises(ValueError, match=message):
        read_wavelet(tmp_path / "a.h5")


def test_masked_pixels_of_whole_frames(tmp_path: Path) -> None:
    x, marks = scene(), np.zeros((3, 64, 80), np.uint8)
    x[1, 0, :15] = np.nan
    marks[:, 7, 9] = 4
    write_wavelet(tmp_path / "a.h5", Wavelet(0.5, capacity=10), x, pixel_status=marks)
    for masked in (0.0, np.nan):
        y = read_wavelet(tmp_path / "a.h5", masked=masked)
        assert np.array_equal(y[:, 7, 9], [masked] * 3, equal_nan=True) and np.array_equal(y[1][marks[1] == 0], x[1][marks[1] == 0], equal_nan=True)
    with pytest.raises(ValueError, match="masked must be 0 or NaN"):
        read_wavelet(tmp_path / "a.h5", masked=1.0)


@pytest.mark.parametrize("codec", CODECS)
def test_every_codec(tmp_path: Path, codec: str) -> None:
    x, raw = scene(2), seeded("raw").poisson(5, (2, 24, 32)).astype(np.int32)
    x[1, 0, :15] = np.nan
    with h5py.File(tmp_path / "a.h5", "w") as f:
        write_wavelet(f.create_group("a"), Wavelet(0.5, capacity=10), x, encoder=codec)
        write_wavelet(f.create_group("b"), ReversibleWavelet("int32"), raw, encoder=codec)
        assert holds(x, read_wavelet(f["a"]), 0.5).all() and np.array_equal(read_wavelet(f["b"]), raw)


@pytest.mark.parametrize("codec", ["bitshuffle_zstd", "auto"])
def test_flipped_bits_are_found(tmp_path: Path, codec: str) -> None:
    """150 of a file with a frame that is kept whole: what was written, or an error that says so."""
    x = scene(2)
    x[0, 0, :3], x[1, 0, :15] = np.nan, np.nan
    write_wavelet(tmp_path / "a.h5", Wavelet(0.5, capacity=10), x, encoder=codec)
    flip_bits(tmp_path / "a.h5", read_wavelet(tmp_path / "a.h5"), read_wavelet, 150)


WRONG: dict[str, tuple[Any, dict[str, Any], str]] = {
    "bound 0": (Wavelet, {"abs": 0.0}, "abs must be"), "bound NaN": (Wavelet, {"abs": np.nan}, "abs must be"),
    "levels": (Wavelet, {"levels": 9}, "levels must be"),
    "step": (Wavelet, {"step": 0.1}, "step must be"), "weights": (Wavelet, {"weights": (1.0,) * 5}, "weights must be"), "text": (Wavelet, {"abs": "1"}, "abs"),
    "negative weight": (Wavelet, {"weights": (-1.0,)}, "weights must be"), "dead zone": (Wavelet, {"dead_zone": 0.1}, "dead_zone must be"),
    "fill": (Wavelet, {"fill": 1e9}, "fill must be"), "good": (Wavelet, {"good": np.ones((3, 3))}, "good must be bool"),
    "capacity": (Wavelet, {"capacity": 0}, "capacity must be"), "no steps": (WaveletDecode, {}, "steps must be"),
    "bits of a step": (WaveletDecode, {"steps": (1.0, 1 / 3)}, "9 significant bits"),
    "masked": (WaveletDecode, {"steps": (1.0, 1.0), "masked_value": 5.0}, "0 or NaN"),
    "words": (ReversibleWavelet, {"words": "float32"}, "words must be"), "back": (ReversibleWavelet, {"back": 1}, "back must be"),
    "too many levels": (ReversibleWavelet, {"levels": 9}, "levels must be"),
}


@pytest.mark.parametrize("name", WRONG)
def test_misuse(name: str) -> None:
    op, fields, said = WRONG[name]
    with pytest.raises((TypeError, ValueError), match=f"^{op.name}: .*{said}"):
        op(**fields)


def test_frames_that_are_none() -> None:
    for op, x in ((Wavelet(1.0), np.zeros((2, 9), np.float32)), (ReversibleWavelet("uint16"), np.zeros((2, 9), np.uint16))):
        with pytest.raises(ValueError, match="2 axes or more"):
            op(x)
    with pytest.raises(TypeError, match="energy must be float32"):
        Wavelet(1.0)(np.zeros((1, 8, 8), np.float64))
