"""compress.hdf5 by every codec: plain h5py in a process of its own, our own reader, codes, counts, zfp, and what is refused. Over 200 lines: the codecs share
what is written."""

import gc
import json
import subprocess
import sys
import weakref

import h5py
import hdf5plugin
import numpy as np
import pytest

from gpuredux import DecodeError
from gpuredux.compress import BitshuffleLZ4, Quantize, QuantizeCounts, ShuffleZstd, Zfp, hdf5
from gpuredux.compress.chunk_encoder import Filter
from gpuredux.compress.codecs import CODECS, Filters, UnknownFilters, decoding_of, described, encoder_of, zfp_mode
from gpuredux.status import Frame

SHAPE = (21, 34)
LOSSLESS = list(CODECS)
PLAIN = """
import json, sys
import h5py, hdf5plugin, numpy as np
for path, name, original in json.loads(sys.argv[1]):
    with h5py.File(path) as f:
        want = np.load(original)
        assert f[name].dtype == want.dtype and np.array_equal(f[name][:], want), (path, name)
assert "gpuredux" not in sys.modules
print("ok")
"""


def counts(dtype="u2", n=5, mean=2.0, shape=SHAPE):
    return np.random.default_rng(1).poisson(mean, (n, *shape)).astype(dtype)


def energies(n=4):
    """Noise of 3; frame 0 has what no code fits, frame 1 more of it than a list of 16."""
    x = np.random.default_rng(2).normal(0, 3, (n, *SHAPE)).astype(np.float32)
    x[0, 0, :4] = np.nan, np.inf, 1e30, -0.0
    x[1, 3] = 1e12
    return x


def same(a, b):
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


def test_every_codec_is_read_by_strangers_and_by_us(tmp_path):
    noise = np.frombuffer(np.random.default_rng(3).bytes(2 * 2 * 21 * 34), np.uint16).reshape(2, *SHAPE)
    table = []
    for i, (codec, (what, x, panels)) in enumerate((c, w) for c in LOSSLESS for w in (("sparse", counts(), False), ("noise", noise, False),
                                                                                     ("panels", counts("i4", 2, shape=(3, 9, 7)), True))):
        path = tmp_path / f"{i}.h5"
        hdf5.write(path, "d", x, codec, panels=panels)
        assert same(hdf5.read(path, "d"), x), (codec, what)
        report = hdf5.verify(path, "d")
        assert not report.problems and report.frames == len(x)
        np.save(tmp_path / f"{i}.npy", x)
        table.append((str(path), "d", str(tmp_path / f"{i}.npy")))
        with h5py.File(path) as f:
            assert codec in f["d"].attrs["codec"]
    result = subprocess.run([sys.executable, "-W", "error", "-c", PLAIN, json.dumps(table)], capture_output=True, text=True)
    assert result.stdout.strip() == "ok", result.stderr[-2000:]


@pytest.mark.parametrize("codec", LOSSLESS)
def test_codes_by_every_codec(tmp_path, codec):
    x, quantize = energies(), Quantize(abs=0.25, capacity=16)
    hdf5.write(tmp_path / "a.h5", "d", x, quantize, encoder=codec)
    hdf5.write(tmp_path / "b.h5", "d", x, quantize)
    got = hdf5.read(tmp_path / "a.h5", "d")
    assert same(got, hdf5.read(tmp_path / "b.h5", "d")) and same(got[1], x[1]) and np.abs(got[2:] - x[2:]).max() <= 0.25
    assert got[0, 0, :3].tobytes() == x[0, 0, :3].tobytes()
    report = hdf5.verify(tmp_path / "a.h5", "d")
    assert not report.problems and (report.outliers, report.lossless_frames) == (3, 1)


