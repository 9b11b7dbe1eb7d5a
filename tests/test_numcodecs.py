"""Codecs of numcodecs and Zarr: what other codecs read, both versions of Zarr, golden bytes, wrong buffers, damaged chunks. Over 200 lines: both
libraries see the same codecs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

numcodecs = pytest.importorskip("numcodecs", reason="numcodecs is not installed")
zarr = pytest.importorskip("zarr", minversion="3.0", reason="zarr 3 is not installed")

from gpuredux import DecodeError  # noqa: E402
from gpuredux.compress import numcodecs as ours  # noqa: E402
from gpuredux.compress import zarr as ours_v3  # noqa: E402
from gpuredux.compress.numcodecs_chunk import blocks_of, plane_of, plane_text  # noqa: E402
from gpuredux.compress.numcodecs_codes import CodesCodec  # noqa: E402

ROOT = Path(__file__).parents[1]
SHAPE = (2, 37, 53)
LOSSLESS = [c for c in ours.CODECS if c not in (ours.ZfpCodec, ours.QuantizeCodec, ours.WaveletCodec)]
FIELDS: dict[str, list[dict[str, Any]]] = {
    "gpuredux_bitshuffle": [{}, {"block": 64}], "gpuredux_auto": [{}, {"profile": "fast"}], "gpuredux_zfp": [{"tolerance": 0.01}, {"rate": 12.0}],
    "gpuredux_quantize": [{"abs": 0.01}, {"rel": 0.01, "code": "int32", "codec": {"id": "zstd", "level": 1}}],
    "gpuredux_wavelet": [{"abs": 0.01}], "gpuredux_precondition": [{"code": "uint8", "predictor": "previous"}, {"predictor": "left_up"}],
}
EACH = [(c, f) for c in ours.CODECS for f in FIELDS.get(c.codec_id, [{}])]
ours.register()
ours_v3.register()


def counts(shape: tuple[int, ...] = SHAPE, dtype: str = "uint16") -> np.ndarray:
    """Numbers that depend on no random generator: mostly 0, some up to 15."""
    v = np.arange(int(np.prod(shape)), dtype=np.uint32) * np.uint32(2654435761) >> np.uint32(28)
    return np.where(v > 12, v, 0).astype(dtype).reshape(shape)


def values_of(codec: type[ours.ChunkCodec], shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    """Of the codec's kind; whole eighths, so that a float32 is a float32 everywhere."""
    return counts(shape) if codec in LOSSLESS else (counts(shape, "float32") - 3) / np.float32(8)


def made(codec: type[ours.ChunkCodec], fields: dict[str, Any], shape: tuple[int, ...] = SHAPE) -> ours.ChunkCodec:
    return codec(values_of(codec, shape).dtype, shape, **fields)


def close(codec: ours.ChunkCodec, got: Any, want: np.ndarray) -> bool:
    x = np.asarray(got).reshape(-1).view(want.dtype).reshape(want.shape)
    allowed = codec._fields.get("abs", codec._fields.get("tolerance", 0.05 if "rate" in codec._fields else 0))
    return bool(np.all(np.abs(x.astype(float) - want) <= allowed + codec._fields.get("rel", 0) * np.abs(want)))


@pytest.mark.parametrize(("codec", "fields"), EACH, ids=str)
def test_round_trip_of_buffers_and_configuration(codec: type[ours.ChunkCodec], fields: dict[str, Any]) -> None:
    one, x = made(codec, fields), values_of(codec)
    again = numcodecs.get_codec(json.loads(json.dumps(one.get_config())))
    assert again == one and type(again) is codec and again != made(codec, fields, (1, *SHAPE)) and repr(one).startswith(codec.__name__)
    chunk = one.encode(x)
    for buffer in (x.reshape(-1), x.tobytes(), bytearray(x.tobytes()), memoryview(x), x.view(np.uint8).reshape(-1)):
        assert again.encode(buffer) == chunk
    for buffer in (chunk, bytearray(chunk), memoryview(chunk), np.frombuffer(chunk, np.uint8)):
        got = one.decode(buffer)
        assert got.dtype == x.dtype and got.shape == (x.size,) and close(one, got, x)
    for out in (np.empty_like(x), np.empty(x.size, x.dtype), bytearray(x.nbytes)):
        assert one.decode(chunk, out) is out and close(one, np.frombuffer(out, x.dtype), x)


