"""zfp streams against outsiders: zfpy in a process of its own, hdf5plugin, golden bytes, mutants. Over 200 lines: one question, are these bytes the format."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import numpy as np
import pytest
from test_bitshuffle_lz4 import rows_of, same

from gpuredux import DecodeError
from gpuredux.compress import Quantize, Zfp, ZfpDecode, decode_zfp
from gpuredux.compress.zfp_format import frame_layout, header
from gpuredux.datasets.cases_zfp import frames_of
from gpuredux.status import Frame

GOLDEN = Path(__file__).parent / "golden"
# zfpy reads beyond a stream that is cut, and libzfp 1.0.1 writes beyond its buffer at rates below a block's header: never in this process
ZFPY = """
import json, sys
import numpy as np, zfpy
kinds = {"int32": zfpy.type_int32, "int64": zfpy.type_int64, "float32": zfpy.type_float, "float64": zfpy.type_double}
for line in sys.stdin:
    what, dtype, shape, mode, size = json.loads(line)
    shape = tuple(shape)
    raw = sys.stdin.buffer.read(0) if not size else bytes.fromhex(sys.stdin.readline())
    if what == "decode":
        out = np.ascontiguousarray(zfpy._decompress(raw, kinds[dtype], shape, **mode)).tobytes()
    else:
        out = zfpy.compress_numpy(np.frombuffer(raw, dtype).reshape(shape), write_header=what == "header", **mode)
    print(out.hex(), flush=True)
"""
MODES: tuple[dict[str, Any], ...] = ({"tolerance": 0.01}, {"tolerance": 3e-6}, {"rate": 9.3}, {"rate": 31.0}, {"precision": 11}, {"precision": 64})
SHAPES = ((1,), (7,), (133,), (1, 1), (3, 5), (21, 70), (1, 3, 2), (5, 6, 9))


class Zfpy:
    """zfpy in a process of its own."""

    def __init__(self) -> None:
        self.process = subprocess.Popen([sys.executable, "-c", ZFPY], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, what: str, dtype: str, shape: tuple[int, ...], mode: dict[str, Any], raw: bytes) -> bytes:
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(json.dumps([what, dtype, shape, mode, len(raw)]) + "\n" + raw.hex() + "\n")
        self.process.stdin.flush()
        return bytes.fromhex(self.process.stdout.readline())

    def encode(self, x: np.ndarray, mode: dict[str, Any]) -> bytes:
        return self.ask("encode", x.dtype.name, x.shape, mode, x.tobytes())

    def decode(self, stream: bytes, dtype: str, shape: tuple[int, ...], mode: dict[str, Any]) -> np.ndarray:
        return np.frombuffer(self.ask("decode", dtype, shape, mode, stream), dtype).reshape(shape)


@pytest.fixture(scope="module")
def zfpy() -> Iterator[Zfpy]:
    oracle = Zfpy()
    yield oracle
    oracle.process.kill()
    oracle.process.wait()
    for pipe in (oracle.process.stdin, oracle.process.stdout):
        assert pipe
        pipe.close()


def plain(x: np.ndarray) -> np.ndarray:
    """The frames without what zfp leaves to C's undefined conversions: NaN, Inf, blocks below 2**-97."""
    if x.dtype.kind == "i":
        return x
    size = np.abs(np.where(np.isfinite(x), x, 1))
    good = [np.isfinite(f).all() and (s[s > 0].min(initial=1) > 1e-28) for f, s in zip(x, size, strict=True)]
    return x[np.array(good)]


def possible(dtype: str, rank: int, mode: dict[str, Any]) -> bool:
    header_bits = 12 if dtype == "float64" else 9
    return not (dtype[0] == "i" and "tolerance" in mode) and mode.get("rate", 64) * 4**rank >= header_bits