@pytest.mark.parametrize("dtype", ["u2", "i4", "f4"])
def test_counts_by_a_table(tmp_path, dtype):
    x, quantize = counts(dtype, 4, 300), QuantizeCounts(capacity=8, largest=1000)
    x[0, 0, 0], x[1] = 50_000, 30_000
    hdf5.write(tmp_path / "a.h5", "d", x, quantize, encoder="shuffle_zstd")
    got = hdf5.read(tmp_path / "a.h5", "d")
    bound = quantize.bound_on(x)
    assert got[0, 0, 0] == 50_000 and np.array_equal(got[1], x[1].astype(np.float32))
    inside = ~np.isnan(bound)
    assert (np.abs(got.astype(np.float64) - x)[inside] <= bound[inside]).all()
    with h5py.File(tmp_path / "a.h5") as f:     # as anybody reads it
        code, table, side = f["d"][:], f["d_side/decode_table"][:], f["d_side"]
        known = code < len(table)
        assert np.array_equal(table[code[known]], got[known]) and f["d"].attrs["gpuredux_layout"] == 3 and side["lossless"].dtype == x.dtype
        assert side["max_error"][:].tolist() == quantize(x).max_error.tolist()
        assert f["d"].attrs["step_sigma"] == 1
    assert not hdf5.verify(tmp_path / "a.h5", "d").problems


def test_damaged_tables_are_refused(tmp_path):
    path = tmp_path / "a.h5"
    for change, match in ((lambda f: f["d"].attrs.__setitem__("_FillValue", np.uint16(3)), "_FillValue do not belong to a decode_table"),
                          (lambda f: f["d_side"].__delitem__("decode_table"), "decode_table"),
                          (lambda f: f["d_side/decode_table"].__setitem__(3, np.nan), "finite"),
                          (lambda f: f["d"].attrs.__setitem__("gpuredux_layout", 2), "layout 2; this version knows 3")):
        hdf5.write(path, "d", counts(), QuantizeCounts(), overwrite=True)
        with h5py.File(path, "r+") as f:
            change(f)
        with pytest.raises(ValueError, match=match):
            hdf5.read(path, "d")


def test_zfp_says_where_its_bound_does_not_hold(tmp_path):
    x = energies()
    for zfp in (Zfp(tolerance=0.25), Zfp(rate=8.0), Zfp(precision=14)):
        hdf5.write(tmp_path / "a.h5", "d", x, zfp, overwrite=True)
        got = hdf5.read(tmp_path / "a.h5", "d")
        with h5py.File(tmp_path / "a.h5") as f:
            assert same(f["d"][:], got)     # the plugin's own decoder
            status, attrs = f["d_side/frame_status"][:], dict(f["d"].attrs)
            errors = f["d_side/max_error"][:] if zfp.tolerance else None
        assert status[0] & Frame.NOT_HELD and not status[2:].any()
        assert {k for k in attrs if k.startswith("zfp_")} == {f"zfp_{k}" for k in ("tolerance", "rate", "precision") if getattr(zfp, k)}
        if errors is not None:
            reached = np.abs(got[2:].astype(float) - x[2:]).max(axis=(1, 2))
            assert (reached <= errors[2:]).all() and (errors[2:] <= 0.25).all()
        assert not hdf5.verify(tmp_path / "a.h5", "d").problems
    hdf5.write(tmp_path / "b.h5", "d", x[2:, :20].reshape(-1, 2, 10, 34).copy(), Zfp(tolerance=0.25), panels=True)
    assert np.abs(hdf5.read(tmp_path / "b.h5", "d").reshape(-1, 20, 34) - x[2:, :20]).max() <= 0.25


def test_masks_go_in_and_come_back(tmp_path):
    x = counts()
    made = ShuffleZstd()(x)
    with hdf5.Writer(tmp_path / "a.h5", "d", SHAPE, "u2", encoder="shuffle_zstd") as writer:
        writer.append_encoded(made.payload[:2], made.size[:2])
        raw = np.frombuffer(x[2].tobytes(), np.uint8)[None]
        writer.append_encoded(raw, np.array([raw.size], np.uint32), filter_mask=np.array([3], np.uint32))
        shuffled = np.ascontiguousarray(x[3].reshape(-1, 1).view(np.uint8).T).reshape(1, -1)
        writer.append_encoded(shuffled, np.array([raw.size], np.uint32), filter_mask=np.array([2], np.uint32))
        for mask, error, match in ((np.array([4], np.uint32), ValueError, "0x4, and there are 2 filters"), (np.array([1]), TypeError, "must be uint32"),
                                   (np.zeros(2, np.uint32), ValueError, "1 rows")):
            with pytest.raises(error, match=match):
                writer.append_encoded(raw, np.array([raw.size], np.uint32), filter_mask=mask)
    assert same(hdf5.read(tmp_path / "a.h5", "d"), x[:4]) and not hdf5.verify(tmp_path / "a.h5", "d").problems
    with h5py.File(tmp_path / "a.h5") as f:
        assert same(f["d"][:], x[:4])