def test_numcodecs_own_codecs_read_ours_and_we_read_theirs() -> None:
    x = counts()
    shuffle = numcodecs.Shuffle(2)
    pairs = (
        (ours.ShuffleZstdCodec, lambda b: shuffle.decode(numcodecs.Zstd().decode(b)), numcodecs.Zstd(3).encode(shuffle.encode(x))),
        (ours.ShuffleDeflateCodec, lambda b: shuffle.decode(numcodecs.Zlib().decode(b)), numcodecs.Zlib(6).encode(shuffle.encode(x))),
        (ours.BloscCodec, lambda b: numcodecs.Blosc().decode(b), numcodecs.Blosc("lz4", 5, numcodecs.Blosc.SHUFFLE).encode(x)),
    )
    for codec, theirs, chunk in pairs:
        one = made(codec, {})
        assert bytes(theirs(one.encode(x))) == x.tobytes() and one.decode(chunk).tobytes() == x.tobytes()


@pytest.mark.parametrize(("codec", "fields"), EACH, ids=str)
def test_zarr_of_both_versions(tmp_path: Path, codec: type[ours.ChunkCodec], fields: dict[str, Any]) -> None:
    """Several chunks, the last one cut off by the array's end; both orders; in shards; read by what the metadata alone say."""
    x, chunks = values_of(codec, (5, *SHAPE[1:])), (2, *SHAPE[1:])
    one, v3 = made(codec, fields), next(c for c in ours_v3.CODECS if c.codec is codec)(**fields)
    for order in ("C", "F"):
        a = zarr.create_array(tmp_path / f"v2{order}", shape=x.shape, chunks=chunks, dtype=x.dtype, zarr_format=2, compressors=one, order=order)
        a[:] = x
        assert close(one, np.ascontiguousarray(zarr.open_array(tmp_path / f"v2{order}")[:]), x)
    for name, shards in (("v3", None), ("shards", (6, *SHAPE[1:]))):
        a = zarr.create_array(tmp_path / name, shape=x.shape, chunks=chunks, shards=shards, dtype=x.dtype, serializer=v3, compressors=None)
        a[:] = x
        again = zarr.open_array(tmp_path / name)
        assert close(one, again[:], x) and close(one, again[3], x[3])
    metadata = json.loads((tmp_path / "v3" / "zarr.json").read_text())
    assert metadata["codecs"] == [{"name": codec.codec_id, "configuration": fields}]
    assert (tmp_path / "v3" / "c" / "0" / "0" / "0").read_bytes() == one.encode(x[:2]) == (tmp_path / "v2C" / "0.0.0").read_bytes()


def test_shuffle_zstd_in_zarr_is_read_without_this_package(tmp_path: Path) -> None:
    """By plain numcodecs: the array's metadata are told to name its Shuffle and Zstd."""
    x = counts((4, 37, 53))
    a = zarr.create_array(tmp_path / "a", shape=x.shape, chunks=SHAPE, dtype=x.dtype, zarr_format=2, compressors=made(ours.ShuffleZstdCodec, {}))
    a[:] = x
    said = json.loads((tmp_path / "a" / ".zarray").read_text())
    said |= {"filters": [{"id": "shuffle", "elementsize": 2}], "compressor": {"id": "zstd", "level": 0}}
    (tmp_path / "a" / ".zarray").write_text(json.dumps(said))
    assert np.array_equal(zarr.open_array(tmp_path / "a")[:], x)


def test_golden_bytes() -> None:
    """Of what only this package writes; chunks of filters have their own."""
    golden = json.loads((ROOT / "tests" / "golden" / "numcodecs.json").read_text())
    assert {entry["config"]["id"] for entry in golden} == {"gpuredux_auto", *(c.codec_id for c in ours.CODECS if issubclass(c, CodesCodec))}
    for entry in golden:
        codec = numcodecs.get_codec(entry["config"])
        x, chunk = values_of(type(codec), (5, 9)), bytes.fromhex(entry["bytes"])
        assert codec.encode(x) == chunk and close(codec, codec.decode(chunk), x)
        if "earlier" in entry:      # of an earlier encoder
            assert close(codec, codec.decode(bytes.fromhex(entry["earlier"])), x)