# ----------------------------------------------------------------------------------------------------------------- zfpy
@pytest.mark.parametrize("dtype", ("float32", "float64", "int32", "int64"))
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_bytes_are_zfpys_and_decode_to_the_same(zfpy: Zfpy, shape: tuple[int, ...], dtype: str) -> None:
    x = plain(frames_of(np.random.default_rng(len(shape)), shape, dtype))
    for mode in [m for m in MODES if possible(dtype, len(shape), m)]:
        out = Zfp(**mode, side=True)(x)
        bare = ZfpDecode(shape, dtype, **mode)(out.payload, out.size)
        by_side = ZfpDecode(shape, dtype, **mode)(out.payload, out.size, block_bits=out.block_bits)
        for f, frame in enumerate(x):
            stream = out.payload[f, : out.size[f]].tobytes()
            assert stream == zfpy.encode(frame, mode), (mode, f)
            want = zfpy.decode(stream, dtype, shape, mode)
            assert same(bare.energy[f], want) and same(by_side.energy[f], want) and same(decode_zfp(stream, shape, dtype, **mode), want), (mode, f)
            if "tolerance" in mode:
                worst = float(np.abs(want.astype(np.longdouble) - frame).max())
                assert worst <= out.max_error[f] <= np.float32(worst * (1 + 3e-7)) + np.finfo(np.float32).smallest_subnormal, (mode, f)
                assert bool(out.frame_status[f]) == (float(out.max_error[f]) > mode["tolerance"])
        assert not bare.frame_status.any() and not by_side.frame_status.any()
        assert (-(-out.block_bits.astype(int).sum(axis=1) // 64) * 8 == out.size).all() and len(x) > 4


def test_every_backend_decodes_zfpys(target: Any, zfpy: Zfpy) -> None:
    for shape, dtype, mode in (((21, 70), "float32", MODES[0]), ((5, 6, 9), "float64", MODES[2]), ((133,), "int32", MODES[4])):
        x = plain(frames_of(np.random.default_rng(5), shape, dtype))
        streams = [zfpy.encode(f, mode) for f in x]
        payload, size = rows_of(streams)
        out = ZfpDecode(shape, dtype, **mode)(target.put(payload), target.put(size), backend=target.backend.name)
        assert same(target.get(out.energy), np.stack([zfpy.decode(s, dtype, shape, mode) for s in streams]))
        assert not target.get(out.frame_status).any()


# ----------------------------------------------------------------------------------------------------------------- HDF5
def test_h5py_with_hdf5plugin_reads_ours_and_we_read_theirs(zfpy: Zfpy, tmp_path: Path) -> None:
    with h5py.File(tmp_path / "chunks.h5", "w") as f:
        for shape in ((133,), (21, 70), (5, 6, 9)):
            for dtype in ("float32", "float64", "int32", "int64"):
                x = plain(frames_of(np.random.default_rng(3), shape, dtype))
                for mode in [m for m in MODES if possible(dtype, len(shape), m)]:
                    op = Zfp(**mode, shape=shape, dtype=dtype)
                    out = op(x)
                    d = f.create_dataset(f"{shape}{dtype}{mode}", x.shape, dtype, chunks=(1, *shape), **op.hdf5_options())
                    assert tuple(d.id.get_create_plist().get_filter(0)[2]) == op.hdf5_values(shape, dtype), mode
                    for i, (p, s) in enumerate(zip(out.payload, out.size, strict=True)):
                        d.id.write_direct_chunk((i, *[0] * len(shape)), p[:s].tobytes())
                    decoded = op.inverse()(out.payload, out.size).energy
                    assert same(d[...], decoded)
                    theirs = f.create_dataset(f"their {shape}{dtype}{mode}", data=x, chunks=(1, *shape), **hdf5plugin.Zfp(
                        **{{"tolerance": "accuracy"}.get(k, k): v for k, v in mode.items()}))
                    for i in range(len(x)):
                        chunk = theirs.id.read_direct_chunk((i, *[0] * len(shape)))[1]
                        assert same(decode_zfp(chunk, shape, dtype, **mode), decoded[i])


def test_our_header_is_zfpys(zfpy: Zfpy) -> None:
    for shape, dtype in (((12,), "float64"), ((512, 1024), "float32"), ((4, 5, 6), "int32"), ((9, 8), "int64")):
        for mode in [m for m in (*MODES, {"rate": 64.0 if dtype[-2:] == "64" else 32.0}) if possible(dtype, len(shape), m)]:
            layout = frame_layout("test", shape, np.dtype(dtype), mode.get("tolerance"), mode.get("rate"), mode.get("precision"))
            number, bits = header(layout, dtype)
            stream = zfpy.ask("header", dtype, shape, mode, np.zeros(shape, dtype).tobytes())
            assert int.from_bytes(stream, "little") & ((1 << bits) - 1) == number, (shape, dtype, mode)
    with pytest.raises(ValueError, match="leaves out axes of one pixel"):
        Zfp(rate=8).hdf5_values((1, 9), "float32")


# ----------------------------------------------------------------------------------------------------------------- bound
def test_what_zfp_does_not_hold_is_said(target: Any) -> None:
    """The sets of 1b: NaN, Inf, spikes and a large range are marked, with the error that was made; the rest holds."""
    rng = np.random.default_rng(8)
    noise = rng.normal(0, 1, (40, 50)).astype(np.float32)
    x = np.stack([noise] * 6)
    x[1, 3, 4], x[2, 5, 6], x[3, 7, 8], x[5] = np.nan, -np.inf, 3e38, noise * np.float32(1e5)
    op = Zfp(tolerance=1e-3)
    out = op(target.put(x), backend=target.backend.name)
    status, error = target.get(out.frame_status), target.get(out.max_error)
    assert list(status) == [0, *[int(Frame.NOT_HELD)] * 3, 0, int(Frame.NOT_HELD)]
    assert error[0] <= 1e-3 and error[3] > 1 and error[5] > 1e-3
    back = target.get(ZfpDecode((40, 50), "float32", tolerance=1e-3)(out.payload, out.size, backend=target.backend.name).energy)
    assert back[1, 3, 4] == pytest.approx(0, abs=1e-3) and np.isfinite(back).all()
    strict = Quantize(abs=1e-3, code="int32")(x[1:2], backend="numpy")       # the strict one: NaN is exact, in its list
    assert strict.outlier_count[0] == 1 and strict.max_error[0] <= 1e-3
    whole = np.array([[2**30 - 1, -(2**30)], [2**30, 0]], np.int32)
    assert list(target.get(Zfp(precision=32)(target.put(whole), backend=target.backend.name).frame_status)) == [0, Frame.NOT_HELD]


@pytest.mark.parametrize(("dtype", "tolerance"), (("float32", 1e-3), ("float32", 0.25), ("float64", 1e-3), ("float64", 1e9)))
def test_up_to_largest_held_the_tolerance_holds(dtype: str, tolerance: float) -> None:
    op, rng = Zfp(tolerance=tolerance), np.random.default_rng(4)
    for shape in ((4000,), (64, 64), (16, 16, 16)):
        most = op.largest_held(dtype, len(shape))
        x = (rng.uniform(-most, most, (4, *shape)) * (rng.random((4, *shape)) ** np.arange(4).reshape(-1, *[1] * len(shape)))).astype(dtype)
        out = op(x)
        assert not out.frame_status.any() and out.max_error.max() <= tolerance
        assert op((x * 4096).astype(dtype)).frame_status.any()


def test_blocks_whose_scale_overflows_in_zfp_are_coded_as_the_format_means_them(zfpy: Zfpy) -> None:
    x = np.random.default_rng(2).normal(0, 1e-33, (20, 20)).astype(np.float32)
    out = Zfp(tolerance=1e-35)(x[None])
    decoded = zfpy.decode(out.payload[0, : out.size[0]].tobytes(), "float32", x.shape, {"tolerance": 1e-35})
    assert np.abs(decoded - x).max() <= out.max_error[0] <= 1e-35 and not out.frame_status[0]
    theirs = zfpy.decode(zfpy.encode(x, {"tolerance": 1e-35}), "float32", x.shape, {"tolerance": 1e-35})
    assert np.abs(theirs - x).max() > 1e-34


def test_what_cannot_be_is_refused_before_anything_is_encoded() -> None:
    x = np.zeros((1, 8, 8), np.float32)
    for wrong, words in (({}, "give one of"), ({"rate": 8, "precision": 3}, "give one of"), ({"tolerance": 0.0}, "tolerance must be"),
                         ({"tolerance": math.nan}, "tolerance must be"), ({"precision": 65}, "precision must be"), ({"rate": 65}, "rate must be")):
        with pytest.raises(ValueError, match=f"compress.zfp: {words}"):
            Zfp(**wrong)
    for op, frames, error, words in (
        (Zfp(tolerance=0.1), x.astype(np.int32), ValueError, "no tolerance of integers"), (Zfp(tolerance=1e-40), x, ValueError, "zfp cannot hold it"),
        (Zfp(rate=33), x, ValueError, "at most the 32 bits"), (Zfp(rate=0.5), x, ValueError, "takes 9 at least"),
        (Zfp(rate=8), x.astype(np.float16), TypeError, "got float16"), (Zfp(rate=8), x[None, None], ValueError, "1 to 3 axes"),
        (Zfp(rate=8), x[:, :0], ValueError, "1 to 3 axes and pixels"), (Zfp(rate=8), np.zeros(5, np.float32), ValueError, "must be"),
    ):
        with pytest.raises(error, match=f"compress.zfp: .*{words}"):
            op(frames)
    with pytest.raises(TypeError, match="inverse only if it knows its frames"):
        Zfp(rate=8).inverse()
    assert Zfp(rate=8, shape=(8, 8), dtype="float32").inverse().inverse().config() == Zfp(rate=8, shape=(8, 8), dtype="float32").config()


# ------------------------------------------------------------------------------------------------------- mutated streams
FUZZED = (("float32", (9, 14), {"tolerance": 0.01}), ("float32", (37,), {"rate": 11.0}), ("float64", (5, 6, 3), {"precision": 21}),
          ("int32", (6, 9), {"precision": 32}), ("int64", (5, 5, 5), {"rate": 3.3}))


def mutant(rng: np.random.Generator, right: list[bytes]) -> bytes:
    """One stream with one to four lies in it."""
    stream = bytearray(right[rng.integers(len(right))])
    for _ in range(rng.integers(1, 5)):
        at = int(rng.integers(len(stream)))
        match rng.integers(6):
            case 0:
                stream[at] ^= 1 << int(rng.integers(8))
            case 1:
                stream[at] = (0, 255, int(rng.integers(256)))[rng.integers(3)]
            case 2:
                del stream[at:]
            case 3:
                stream += bytes(int(rng.integers(1, 9)))
            case 4:
                stream[at:at] = rng.bytes(int(rng.integers(1, 9)))
            case _:
                stream[at : at + 8] = rng.bytes(8)
        if not stream:
            break
    return bytes(stream)


@pytest.mark.parametrize(("dtype", "shape", "mode"), FUZZED, ids=str)
def test_mutated_streams_on_every_backend(target: Any, dtype: str, shape: tuple[int, ...], mode: dict[str, Any]) -> None:
    """Frame by frame what numpy, the specification, makes of them; CORRUPT exactly where decode_zfp raises."""
    rng, out = np.random.default_rng(99), Zfp(**mode, side=True)(frames_of(np.random.default_rng(7), shape, dtype))
    right = [p[:s].tobytes() for p, s in zip(out.payload, out.size, strict=True)]
    streams, op = [*right, *(mutant(rng, right) for _ in range(120))], ZfpDecode(shape, dtype, **mode)
    payload, size = rows_of(streams)
    bits = np.resize(out.block_bits, (len(streams), out.block_bits.shape[1]))
    for extra in ({}, {"block_bits": bits}):
        want = op(payload, size, **extra, backend="numpy")
        got = op(target.put(payload), target.put(size), **{k: target.put(v) for k, v in extra.items()}, backend=target.backend.name)
        assert same(target.get(got.energy), want.energy) and same(target.get(got.frame_status), want.frame_status)
        assert not want.frame_status[: len(right)].any()
    assert [bool(s) for s in op(payload, size).frame_status] == [raises(s, shape, dtype, mode) for s in streams]


def raises(stream: bytes, shape: tuple[int, ...], dtype: str, mode: dict[str, Any]) -> bool:
    try:
        decode_zfp(stream, shape, dtype, **mode)
    except DecodeError:
        return True
    return False


def test_decode_zfp_says_what_and_where() -> None:
    x = np.arange(72, dtype=np.float32).reshape(6, 12)
    out = Zfp(tolerance=0.01, side=True)(x[None])
    stream = out.payload[0, : out.size[0]].tobytes()
    assert np.abs(decode_zfp(stream, (6, 12), "float32", tolerance=0.01) - x).max() <= 0.01
    last = int(out.block_bits[0, :-1].sum())
    for wrong, words in ((b"", r"beyond the stream \(block 0, bit 0"), (stream[: (last + 7) // 8], rf"beyond the stream \(block 5, bit {last} of"),
                         (stream + bytes(8), r"less than 64 bits, all 0 \(block 6"), (stream[:-1] + b"\x80", "less than 64 bits, all 0")):
        with pytest.raises(DecodeError, match=f"zfp stream of {len(wrong)} bytes for float32 .6, 12.: .*{words}"):
            decode_zfp(wrong, (6, 12), "float32", tolerance=0.01)


# --------------------------------------------------------------------------------------------------------- golden bytes
def test_golden_streams() -> None:
    """Streams that zfpy 1.0.1 wrote, and what it made of them; to be made and decoded for ever."""
    golden = json.loads((GOLDEN / "zfp.json").read_text())
    for entry in golden:
        shape, dtype, mode = tuple(entry["shape"]), entry["dtype"], entry["mode"]
        x = (np.arange(math.prod(shape)) ** 2 % 251 * 7 - 600).astype(dtype).reshape(shape)
        payload, size, *_ = Zfp(**mode)(x[None])
        assert payload[0, : size[0]].tobytes().hex() == entry["stream"]
        assert decode_zfp(bytes.fromhex(entry["stream"]), shape, dtype, **mode).tobytes().hex() == entry["decoded"]
