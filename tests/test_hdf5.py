"""compress.hdf5 against plain h5py + hdf5plugin in a process of its own, the crc32c package, and damage. Over 200 lines: one file format, one file."""

import errno
import gzip
import itertools
import json
import os
import subprocess
import sys

import crc32c as oracle
import h5py
import hdf5plugin
import numpy as np
import pytest
from conftest import ROOT

import gpuredux
from gpuredux import DecodeError
from gpuredux.compress import hdf5
from gpuredux.compress.bitshuffle_lz4 import BitshuffleLZ4
from gpuredux.compress.crc32c import crc32c, crc32c_rows
from gpuredux.compress.quantize import Quantize
from gpuredux.status import Frame

DTYPES = ("u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "f4", "f8")
SHAPES = ((7,), (37, 53), (3, 5, 7), (2, 3, 4, 5), (1, 1, 1, 1))

# What a stranger does with our files: no gpuredux. argv: JSON list of [path, name, original .npy, bound or null]
PLAIN = """
import json, sys
import crc32c, h5py, hdf5plugin, numpy as np

def outliers(side, i, npix):
    a, b = side["outlier_offset"][i : i + 2]
    return side["outlier_index"][a:b], side["outlier_value"][a:b]

for path, name, original, bound in json.loads(sys.argv[1]):
    want = np.load(original)
    with h5py.File(path, "r") as f:
        d, side = f[name], f[name + "_side"]
        crcs = []
        for at in np.ndindex(*[k // c for k, c in zip(d.shape, d.chunks)]):
            mask, raw = d.id.read_direct_chunk(tuple(int(a) * c for a, c in zip(at, d.chunks)))
            assert mask == 0
            crcs.append(crc32c.crc32c(raw))
        assert crcs == side["chunk_crc32c"][:].tolist()
        assert d.id.get_create_plist().get_filter(0)[0] == 32008 and d.maxshape[0] is None
        got = d[:]
        assert got.shape == want.shape
        if bound is None:
            assert got.dtype == want.dtype and got.tobytes() == want.tobytes()
            continue
        a = d.attrs
        good = (got != a["_FillValue"]) & (got != a["missing_value"])
        x = want.astype(np.float64)[good]
        assert np.isfinite(x).all()
        exact = got[good].astype(np.float64) * np.float64(a["scale_factor"])
        single = got[good].astype(np.float32) * np.float32(a["scale_factor"])
        assert (np.abs(x - exact) <= bound).all(), ("float64", np.abs(x - exact).max())
        if a["decode_dtype"] == "float32":
            assert (np.abs(x - single.astype(np.float64)) <= bound).all(), ("float32", np.abs(x - single).max())
        assert (np.abs(want[good] - single) <= np.float32(bound)).all()
        reached = max(np.abs(x - exact).max(initial=0), np.abs(want[good] - single).max(initial=0))
        assert reached <= side["max_error"][:].max() <= reached + 1e-6 * bound
        rows = side["lossless_frame"][:]
        assert side["lossless"][:].tobytes() == want[rows].tobytes()
        for i in set(range(len(want))) - set(rows.tolist()):
            index, value = outliers(side, i, want[i].size)
            assert np.array_equal(index, np.flatnonzero(got[i] == a["_FillValue"]))
            assert value.tobytes() == want[i].reshape(-1)[index].tobytes()
assert "gpuredux" not in sys.modules
print("ok", len(json.loads(sys.argv[1])))
"""


def plain(*cases):
    """Run PLAIN over (path, name, original, bound)."""
    table = []
    for i, (path, name, original, bound) in enumerate(cases):
        npy = f"{path}.{i}.npy"
        np.save(npy, original)
        table.append([str(path), name, npy, bound])
    result = subprocess.run([sys.executable, "-W", "error", "-c", PLAIN, json.dumps(table)], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr[-3000:]
    assert result.stdout.strip() == f"ok {len(cases)}"


def counts(shape, dtype, seed=0, n=5):
    x = np.random.default_rng(seed).poisson(3, (n, *shape))
    return (x - 2 * (np.dtype(dtype).kind != "u")).clip(0 if np.dtype(dtype).kind == "u" else None).astype(dtype)


def energies(shape=(40, 51), n=6, seed=1):
    """Noise of 3 with the values that hurt: NaN of several bits, Inf, subnormals, -0.0, beyond the codes; frame 1 overflows a list of 16."""
    x = np.random.default_rng(seed).normal(0, 3, (n, *shape)).astype(np.float32)
    flat = x.reshape(n, -1)
    flat[0, :7] = [np.nan, np.inf, -np.inf, 1e-42, -0.0, 1e30, -4e5]
    flat.view(np.uint32)[0, 7] = 0x7FC0BEEF
    flat[1, 50:90] = 1e9
    flat[1, 3] = np.nan
    return x


def same(a, b):
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


# ------------------------------------------------------------------------------------------------------------ crc32c
def test_crc32c_equals_the_package():
    data = np.random.default_rng(0).integers(0, 256, 1 << 16, dtype=np.uint8)
    assert crc32c(b"123456789") == 0xE3069283      # the check value of the catalogues
    assert crc32c(bytes(32)) == 0x8A9136AA and crc32c(b"\xff" * 32) == 0x62A8AB43       # RFC 3720, B.4
    for size in (*range(40), 511, 512, 1535, 1536, 1537, 1543, 1544, 3071, 3072, 3073, 9999, 60000):
        for start in (0, 1, 3):
            part = data[start : start + size]
            assert crc32c(part) == crc32c(part.tobytes()) == oracle.crc32c(part.tobytes())
            assert crc32c(part[5:], crc32c(part[:5])) == crc32c(part)
    with pytest.raises(ValueError, match="value must be"):
        crc32c(b"", -1)


def test_crc32c_of_rows():
    rng = np.random.default_rng(1)
    payload, size = rng.integers(0, 256, (50, 4001), dtype=np.uint8), rng.integers(0, 4002, 50).astype(np.uint32)
    size[:3] = 0, 1, 4001
    want = [oracle.crc32c(p[:s].tobytes()) for p, s in zip(payload, size, strict=True)]
    assert crc32c_rows(payload, size).tolist() == want == crc32c_rows(payload, size.astype(np.int64)).tolist()
    assert crc32c_rows(payload[:0], size[:0]).shape == (0,)
    with pytest.raises(ValueError, match="capacity 4001"):
        crc32c_rows(payload, size + 1)


# ------------------------------------------------------------------------------------------------------ round trips
def test_lossless_of_every_dtype_and_shape(tmp_path):
    cases = []
    for dtype, shape in itertools.product(DTYPES, SHAPES):
        for panels in {False, len(shape) > 1}:
            path, x = tmp_path / f"{dtype}{shape[0]}{len(shape)}{panels}.h5", counts(shape, dtype)
            hdf5.write(path, "entry/data/data", x, panels=panels)
            assert same(hdf5.read(path, "entry/data/data"), x)
            report = hdf5.verify(path, "entry/data/data")
            assert report.problems == () and report.frames == 5 and report.chunks == (5 * shape[0] if panels else 5)
            cases.append((path, "entry/data/data", x, None))
    special = np.array([[0x7FC0BEEF, 0xFF800001, 0x80000000, 1, 0x7F800000]], np.uint32).view(np.float32)
    hdf5.write(tmp_path / "bits.h5", "x", special)
    assert same(hdf5.read(tmp_path / "bits.h5", "x"), special)
    plain(*cases, (tmp_path / "bits.h5", "x", special, None))


@pytest.mark.parametrize("shape", [(2041,), (40, 51), (3, 40, 17), (2, 2, 30, 17)])
def test_codes_keep_the_bound_and_the_rest_is_exact(tmp_path, shape):
    x, cases = energies(shape), []
    for code, abs_ in (("int16", 0.37), ("int16", 0.004), ("uint16", 0.1), ("int32", 1e-4)):
        for panels in {False, len(shape) > 1}:
            path, y = tmp_path / f"{code}{abs_}{panels}.h5", np.abs(x) if code == "uint16" else x
            hdf5.write(path, "d", y, Quantize(abs=abs_, code=code, capacity=16), panels=panels)
            got = hdf5.read(path, "d")
            fine = np.isfinite(y) & (np.abs(y) < 1e5)
            assert got.dtype == np.float32 and (np.abs(got[fine].astype(float) - y[fine]) <= abs_).all()
            assert got[~fine].tobytes() == y[~fine].tobytes() and same(got[1], y[1])
            report = hdf5.verify(path, "d")
            assert report.problems == () and report.lossless_frames >= 1 and report.outliers >= 5
            cases.append((path, "d", y, abs_))
    plain(*cases)


def test_masked_pixels(tmp_path):
    x, good = energies(), np.ones((40, 51), bool)
    good[5], good[0, 3] = False, False
    hdf5.write(tmp_path / "a.h5", "d", x, Quantize(abs=0.1, capacity=16, good=good))
    got = hdf5.read(tmp_path / "a.h5", "d")
    assert np.isnan(got[:, ~good]).all() and same(got[1][good], x[1][good])     # frame 1 is a lossless one
    assert (hdf5.read(tmp_path / "a.h5", "d", masked=-7)[:, ~good] == -7).all()
    with h5py.File(tmp_path / "a.h5") as f:
        assert (f["d"][:][:, ~good] == f["d"].attrs["missing_value"]).all()
        status = np.where(np.arange(6) == 1, Frame.OUTLIER_OVERFLOW, 0)
        assert f["d_side/frame_status"][:].tolist() == status.tolist()


def test_pixel_and_frame_status_of_appended_frames(tmp_path):
    x, words = energies(), np.arange(6, dtype=np.uint32) << 20
    status = np.random.default_rng(2).integers(0, 9, x.shape).astype(np.uint8) * (np.arange(51) % 7 == 0).astype(np.uint8)
    with h5py.File(tmp_path / "a.h5", "w", libver="v110", userblock_size=1024) as f, hdf5.Writer(f, "d", (40, 51), Quantize(abs=0.1)) as writer:
        writer.append(x[:2], status[:2], words[:2])
        writer.append(x[2:], status[2:], words[2:])
    got = hdf5.read(tmp_path / "a.h5", "d", masked=0)
    fine = (status == 0) & (np.abs(x) < 1e3)
    assert (got[status != 0] == 0).all() and (np.abs(got[fine] - x[fine]) <= np.float32(0.1)).all()
    with h5py.File(tmp_path / "a.h5") as f:
        assert np.array_equal(f["d"][:] == f["d"].attrs["missing_value"], status != 0)
        assert f["d_side/frame_status"][:].tolist() == words.tolist()


def test_selections(tmp_path):
    x = counts((9, 11), "i4", n=12)
    hdf5.write(tmp_path / "a.h5", "d", x, panels=True)
    for pick in (slice(None), slice(3, 8), slice(None, None, -3), slice(20, 30), 4, -1, [3, 3, 0, -2], np.array([7, 1]), []):
        assert same(hdf5.read(tmp_path / "a.h5", "d", pick), x[pick if not isinstance(pick, list) or pick else slice(0)])
    for wrong in (12, -13, [0, 12]):
        with pytest.raises(IndexError, match="of 12"):
            hdf5.read(tmp_path / "a.h5", "d", wrong)


def test_no_frames(tmp_path):
    for i, codec in enumerate(("bitshuffle_lz4", Quantize(abs=1))):
        path, x = tmp_path / f"{i}.h5", np.empty((0, 5, 6), np.float32)
        hdf5.write(path, "d", x, codec)
        assert same(hdf5.read(path, "d"), x) and hdf5.verify(path, "d") == (0, 0, 0, 0, 0, ())


@pytest.mark.parametrize("codec", ["lossless", "codes"])
def test_appending_in_several_goes_equals_one(tmp_path, codec):
    x = energies(n=9)
    x[7, 2] = np.inf
    kind = np.float32 if codec == "lossless" else Quantize(abs=0.2, capacity=16)
    hdf5.write(tmp_path / "one.h5", "d", x, "bitshuffle_lz4" if codec == "lossless" else kind)
    with h5py.File(tmp_path / "parts.h5", "w", libver="v110") as f:
        with hdf5.Writer(f, "d", (40, 51), kind, attrs={"units": "keV"}, provenance={"run": 7}) as writer, hdf5.Writer(f, "g/other", (4,), "u2") as other:
            for a, b in ((0, 1), (1, 1), (1, 4), (4, 9)):
                writer.append(x[a:b])
                other.append(counts((4,), "u2", n=2))
                if b != 4:
                    writer.flush()
        assert f["d"].attrs["units"] == "keV" and json.loads(f["d"].attrs["provenance"]) == {"run": 7, "backend": "numba", "device": "numba:0 host"}
        assert (writer.frames, writer.lossless_frames, other.frames) == (9, 2 if codec == "codes" else 0, 8)
    assert same(hdf5.read(tmp_path / "parts.h5", "d"), hdf5.read(tmp_path / "one.h5", "d")) and hdf5.read(tmp_path / "parts.h5", "g/other").shape == (8, 4)
    plain((tmp_path / "parts.h5", "d", x, None if codec == "lossless" else 0.2))
    with h5py.File(tmp_path / "one.h5") as one, h5py.File(tmp_path / "parts.h5") as parts:
        for key in one["d_side"]:
            assert same(one["d_side"][key][:], parts["d_side"][key][:]), key
        assert json.loads(one["d"].attrs["codec"])[-1]["op"] == "compress.bitshuffle_lz4"
        assert one["d"].attrs["gpuredux_version"] == gpuredux.__version__


def test_encoded_rows_go_in_as_they_are(tmp_path):
    x, quantize = energies(), Quantize(abs=0.2, capacity=16)
    out = quantize(x, frame_status=np.arange(6, dtype=np.uint32) << 20)
    payload, size = BitshuffleLZ4()(out.code)
    parts = {k: getattr(out, k) for k in ("outlier_index", "outlier_value", "outlier_count", "max_error", "frame_status")}
    with hdf5.Writer(tmp_path / "a.h5", "d", (40, 51), quantize) as writer:
        with pytest.raises(ValueError, match=r"row 1 has 4\d outliers, its list holds 16"):
            writer.append_encoded(payload, size, **parts)
        writer.append_encoded(payload, size, lossless={1: x[1], 4: x[4]}, **parts)      # a frame may be kept losslessly for any reason
    assert hdf5.verify(tmp_path / "a.h5", "d").lossless_frames == 2
    got = hdf5.read(tmp_path / "a.h5", "d")
    assert same(got[1], x[1]) and same(got[4], x[4]) and not same(got[2], x[2])
    with h5py.File(tmp_path / "a.h5") as f:
        assert f["d_side/frame_status"][:].tolist() == [int(k) << 20 | (256 if k in (1, 4) else 0) for k in range(6)]


@pytest.mark.parametrize("codec", [Quantize(abs=0.2, capacity=16), "bitshuffle_lz4"], ids=["codes", "lossless"])
def test_every_backend_writes_the_same_bytes(tmp_path, target, codec):
    x = energies((20, 33))
    x = (x.view(np.uint32) >> 20).astype(np.uint16) if isinstance(codec, str) else x
    hdf5.write(tmp_path / "numpy.h5", "d", x, codec, backend="numpy")
    hdf5.write(tmp_path / "target.h5", "d", target.put(x), codec)
    with h5py.File(tmp_path / "numpy.h5") as a, h5py.File(tmp_path / "target.h5") as b:
        for key in a["d_side"]:
            assert same(a["d_side"][key][:], b["d_side"][key][:]), key
        assert json.loads(a["d"].attrs["provenance"])["backend"] == "numpy"
        assert json.loads(b["d"].attrs["provenance"]) == {"backend": target.backend.name, "device": str(target.device)}
    assert same(hdf5.read(tmp_path / "target.h5", "d"), hdf5.read(tmp_path / "numpy.h5", "d"))


# ------------------------------------------------------------------------------------------------------- real frames
REAL = [
    ("jungfrau_m049_raw_to_photons.h5", "raw", None), ("jungfrau_m049_raw_to_photons.h5", "conv", 0.25), ("cspad_asic_float.h5", "data", 5.0),
    ("pilatus6m_thaumatin_crop.h5", "data", None), ("eiger500k_powder.h5", "data", None), ("cspad_thermolysin_1.h5", "data", None),
    ("epix10ka_quad_raw.h5", "raw", None), ("xspress3_mca.h5", "data", 0.5), ("bsa_saxs_ccd.h5", "data", None), ("hexitec_30.h5", "data", None),
]


@pytest.mark.parametrize(("file", "key", "bound"), REAL, ids=lambda v: str(v).removesuffix(".h5"))
def test_real_frames(tmp_path, real, file, key, bound):
    x = real(file, key)
    x = x[:3] if x.ndim > 2 and file != "cspad_thermolysin_1.h5" else x[None]
    codec = "bitshuffle_lz4" if bound is None else Quantize(abs=bound)
    hdf5.write(tmp_path / "a.h5", "d", x, codec, panels=x.ndim == 4)
    got = hdf5.read(tmp_path / "a.h5", "d")
    assert same(got, x) if bound is None else (np.abs(got.astype(float) - x) <= bound).all()
    assert hdf5.verify(tmp_path / "a.h5", "d").problems == ()
    plain((tmp_path / "a.h5", "d", x, bound))


# ------------------------------------------------------------------------------------------------------------ damage
@pytest.fixture
def small(tmp_path):
    """A file of three small frames of counts, and the frames."""
    x = counts((12, 13), "u2", n=3)
    hdf5.write(tmp_path / "small.h5", "d", x)
    return tmp_path / "small.h5", x


@pytest.fixture
def stored(tmp_path):
    """A file of codes with outliers and a lossless frame, and what it reads as."""
    hdf5.write(tmp_path / "codes.h5", "d", energies((12, 13)), Quantize(abs=0.5, capacity=16))
    return tmp_path / "codes.h5", hdf5.read(tmp_path / "codes.h5", "d")


def place(path, i, name="d"):
    """Where chunk i lies in the file, and its size."""
    with h5py.File(path) as f:
        info = f[name].id.get_chunk_info(i)
        return info.byte_offset, info.size


def test_every_flipped_bit_of_every_chunk_is_found(small, stored):
    for path, name in ((small[0], "d"), (stored[0], "d"), (stored[0], "d_side/lossless")):
        with h5py.File(path) as f, open(path, "r+b", buffering=0) as raw:
            rows = range(len(f[name])) if name == "d" else [1]
            for frame, i in zip(rows, itertools.count(), strict=False):
                offset, size = place(path, i, name)
                chunk = os.pread(raw.fileno(), size, offset)
                for bit in range(0, 8 * size, 1 if path == small[0] and i == 0 else 31):
                    os.pwrite(raw.fileno(), bytes([chunk[bit // 8] ^ 1 << bit % 8]), offset + bit // 8)
                    with pytest.raises(DecodeError, match=f"frame {frame if name == 'd' else 0} of .*damaged"):
                        hdf5.read(f, "d", frame)
                    os.pwrite(raw.fileno(), chunk[bit // 8 : bit // 8 + 1], offset + bit // 8)
            assert hdf5.verify(f, "d").problems == ()


# argv: a file to work on, how many bits, then files and how they read (.npy). A process of its own: HDF5 need not survive what it is given.
FLIPS = """
import sys
import numba
import numpy as np
from gpuredux.compress import hdf5

numba.set_num_threads(1)
work, many = sys.argv[1], int(sys.argv[2])
silent, found, rng = [], 0, np.random.default_rng(5)
for source, original in zip(sys.argv[3::2], sys.argv[4::2]):
    raw, want = open(source, "rb").read(), np.load(original)
    heap = 8 * raw.index(b"GCOL")      # HDF5 keeps strings there without a checksum, and can loop for ever over a damaged one
    spread = np.linspace(0, 8 * len(raw), many + 1)
    for bit in [*rng.integers(spread[:-1], spread[1:]).tolist(), *range(heap, heap + 512, 2)]:
        with open(work, "wb") as f:
            f.write(raw[: bit // 8] + bytes([raw[bit // 8] ^ 1 << bit % 8]) + raw[bit // 8 + 1 :])
        try:
            got = hdf5.read(work, "d")
            if got.dtype != want.dtype or got.tobytes() != want.tobytes():
                silent.append(bit)
        except ValueError:
            found += 1
print(silent, found > many // 5)
"""


def test_no_flipped_bit_anywhere_gives_wrong_values(small, stored, tmp_path):
    """One bit in each of 200 equal stretches of a file, and every second one of the heap's first 64 bytes: where HDF5 loops, two neighbours make it."""
    args = [str(tmp_path / "work.h5"), "200"]
    for path, want in (small, stored):
        np.save(f"{path}.npy", want)
        args += [str(path), f"{path}.npy"]
    result = subprocess.run([sys.executable, "-W", "error", "-c", FLIPS, *args], capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr[-2000:]
    assert result.stdout.strip() == "[] True"


def rewrite(path, change):
    """Let change(file) loose on a file, as any h5py can."""
    with h5py.File(path, "r+") as f:
        change(f)


def refused(path, match, frame=slice(None), name="d", error=DecodeError, **more):
    """One clear line, the others stay readable, verify finds it too."""
    with pytest.raises(error, match=match) as caught:
        hdf5.read(path, name, frame, **more)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 500


def test_swapped_truncated_and_replaced_chunks(small):
    path, x = small
    with h5py.File(path) as f:
        chunk = [f["d"].id.read_direct_chunk((i, 0, 0))[1] for i in range(3)]

    def put(i, data, mask=0, crc=False):
        def change(f):
            f["d"].id.write_direct_chunk((i, 0, 0), data, mask)
            if crc:
                f["d_side/chunk_crc32c"][i] = oracle.crc32c(data)
        rewrite(path, change)

    put(0, chunk[1])
    put(1, chunk[0])
    refused(path, "frame 0 of 'd' of .*small.h5 is damaged")
    refused(path, "frame 1 of ", 1)
    assert same(hdf5.read(path, "d", 2), x[2]) and [p[:7] for p in hdf5.verify(path, "d").problems] == ["frame 0", "frame 1"]
    put(0, chunk[0])
    for length in (*range(1, 12), 13, 40, len(chunk[1]) - 1):
        put(1, chunk[1][:length])
        refused(path, "frame 1 of .*(damaged|cannot be)")
        put(1, chunk[1][:length], crc=True)     # who can write the file can write its CRC: then the decoder must see it
        refused(path, "frame 1 of ")
    for head in (b"\xff" * 8, (2**40).to_bytes(8, "big"), (0).to_bytes(8, "big")):
        put(1, head + chunk[1][8:], crc=True)
        refused(path, "frame 1 of ")
    put(1, chunk[1] + bytes(10_000), crc=True)
    refused(path, "frame 1 of .*claims")
    put(1, x[1].tobytes()[1:], mask=1, crc=True)
    refused(path, "frame 1 of .*claims|that nothing compressed")
    put(1, x[1].tobytes(), mask=1, crc=True)        # HDF5's own way of storing what does not shrink
    assert same(hdf5.read(path, "d"), x)
    assert same(hdf5.read(path, "d", [0, 2]), x[[0, 2]])


def test_missing_chunks_and_claims_of_size(small):
    path, x = small

    def longer(f):
        f["d"].resize(5, axis=0)

    rewrite(path, longer)
    refused(path, r"frames 3 to 4 of .* not committed.*slice\(3\)")
    assert same(hdf5.read(path, "d", slice(3)), x) and "not committed" in hdf5.verify(path, "d").problems[0]
    refused(path, "5 chunks are wanted, the file stores 3", unchecked=True)
    refused(path, "frame 4 of .*not in the file", 4, unchecked=True)
    def fewer(f):
        f["d"].resize(2, axis=0)

    rewrite(path, fewer)
    refused(path, "has 2 frames, and CRCs of 3")
    rewrite(path, lambda f: f["d"].resize(2**50, axis=0))
    refused(path, "chunks are wanted, the file stores 2", unchecked=True)


def test_damaged_lists_beside_the_codes(stored):
    path, want = stored

    def edit(key, i, value):
        def change(f):
            f["d_side"][key][i] = value
        rewrite(path, change)

    with h5py.File(path) as f:
        before = {key: f["d_side"][key][:] for key in ("outlier_index", "outlier_offset", "lossless_frame")}
    for key, i, value, match in (
        ("outlier_index", 0, 5_000_000, "not ascending pixels below 156"), ("outlier_index", 1, 0, "not ascending"),
        ("outlier_index", 5, 150, "not where its codes"),
        ("outlier_offset", 1, 2**63, "claims the outliers"), ("outlier_offset", 1, 2, "claims|where its codes"), ("lossless_frame", 0, 3, "where its codes"),
    ):
        edit(key, i, value)
        refused(path, match)
        assert hdf5.verify(path, "d").problems
        edit(key, i, before[key][i])
    assert same(hdf5.read(path, "d"), want)

    def attribute(key, value):
        def change(f):
            f["d"].attrs[key] = value
        rewrite(path, change)

    for key, value in (("scale_factor", np.float32(0.5)), ("_FillValue", np.int16(0)), ("error_bound", 1.0), ("valid_range", np.array([0, 1], np.int16)),
                       ("gpuredux_layout", 2)):
        with h5py.File(path) as f:
            old = f["d"].attrs[key]
        attribute(key, value)
        refused(path, "attributes|layout 2; this version knows 1")
        attribute(key, old)
    rewrite(path, lambda f: f.move("d_side", "elsewhere"))
    refused(path, "CRCs of none")


# ------------------------------------------------------------------------------------------------- files of strangers
def test_files_of_other_programs(tmp_path):
    x = counts((6, 7), "u4")
    with h5py.File(tmp_path / "a.h5", "w") as f:
        f.create_dataset("bslz4", data=x, chunks=(1, 6, 7), **hdf5plugin.Bitshuffle())
        f.create_dataset("sums", data=x, chunks=(1, 6, 7), compression="gzip", fletcher32=True)
        f.create_dataset("blosc2", data=x, chunks=(1, 6, 7), **hdf5plugin.Blosc2())
        f.create_dataset("two", data=x, chunks=(2, 6, 7), **hdf5plugin.Bitshuffle())
        f.create_dataset("big", data=x.astype(">u4"), chunks=(1, 6, 7), **hdf5plugin.Bitshuffle())
        f.create_dataset("plain", data=x)
        f.create_group("group")
        f["away"] = h5py.ExternalLink("/etc/other.h5", "/x")
        f["soft"] = h5py.SoftLink("/bslz4")
        f["broken"] = h5py.SoftLink("/nothing")
        layout = h5py.VirtualLayout(x.shape, "u4")
        layout[:] = h5py.VirtualSource(f["bslz4"])
        f.create_virtual_dataset("virtual", layout)
    path = tmp_path / "a.h5"
    refused(path, "has no CRCs: not written by gpuredux; unchecked=True", name="bslz4")
    assert same(hdf5.read(path, "bslz4", unchecked=True), x) and same(hdf5.read(path, "soft", 2, unchecked=True), x[2])
    assert hdf5.verify(path, "bslz4").problems[0].endswith("nothing can be verified")
    for name, match in (("sums", r"filters are 1 \(deflate, 4\) \+ 3 \(fletcher32"), ("blosc2", r"32026 \(blosc2, .*decoded are"),
                        ("two", "one frame or one panel a chunk"), ("big", ">u4"),
                        ("plain", "not chunked"),
                        ("group", "no dataset 'group' in /; it has away, "), ("nothing", "no dataset"), ("broken", "no dataset"), ("bslz4/x", "no dataset"),
                        ("away", "a link to another file"), ("virtual", "is virtual")):
        refused(path, match, name=name, error=ValueError, unchecked=True)


def test_files_that_are_none(small, tmp_path):
    path, _ = small
    raw = path.read_bytes()
    with pytest.raises(FileNotFoundError, match="no such file"):
        hdf5.read(tmp_path / "absent.h5", "d")
    for i, bad in enumerate((b"", b"hello" * 100, raw[:8], *(raw[: len(raw) * k // 10] for k in range(1, 10)), raw[:-1])):
        (tmp_path / f"{i}.h5").write_bytes(bad)
        refused(tmp_path / f"{i}.h5", "no whole HDF5 file")
        with pytest.raises(DecodeError, match="no whole HDF5 file"):
            hdf5.verify(tmp_path / f"{i}.h5", "d")


# -------------------------------------------------------------------------------------------------------- golden bytes
GOLDEN = ROOT / "tests" / "golden" / "hdf5_layout_1.h5.gz"
# made once, by gpuredux 0.1.0:
#   hdf5.write("hdf5_layout_1.h5", "d", golden(), Quantize(abs=0.5, capacity=4, good=np.arange(72).reshape(8, 9) != 21))
#   gzip -9n hdf5_layout_1.h5       (the lists' chunks are mostly empty)


def golden():
    """Halves from -18 to 17.5 in their order; frame 0 with two outliers, frame 1 with more than four, frame 2 with none."""
    x = np.stack([np.arange(-36, 36, dtype=np.float32) * np.float32(0.5)] * 3)
    x[0, [5, 70]] = np.float32(1e9), np.float32(np.nan)
    x[1, 10:16] = np.float32(-3e8)
    return x.reshape(3, 8, 9)


def test_golden_file_is_read_for_ever(tmp_path):
    x, path = golden(), tmp_path / "golden.h5"
    path.write_bytes(gzip.decompress(GOLDEN.read_bytes()))
    with h5py.File(path) as f:
        code, attrs, side = f["d"][:].reshape(3, 72), dict(f["d"].attrs), {key: f["d_side"][key][:] for key in f["d_side"]}
    scale = attrs["scale_factor"]
    assert attrs["gpuredux_layout"] == 1 and code.dtype == np.int16 and np.float32(0.999) < scale <= 1
    want = np.rint(x.reshape(3, 72) / scale)
    marked = np.zeros((3, 72), bool)
    marked[0, [5, 70]] = marked[1, 10:16] = marked[:, 21] = True
    assert np.array_equal(code[~marked], want[~marked].astype(np.int16))
    assert (code[:, 21] == attrs["missing_value"]).all() and (code[0, [5, 70]] == attrs["_FillValue"]).all()
    assert side["outlier_offset"].tolist() == [0, 2, 2, 2] and side["outlier_index"].tolist() == [5, 70]
    assert same(side["outlier_value"], np.array([1e9, np.nan], np.float32)) and side["lossless_frame"].tolist() == [1]
    assert side["frame_status"].tolist() == [0, Frame.OUTLIER_OVERFLOW, 0] and len(side["chunk_crc32c"]) == 3
    energy = (code * scale).astype(np.float32)
    energy[0, [5, 70]], energy[1] = x[0].reshape(72)[[5, 70]], x[1].reshape(72)
    energy[:, 21] = -1
    assert same(hdf5.read(path, "d", masked=-1), energy.reshape(3, 8, 9))
    assert hdf5.verify(path, "d") == (3, 3, 350, 2, 1, ())


# ---------------------------------------------------------------------------------------------------------- refusals
def test_what_exists_is_not_overwritten(small):
    path, x = small
    before = path.read_bytes()
    for make in (lambda: hdf5.write(path, "d", x), lambda: hdf5.Writer(path, "d", (12, 13), "u2")):
        with pytest.raises(FileExistsError, match="overwrite=True"):
            make()
    with pytest.raises(TypeError), h5py.File(path) as _:
        hdf5.write(path, "d", x.astype(np.complex64), overwrite=True)
    assert path.read_bytes() == before and os.listdir(path.parent) == ["small.h5"]
    with h5py.File(path, "r+") as f:
        with pytest.raises(FileExistsError, match="'d' exists"):
            hdf5.write(f, "d", x)
        hdf5.write(f, "d", x[:2], overwrite=True)
        with pytest.raises(FileExistsError, match="'d_side' exists"):
            f.move("d", "e")
            hdf5.write(f, "d", x)
        f.move("e", "d")
    assert same(hdf5.read(path, "d"), x[:2])
    hdf5.write(path, "other", x, overwrite=True)
    with h5py.File(path) as f:
        assert set(f) == {"other", "other_side"}


@pytest.mark.parametrize(("frames", "codec", "error"), [
    (np.zeros((2, 12, 13)), Quantize(abs=1), TypeError), (np.zeros((2, 12, 26), np.uint16)[:, :, ::2], "bitshuffle_lz4", ValueError),
    (np.zeros((2, 12, 13), np.float32), Quantize(abs=1, good=np.ones((3, 4), bool)), ValueError),
    (np.zeros((2, 12, 13), np.uint16), "bitshuffle_lz4", OSError),      # the disk fills up after the first frames
])
def test_a_failed_overwrite_leaves_the_old_dataset(small, monkeypatch, frames, codec, error):
    path, x = small
    if error is OSError:
        def full(self):
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(hdf5.Writer, "commit", full)
    with h5py.File(path, "r+") as f:
        before = f["d"].id.get_offset(), f["d"].attrs["side"], h5py.h5o.get_info(f["d"].id).addr
        with pytest.raises(error):
            hdf5.write(f, "d", frames, codec, overwrite=True)
        assert set(f) == {"d", "d_side"} and before == (f["d"].id.get_offset(), f["d"].attrs["side"], h5py.h5o.get_info(f["d"].id).addr)
    assert same(hdf5.read(path, "d"), x)


def test_a_failed_write_into_a_group_leaves_nothing(small):
    """Whatever this call made goes, the groups above the dataset too; what was there stays, and the next write finds its place free."""
    path, x = small
    with h5py.File(path, "r+") as f:
        f.create_group("g")
        for name in ("new", "g/new", "g/h/new", "d"):
            with pytest.raises(TypeError):
                hdf5.write(f, name, x, attrs={"a": object()}, overwrite=True)
            assert set(f) == {"d", "d_side", "g"} and not len(f["g"]), name
        with pytest.raises(FileExistsError):
            hdf5.write(f, "d", x[:1])
        with pytest.raises(ValueError, match=r"strides|contiguous"):
            hdf5.write(f, "g/h/new", np.zeros((2, 12, 26), np.uint16)[:, :, ::2])
        assert set(f) == {"d", "d_side", "g"} and not len(f["g"])
        hdf5.write(f, "g/h/new", x[:1])
    assert same(hdf5.read(path, "d"), x) and same(hdf5.read(path, "g/h/new"), x[:1])


def test_an_overwritten_dataset_is_as_if_new(small, tmp_path):
    path, x = small
    y = energies((12, 13))
    with h5py.File(path, "r+") as f:
        hdf5.write(f, "g/h", x)
        hdf5.write(f["g"], "/h/", y, Quantize(abs=0.5, capacity=16), overwrite=True)
        hdf5.write(f, "new", x, overwrite=True)
        f.move("new", "lone")
        hdf5.write(f, "new", x[:1], overwrite=True)         # only its side was there
        assert set(f) == {"d", "d_side", "g", "lone", "new", "new_side"} and set(f["g"]) == {"h", "h_side"} and f["g/h"].attrs["side"] == "h_side"
    hdf5.write(tmp_path / "b.h5", "g/h", y, Quantize(abs=0.5, capacity=16))
    assert same(hdf5.read(path, "g/h"), hdf5.read(tmp_path / "b.h5", "g/h")) and same(hdf5.read(path, "new"), x[:1]) and same(hdf5.read(path, "d"), x)
    plain((path, "g/h", y, 0.5))


def test_a_replaced_file_is_on_the_disk_before_its_name(small, monkeypatch):
    path, x = small
    steps = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda fd: (steps.append(os.readlink(f"/proc/self/fd/{fd}")), fsync(fd)))
    monkeypatch.setattr(os, "replace", lambda a, b: (steps.append("replace"), replace(a, b)))
    hdf5.write(path, "d", x[:1], overwrite=True)
    assert steps == [f"{path}.{os.getpid()}.part", "replace", str(path.parent)]


@pytest.mark.parametrize(("frames", "codec", "more", "error", "match"), [
    ([[1, 2]], "bitshuffle_lz4", {}, TypeError, "must be an array"),
    (np.zeros(5), "bitshuffle_lz4", {}, TypeError, "must be an array"),
    (np.zeros((2, 3, 0)), "bitshuffle_lz4", {}, ValueError, "1 or more"),
    (np.zeros((2, 1, 1, 1, 1, 1)), "bitshuffle_lz4", {}, ValueError, "1 to 4 axes"),
    (np.zeros((2, 3), bool), "bitshuffle_lz4", {}, TypeError, r"frames must be uint8, .*\|b1"),
    (np.zeros((2, 3), ">f4"), "bitshuffle_lz4", {}, TypeError, ">f4"),
    (np.zeros((2, 3)), "zstd", {}, TypeError, "codec must be"),
    (np.zeros((2, 3)), Quantize(abs=1), {}, TypeError, "must be float32"),
    (np.zeros((2, 3), np.float32), Quantize(abs=1, good=np.ones((3, 4), bool)), {}, ValueError, r"good must be \(3,\)"),
    (np.zeros((2, 3)), "bitshuffle_lz4", {"panels": True}, ValueError, "panels=True"),
    (np.zeros((2, 3)), "bitshuffle_lz4", {"attrs": {"codec": 1}}, ValueError, "leave codec to the writer"),
    (np.zeros((2, 6))[:, ::2], "bitshuffle_lz4", {}, ValueError, "not C-contiguous"),
    (np.zeros((2, 3)), "bitshuffle_lz4", {"backend": "opencl"}, TypeError, "opencl"),
], ids=lambda v: v if isinstance(v, str) else "")
def test_refusals_leave_no_file(tmp_path, frames, codec, more, error, match):
    with pytest.raises(error, match=match) as caught:
        hdf5.write(tmp_path / "a.h5", "d", frames, codec, **more)
    assert "\n" not in str(caught.value) and os.listdir(tmp_path) == []


def test_refusals_of_the_writer(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such folder"):
        hdf5.Writer(tmp_path / "no" / "a.h5", "d", (3,), "u2")
    with pytest.raises(TypeError, match="path or an open h5py Group"):
        hdf5.Writer(7, "d", (3,), "u2")
    with pytest.raises(TypeError, match=r"dtype \(lossless\) or a compress"):
        hdf5.Writer(tmp_path / "a.h5", "d", (3,), BitshuffleLZ4())
    with pytest.raises(ValueError, match="4 GiB"):
        hdf5.Writer(tmp_path / "a.h5", "d", (2, 2**31), "u2")
    with hdf5.Writer(tmp_path / "a.h5", "d", (2, 5), "u2", panels=True) as writer:
        payload, size = BitshuffleLZ4()(counts((5,), "u2", n=4))
        for args, more, error, match in (
            ((payload[:3], size[:3]), {}, ValueError, "multiple of the 2 panels"), ((payload, size[:2]), {}, ValueError, "payload must have 2 axes and 2 rows"),
            ((payload, size.astype(float)), {}, TypeError, "size must be uint32 or"), ((payload.view(np.int8), size), {}, TypeError, "payload must be uint8"),
            ((payload, size + 10**6), {}, ValueError, "capacity"), ((payload, size * 0), {}, ValueError, "no chunk"),
            ((payload, size), {"frame_status": np.zeros(4, np.uint32)}, ValueError, "frame_status must have 1 axes and 2 rows"),
            ((payload, size), {"max_error": np.zeros(2, np.float32)}, TypeError, "lossless uint16"),
            ((list(payload), size), {}, TypeError, "payload must be a numpy"),
        ):
            with pytest.raises(error, match=match):
                writer.append_encoded(*args, **more)
        with pytest.raises(ValueError, match=r"must be uint16 \(n, 2, 5\)"):
            writer.append(np.zeros((2, 5), np.uint16))
        with pytest.raises(TypeError, match="pixel_status has no place"):
            writer.append(np.zeros((1, 2, 5), np.uint16), np.zeros((1, 2, 5), np.uint8))
        writer.append_encoded(payload, size)
    with pytest.raises(OSError, match="the writer is closed"):
        writer.append_encoded(payload, size)
    writer.close()
    assert writer.frames == 2 and hdf5.verify(tmp_path / "a.h5", "d")[:2] == (2, 4)


def test_codes_want_their_lists(tmp_path):
    x, quantize = energies(), Quantize(abs=0.2, capacity=64)
    out = quantize(x)
    payload, size = BitshuffleLZ4()(out.code)
    parts = {k: getattr(out, k) for k in ("outlier_index", "outlier_value", "outlier_count", "max_error")}
    with hdf5.Writer(tmp_path / "a.h5", "d", (40, 51), quantize) as writer:
        for key in parts:
            for wrong, error in ((None, TypeError), (np.zeros(parts[key].shape), TypeError), (parts[key][:5], ValueError)):
                with pytest.raises(error, match=f"{key} must"):
                    writer.append_encoded(payload, size, **{**parts, key: wrong})
        for lossless in ({6: x[0]}, {-1: x[0]}, {0: x[0, 0]}, {0: x[0].astype(float)}):
            with pytest.raises(ValueError, match="lossless must map rows below 6"):
                writer.append_encoded(payload, size, lossless=lossless, **parts)
        writer.append_encoded(payload, size, **parts)
    assert hdf5.verify(tmp_path / "a.h5", "d").frames == 6      # what was refused left nothing behind


# ---------------------------------------------------------------------------------------------- full disk, kill, SWMR
FULL = """
import json, os, resource, signal, sys
import numpy as np
from gpuredux.compress import hdf5
from gpuredux.compress.quantize import Quantize

path, frames, how = sys.argv[1], np.load(sys.argv[2]), sys.argv[3]
if how != "kill":
    resource.setrlimit(resource.RLIMIT_FSIZE, (3 << 20, 3 << 20))
if how == "write":
    try:
        hdf5.write(path, "d", np.concatenate([frames] * 60), overwrite=True)
    except OSError as e:
        print(json.dumps([e.errno, str(e), os.listdir(os.path.dirname(path))]))
    sys.exit()
writer = hdf5.Writer(path, "d", frames.shape[1:], Quantize(abs=0.01, capacity=64))
try:
    with writer:
        for i in range(1000):
            writer.append(frames)
            if i % 5 == 4:
                writer.flush()
            if how == "kill" and i == 31:
                os.kill(os.getpid(), signal.SIGKILL)
except OSError as e:
    print(json.dumps([e.errno, str(e), writer.frames]))
"""


def run_full(tmp_path, how):
    x = np.random.default_rng(3).normal(0, 40, (4, 64, 64)).astype(np.float32)
    x[2] *= 1e6     # a frame to be kept losslessly
    np.save(tmp_path / "x.npy", x)
    args = [str(tmp_path / "out" / "a.h5"), str(tmp_path / "x.npy"), how]
    return x, subprocess.run([sys.executable, "-W", "error", "-c", FULL, *args], capture_output=True, text=True)


def test_a_full_disk_leaves_a_good_file(tmp_path):
    """A limit on the size of files stands in for the disk: the same call fails at the same places."""
    (tmp_path / "out").mkdir()
    x, result = run_full(tmp_path, "append")
    assert result.returncode == 0 and not result.stderr, result.stderr
    number, text, frames = json.loads(result.stdout)
    path = tmp_path / "out" / "a.h5"
    assert number == errno.EFBIG and str(path) in text and frames > 40
    got = hdf5.read(path, "d")
    assert len(got) == frames and hdf5.verify(path, "d").problems == () and path.stat().st_size < 3 << 20
    many = np.concatenate([x] * (frames // 4))
    assert same(got[2::4], many[2::4])
    plain((path, "d", many, 0.01))


def test_a_write_that_does_not_fit_leaves_the_old_file(tmp_path):
    (tmp_path / "out").mkdir()
    hdf5.write(tmp_path / "out" / "a.h5", "d", counts((5, 5), "u2"))
    _, result = run_full(tmp_path, "write")
    number, text, files = json.loads(result.stdout)
    assert number == errno.EFBIG and "nothing was written" in text and files == ["a.h5"]
    assert same(hdf5.read(tmp_path / "out" / "a.h5", "d"), counts((5, 5), "u2"))


def test_a_killed_writer_leaves_what_it_flushed(tmp_path):
    (tmp_path / "out").mkdir()
    x, result = run_full(tmp_path, "kill")
    path = tmp_path / "out" / "a.h5"
    assert result.returncode == -9, result.stderr
    refused(path, "at work or was killed: pass h5py.File")
    with h5py.File(path, "r", swmr=True) as f:
        committed = len(f["d_side/chunk_crc32c"])
        assert committed == 30 * 4
        got = hdf5.read(f, "d", slice(committed))
    assert same(got[2::4], np.concatenate([x] * 30)[2::4])


def test_frames_are_read_while_they_are_written(tmp_path):
    x = counts((9, 11), "i4", n=12)
    with h5py.File(tmp_path / "a.h5", "w", libver="v110") as f, hdf5.Writer(f, "d", (9, 11), "i4") as writer:
        f.swmr_mode = True
        with h5py.File(tmp_path / "a.h5", "r", swmr=True) as live:
            for k in (4, 8, 12):
                writer.append(x[k - 4 : k])
                writer.flush()
                for key in ("d", "d_side/chunk_crc32c"):
                    live[key].refresh()
                assert same(hdf5.read(live, "d"), x[:k])