def test_quantised_chunks_hold_outliers_and_their_bound() -> None:
    x = np.linspace(-3, 3, 5000, dtype=np.float32).reshape(50, 100)
    x[::3] = np.nan
    x[1, :7] = (np.inf, -np.inf, 1e30, -1e30, 3e38, 0, -0.0)
    one = ours.QuantizeCodec("float32", x.shape, abs=0.01)
    y = one.decode(one.encode(x)).reshape(x.shape)
    coded = np.abs(x) < 100
    assert np.array_equal(y[~coded].view(np.uint32), x[~coded].view(np.uint32)) and (~coded).sum() > 1024
    assert np.abs(y[coded].astype(float) - x[coded]).max() <= 0.01
    with pytest.raises(ValueError, match="cannot be held"):
        ours.ZfpCodec("float32", x.shape, tolerance=0.01).encode(x)


@pytest.mark.parametrize(("codec", "fields"), EACH, ids=str)
def test_wrong_buffers_and_damaged_chunks(codec: type[ours.ChunkCodec], fields: dict[str, Any]) -> None:
    one, x = made(codec, fields), values_of(codec)
    chunk = one.encode(x)
    for wrong, error, words in (
        (x.astype(np.int64), TypeError, "must hold"), (x[:1], ValueError, "must be"), (x.tobytes() + b"1", ValueError, "must be"),
        (x.transpose(0, 2, 1).copy(), ValueError, "must be"), (x[:, ::2], ValueError, "contiguous"), (x.astype(object), TypeError, "object"),
    ):
        with pytest.raises(error, match=words):
            one.encode(wrong)
    read_only = np.empty_like(x)
    read_only.setflags(write=False)
    for out in (np.empty(x.size - 1, x.dtype), read_only, bytes(x.nbytes)):
        with pytest.raises(ValueError, match="out must be"):
            one.decode(chunk, out)
    for damaged in (b"", chunk[:3], chunk[: len(chunk) // 2], chunk + b"12345678"):
        with pytest.raises(DecodeError):
            one.decode(damaged)


def test_misuse_is_refused(tmp_path: Path) -> None:
    for wrong, error in (
        (lambda: ours.BitshuffleLZ4Codec(">u2", (3, 5)), TypeError), (lambda: ours.BitshuffleLZ4Codec("complex128", (3, 5)), TypeError),
        (lambda: ours.BitshuffleLZ4Codec("uint16", (3, 0)), ValueError), (lambda: ours.BitshuffleLZ4Codec("uint16", (3, 5), block=8), TypeError),
        (lambda: ours.QuantizeCodec("float64", (3, 5), abs=1), TypeError), (lambda: ours.QuantizeCodec("float32", (3, 5)), ValueError),
        (lambda: ours.QuantizeCodec("float32", (3, 5), abs=1, codec={"id": "none"}), ValueError), (lambda: ours.ZfpCodec("float32", (3, 5)), ValueError),
        (lambda: zarr.create_array(tmp_path, shape=(3, 5), chunks=(3, 5), dtype="uint16", serializer=ours_v3.Zfp(rate=8.0), compressors=None), TypeError),
        (lambda: ours.WaveletCodec("uint16", (3, 5), abs=1), TypeError), (lambda: ours.WaveletCodec("float32", (5,), abs=1), ValueError),
        (lambda: ours.ReversibleWaveletCodec("float32", (3, 5)), TypeError), (lambda: ours.QuantizeCountsCodec("float64", (3, 5)), TypeError),
        (lambda: ours.PreconditionCodec("uint16", (5,)), ValueError), (lambda: ours.PreconditionCodec("float32", (3, 5)), TypeError),
        (lambda: ours.PreconditionCodec("uint16", (3, 5), gaps="x", gap_values=[1]), ValueError),
        (lambda: ours.PreconditionCodec("uint16", (3, 5), gaps=np.zeros(4, bool), gap_values=[1]), ValueError),
        (lambda: ours.AutoCodec("uint16", 5), TypeError), (lambda: ours.AutoCodec("zzz", (3, 5)), TypeError), (lambda: ours.AutoCodec(), TypeError),
        (lambda: ours.AutoCodec("uint16", (3, 5), profil="fast"), TypeError), (lambda: ours_v3.Auto(profil="fast"), TypeError),
        (lambda: ours.WaveletCodec("float32", (3, 5), abs=1, codec="zstd"), TypeError),
        (lambda: ours.QuantizeCodec("float32", (3, 5), abs=1, code="int32", codec={"id": "gpuredux_zfp", "rate": 8.0}), ValueError),
    ):
        with pytest.raises(error):
            wrong()
    head = ours.QuantizeCodec("float32", (3, 5), abs=1).encode(np.full((3, 5), np.nan, np.float32))
    for damaged in (b"GRQ2" + head[4:], head[:4] + b"\x0e" + head[5:], head[:-64] + bytes(4) + head[-60:]):
        with pytest.raises(DecodeError, match="quantised chunk"):
            ours.QuantizeCodec("float32", (3, 5), abs=1).decode(damaged)


def test_codes_that_a_codec_loses_are_not_written() -> None:
    one = ours.QuantizeCodec("float32", (3, 5), abs=0.01, code="int32", codec={"id": "fixedscaleoffset", "offset": 0, "scale": 0.01, "dtype": "i4"})
    with pytest.raises(ValueError, match="does not give the codes back"):
        one.encode(values_of(ours.QuantizeCodec, (3, 5)))


def test_gaps_pedestals_and_exceptions(tmp_path: Path) -> None:
    """Planes travel in the configuration, once; values that no code fits come back, of every frame of the chunk."""
    x, gaps = counts((5, 37, 53), "int32"), np.zeros((37, 53), np.uint8)
    gaps[3:5], gaps[:, 7] = 1, 2
    x[:, gaps == 1], x[:, gaps == 2] = -1, -2
    x[1, 3, 4], x[2, 9, 9], x[4, 0] = 5, 70000, -70000
    x[3] = np.arange(37 * 53, dtype=np.int32).reshape(37, 53) + 300        # more exceptions than the list holds at first
    fields: dict[str, Any] = {"code": "uint8", "gaps": gaps, "gap_values": (-1, -2)}
    one = ours.PreconditionCodec("int32", x.shape, **fields)
    again = numcodecs.get_codec(json.loads(json.dumps(one.get_config())))
    assert again == one and np.array_equal(again.decode(one.encode(x)).reshape(x.shape), x)
    assert isinstance(one.get_config()["gaps"], str) and np.array_equal(plane_of(one.get_config()["gaps"], (37, 53), "gaps"), gaps)
    v3 = ours_v3.Precondition(**fields)
    a = zarr.create_array(tmp_path / "a", shape=x.shape, chunks=x.shape, dtype=x.dtype, serializer=v3, compressors=None, fill_value=-1)
    a[:] = x
    assert np.array_equal(zarr.open_array(tmp_path / "a")[:], x) and (tmp_path / "a" / "c" / "0" / "0" / "0").read_bytes() == one.encode(x)
    pedestal = ours.PreconditionCodec("int32", x.shape, predictor="pedestal", pedestal=x[0])
    assert np.array_equal(pedestal.decode(pedestal.encode(x)).reshape(x.shape), x)
    with pytest.raises(ValueError, match="a configuration holds"):
        plane_of(plane_text(np.zeros(1 << 16, np.uint8)), (9,), "gaps")


@pytest.mark.parametrize("dtype", ["uint8", "int32", "float32"])
def test_counts_come_back_within_their_step(dtype: str) -> None:
    """Whole ones as whole ones, the largest error of them in the chunk's head; what is out of range exactly."""
    x = (np.arange(4 * 33 * 35) % 256).astype(dtype).reshape(4, 33, 35)
    if dtype != "uint8":
        x[2, :5, 9] = (-7, 65536, 2**24, -(2**24), 66000)
    one = ours.QuantizeCountsCodec(dtype, x.shape)
    chunk = one.encode(x)
    y = one.decode(chunk).reshape(x.shape)
    error, listed = np.abs(y.astype(float) - x), (x < 0) | (x > 65535.0)
    assert y.dtype == x.dtype and not error[listed].any() and not error[(x < 20) & ~listed].any()
    assert error.max() == np.frombuffer(chunk, np.float32, 1, 8)[0] and 0 < error.max() <= 16


def test_rows_of_a_chunk_are_decoded_alone(tmp_path: Path) -> None:
    """By every kind of index; damage of blocks that are not asked for is not looked at."""
    x = counts((7, 37, 53))
    for v3 in (ours_v3.BloscBitshuffleLZ4, ours_v3.BitshuffleLZ4, ours_v3.BitshuffleZstd):
        where = tmp_path / v3.__name__
        a = zarr.create_array(where, shape=x.shape, chunks=(4, *SHAPE[1:]), dtype=x.dtype, serializer=v3(), compressors=None)
        a[:] = x
        for index in (1, -1, slice(2, 3), slice(1, 7, 2), slice(0, 0), (3, slice(5, 7)), (slice(3, 5), 4, slice(None, None, 3)), ...):
            assert np.array_equal(a[index], x[index])
        assert np.array_equal(a.oindex[[0, 2, 6], :, [1, 3]], x[np.ix_([0, 2, 6], range(37), [1, 3])])
        assert np.array_equal(a.vindex[[0, 5, 2], [3, 3, 36], [9, 8, 52]], x[[0, 5, 2], [3, 3, 36], [9, 8, 52]])
        assert np.array_equal(a.get_mask_selection(x > 14), x[x > 14])
    file = tmp_path / "BitshuffleLZ4" / "c" / "0" / "0" / "0"
    chunk = bytearray(file.read_bytes())
    second = 16 + int.from_bytes(chunk[12:16], "big") + 4
    chunk[second : second + 8] = bytes(8)
    file.write_bytes(chunk)
    a = zarr.open_array(tmp_path / "BitshuffleLZ4")
    assert np.array_equal(a[1], x[1])
    for rows in (slice(0, 4), 3):
        with pytest.raises(DecodeError):
            a[rows]


@pytest.mark.parametrize("size", [16, 64, 99, 200])
def test_blocks_of_anybodys_chunk(size: int) -> None:
    bitshuffle = pytest.importorskip("bitshuffle", reason="bitshuffle is not installed")
    x = counts((size,))
    chunk = (2 * size).to_bytes(8, "big") + (32).to_bytes(4, "big") + bitshuffle.compress_lz4(x, 16).tobytes()
    for first in range(size):
        for last in range(first + 1, size + 1):
            part, begin, end = blocks_of(chunk, 2 * size, 2, 2 * first, 2 * last) or (b"", 0, 0)
            assert begin <= 2 * first and 2 * last <= end
            if last - first in (1, 7, size):
                assert np.array_equal(ours.decode_chunk(part, ((end - begin) // 2,), "uint16"), x[begin // 2 : end // 2])
    assert blocks_of(chunk[:-1], 2 * size, 2, 0, 2 * size) is None and blocks_of(chunk, 2 * size + 2, 2, 0, 2) is None and blocks_of(b"", 2, 2, 0, 2) is None


@pytest.mark.parametrize("inner", ["gpuredux_shuffle_zstd", "zlib", "zstd", "blosc", "bz2", "lzma"])
def test_damage_of_the_codes_is_one_error(inner: str) -> None:
    """Codecs of numcodecs raise what they like."""
    one = ours.QuantizeCodec("float32", (3, 5), abs=1, codec={"id": inner})
    chunk = one.encode(np.zeros((3, 5), np.float32))
    with pytest.raises(DecodeError, match=r"^quantised chunk for \(3, 5\): its codes do not decode"):
        one.decode(chunk[:16] + bytes(len(chunk) - 16))


def test_zfp_chunks_are_whole_words() -> None:
    one = ours.ZfpCodec("float32", (3, 5), tolerance=0.5)
    chunk = one.encode(np.zeros((3, 5), np.float32))
    assert chunk == bytes(8)
    for damaged in (b"", chunk[:3], chunk[:5], chunk + b"\0", chunk + bytes(8)):
        with pytest.raises(DecodeError):
            one.decode(damaged)


def test_entry_points_name_every_codec() -> None:
    points = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]
    assert points["numcodecs.codecs"] == {c.codec_id: f"gpuredux.compress.numcodecs:{c.__name__}" for c in ours.CODECS}
    assert points["zarr.codecs"] == {c.codec.codec_id: f"gpuredux.compress.zarr:{c.__name__}" for c in ours_v3.CODECS}


def test_neither_is_imported_unasked() -> None:
    code = "import sys, gpuredux; sys.exit(bool({'numcodecs', 'zarr'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="os.fork is missing")
def test_child_of_a_process_that_encodes() -> None:
    """fork() while another thread is in a codec: the child's codec does not wait for that thread, which it does not have."""
    codec, frames, ended = made(ours.ShuffleZstdCodec, {}), counts(), threading.Event()
    expected = codec.encode(frames)

    def encode() -> None:
        while not ended.is_set():
            codec.encode(frames)

    thread = threading.Thread(target=encode)
    thread.start()
    try:
        for _ in range(10):
            child = os.fork()
            if child == 0:
                signal.alarm(20)
                os._exit(codec.encode(frames) != expected)
            assert os.waitpid(child, 0)[1] == 0
    finally:
        ended.set()
        thread.join()


def test_dtype_must_be_given() -> None:
    """NumPy takes None for float64."""
    with pytest.raises(TypeError, match=r"^gpuredux_shuffle_zstd: the dtype must be given"):
        ours.ShuffleZstdCodec(None, SHAPE)