def test_what_is_refused(tmp_path):
    x = energies()
    for codec, more, match in ((Quantize(abs=1), {"encoder": Zfp(rate=8.0)}, "loses bits of codes"),
                               ("shuffle_zstd", {"encoder": "bitshuffle"}, "belongs to codes"),
                               (Quantize(abs=1), {"encoder": "zstd"}, "must be one of bitshuffle_lz4, "), (BitshuffleLZ4(SHAPE, "uint8"), {}, "uint8")):
        with pytest.raises(TypeError, match=match):
            hdf5.write(tmp_path / "a.h5", "d", x, codec, **more)
    assert not list(tmp_path.iterdir())
    with pytest.raises(TypeError, match="count_dtype must say"):
        hdf5.Writer(tmp_path / "a.h5", "d", SHAPE, QuantizeCounts())
    with pytest.raises(TypeError, match="count_dtype belongs to"):
        hdf5.Writer(tmp_path / "a.h5", "d", SHAPE, "u2", count_dtype="u2")
    with pytest.raises(ValueError, match="leaves out axes of one pixel"):
        hdf5.write(tmp_path / "a.h5", "d", np.zeros((2, 1, 5), np.float32), Zfp(rate=8.0))
    assert not list(tmp_path.iterdir())
    with pytest.raises(TypeError, match="got 7"):
        encoder_of(7)


def test_filters_that_are_not_known_are_named():
    shape, dtype = (4, 8), "uint16"
    for filters, mask, match in (((Filter(32026, (1,)),), 0, r"32026 \(blosc2, 1\)"), ((Filter(2, (4,)), Filter(1, (1,))), 0, r"2 \(shuffle, 4\) \+ 1"),
                                 ((Filter(32008, (0, 4, 2, 0, 9)),), 0, "32008"), ((Filter(1, ()), Filter(3, ())), 0, "fletcher32"),
                                 ((Filter(31999, ()),), 0, r"31999 \(unknown\)"), ((Filter(32015, ()), Filter(2, ())), 0, "zstd"),
                                 ((Filter(32013, (0x10105111, 1, 2, 3)),), 0, "32013|zfp|native")):
        with pytest.raises(ValueError, match=match):
            decoding_of(filters, mask, shape, dtype)
    assert described(()) == "none" and decoding_of((Filter(1, ()), Filter(3, ())), 3, shape, dtype).most == 1
    with pytest.raises(UnknownFilters, match="zfp's rate, precision or accuracy"):
        zfp_mode((0x10105111, 0, 0, 0xFF << 20), (4, 8), "float32")


def test_a_chunk_past_an_unknown_path_of_its_filters_is_named(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as f:
        d = f.create_dataset("d", (1, *SHAPE), "u2", chunks=(1, *SHAPE), shuffle=True, compression="gzip", fletcher32=True)
        d.id.write_direct_chunk((0, 0, 0), counts(n=1).tobytes(), 7)
    with pytest.raises(ValueError, match=r"'d' of .*fletcher32"):
        hdf5.read(tmp_path / "a.h5", "d", unchecked=True)
    hdf5.write(tmp_path / "b.h5", "d", counts(n=1), "shuffle_zstd")
    with h5py.File(tmp_path / "b.h5", "r+") as f:
        f["d"].id.write_direct_chunk((0, 0, 0), bytes(1000), 2)     # shuffled alone: of as many bytes as it had, HDF5 would keep the mask
    with pytest.raises(DecodeError, match=r"frame 0 of .*cannot be 1428 bytes compressed"):
        hdf5.read(tmp_path / "b.h5", "d")


@pytest.mark.parametrize("frame", [(1, 1), (1, 5)])
def test_frames_of_fewer_bytes_than_a_header(tmp_path, frame):
    """Bitshuffle's chunk without compression is as small as its frame."""
    x = np.arange(3 * frame[1], dtype=np.uint8).reshape(3, *frame)
    for codec in CODECS:
        hdf5.write(tmp_path / "a.h5", "d", x, codec, overwrite=True)
        assert np.array_equal(hdf5.read(tmp_path / "a.h5", "d"), x) and not hdf5.verify(tmp_path / "a.h5", "d").problems


def test_damaged_metadata_are_no_absence(tmp_path):
    """Wherever a bit of the file is wrong: DecodeError, or the right frames; never "there is no dataset", and never no CRCs."""
    x = np.random.default_rng(1).poisson(3, (3, 16, 24)).astype(np.uint16)
    hdf5.write(tmp_path / "a.h5", "d", x, "shuffle_zstd")
    raw, found = (tmp_path / "a.h5").read_bytes(), {"same": 0, "refused": 0}
    for i in range(96, len(raw), 29):       # behind the superblock
        (tmp_path / "b.h5").write_bytes(raw[:i] + bytes([raw[i] ^ 4]) + raw[i + 1 :])
        for reads in (lambda: hdf5.read(tmp_path / "b.h5", "d"), lambda: np.concatenate([b.decode()[0] for b in hdf5.chunks(tmp_path / "b.h5", "d")])):
            try:
                assert np.array_equal(reads(), x), i
                found["same"] += 1
            except DecodeError:
                found["refused"] += 1
    assert min(found.values()) > 20


def test_chunks_wants_a_slice(tmp_path):
    hdf5.write(tmp_path / "a.h5", "d", np.ones((3, 16, 24), np.uint16))
    for wrong in (1, [0, 1], slice(None, None, -1)):
        with pytest.raises(ValueError, match=r"^hdf5.chunks: frames must be a slice"):
            next(hdf5.chunks(tmp_path / "a.h5", "d", 2, wrong))


@pytest.mark.parametrize(("filters", "dtype"), [
    (hdf5plugin.LZ4(nbytes=1), "u1"), (hdf5plugin.LZ4(nbytes=3), "u2"), (hdf5plugin.Bitshuffle(nelems=8, cname="lz4"), "u1"),
    (hdf5plugin.Bitshuffle(nelems=8, cname="zstd"), "u1"), (hdf5plugin.Zfp(rate=32.0), "f4"), ({"compression": "gzip", "compression_opts": 0}, "u1"),
], ids=str)
def test_foreign_chunks_that_grew_are_read(tmp_path, filters, dtype):
    """Noise in the smallest blocks, and thin frames in zfp's of 4 x 4 x 4."""
    x = np.random.default_rng(3).integers(0, 256, (2, 2, 2, 20000 * np.dtype(dtype).itemsize), np.uint8).view(dtype)
    x = np.nan_to_num(x, posinf=1, neginf=1)
    with h5py.File(tmp_path / "a.h5", "w") as f:
        f.create_dataset("d", data=x, chunks=(1, *x.shape[1:]), **filters)
    with h5py.File(tmp_path / "a.h5") as f:     # h5py would give back what it was given
        size, want = f["d"].id.get_chunk_info(0).size, f["d"][:]
    assert size > x[0].nbytes and same(hdf5.read(tmp_path / "a.h5", "d", unchecked=True), want)


def test_what_decodes_ends_with_its_reader():
    """And until then is made once: plans own memory."""
    filters = Filters((Filter(2, (2,)), Filter(32015, (3,))), (4, 8), "uint16")
    decoding = filters.decoding(0)
    assert filters.decoding(4) is decoding and filters.decoding(1) is not decoding and filters.auto is filters.auto
    op = weakref.ref(decoding.ops[0])
    del filters, decoding
    gc.collect()
    assert op() is None
