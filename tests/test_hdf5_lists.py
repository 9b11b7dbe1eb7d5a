"""compress.hdf5_lists against h5py, and against chunks over which libhdf5 dies."""

import subprocess
import sys

import h5py
import hdf5plugin
import numpy as np
import pytest
from conftest import ROOT

from gpuredux import DecodeError
from gpuredux.compress import Quantize, hdf5
from gpuredux.compress.hdf5_lists import Listed, fletcher_agrees
from gpuredux.stream.faults import ConfigError

# In a process of its own: what libhdf5 does about such chunks is to die. argv: path, list, bytes, filter_mask, 1 = with a Fletcher-32 sum that agrees
SHORT = """
import sys
import h5py
from gpuredux import DecodeError
from gpuredux.compress import hdf5

path, name, nbytes, mask, guarded = sys.argv[1], sys.argv[2], *map(int, sys.argv[3:])
with h5py.File(path, "r+") as f:
    d = f["d_side"][name]
    assert d.fletcher32
    d.id.write_direct_chunk((0,) * d.ndim, bytes(nbytes) + bytes(4 * guarded), mask)        # zeros: so are their sums
try:
    hdf5.read(path, "d")
except DecodeError as e:
    print("refused:", e)
"""


@pytest.mark.parametrize(("name", "nbytes", "mask", "guarded"), [
    ("chunk_crc32c", 2, 0, 0), ("chunk_crc32c", 8, 0, 1), ("outlier_offset", 2, 0, 0), ("outlier_index", 8, 0, 1), ("outlier_value", 0, 0, 1),
    ("outlier_offset", 8, 1, 0), ("scale", 2, 0, 0), ("scale", 16, 0, 1)])
def test_chunks_too_short_for_libhdf5_are_refused(tmp_path, name, nbytes, mask, guarded):
    x = np.random.default_rng(0).normal(0, 9, (3, 16, 16)).astype(np.float32)
    x[1, 2, 3] = 1e9        # an outlier
    hdf5.write(tmp_path / "a.h5", "d", x, Quantize(k_sigma=1.0, sigma=np.ones((16, 16), np.float32)))
    arguments = (str(tmp_path / "a.h5"), name, *map(str, (nbytes, mask, guarded)))
    done = subprocess.run((sys.executable, "-c", SHORT, *arguments), capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.stdout.startswith("refused:") and name in done.stdout and "bytes" in done.stdout, (done.returncode, done.stdout, done.stderr[-500:])


def test_lists_are_what_h5py_reads(tmp_path):
    rng = np.random.default_rng(1)
    forms = {"sums": {"chunks": (1024,), "fletcher32": True}, "plain": {"chunks": (1000,)}, "contiguous": {},
             "zstd": {"chunks": (4096,), "shuffle": True, **hdf5plugin.Zstd(), "fletcher32": True},
             "deflate": {"chunks": (999,), "shuffle": True, "compression": "gzip", "fletcher32": True}}
    with h5py.File(tmp_path / "a.h5", "w") as f:
        for name, form in forms.items():
            for values in (rng.integers(0, 99, 5000).astype("u4"), rng.normal(size=5000).astype("f8")):
                d = f.create_dataset(f"{name}_{values.dtype}", data=values, **form)
                listed = Listed(d, "it")
                for key in (slice(0, 5000), slice(1000, 1024), slice(1023, 1025), slice(4990, None), slice(7, 7), slice(2048, 4096), slice(5000, 9000)):
                    assert listed[key].dtype == d.dtype and np.array_equal(listed[key], d[key]), (name, key)
                assert listed[4999] == values[4999] and np.array_equal(listed[...], values) and np.array_equal(listed[()], values) and len(listed) == 5000
        plane = f.create_dataset("plane", data=rng.normal(size=(37, 53)).astype("f4"), chunks=(16, 20), fletcher32=True)
        assert np.array_equal(Listed(plane, "it")[()], plane[()])
        with pytest.raises(IndexError, match="entries 5000 of 5000"):
            listed[5000]
        absent = f.create_dataset("absent", (2048,), "u4", chunks=(1024,), fletcher32=True)
        for key in (slice(0, 3), ...):
            with pytest.raises(DecodeError, match=r"not in the file|chunks are wanted"):
                Listed(absent, "it")[key]
        before = f.create_dataset("first", data=np.arange(2048, dtype="u4"), chunks=(1024,), dcpl=_sum_first())
        with pytest.raises(DecodeError, match="not the last of its filters"):
            Listed(before, "it")[0]
        foreign = f.create_dataset("foreign", data=np.arange(2048, dtype="u4"), chunks=(1024,), **hdf5plugin.Blosc2())
        with pytest.raises(DecodeError, match="32026"):
            Listed(foreign, "it")[0]
        swapped = f.create_dataset("swapped", data=np.arange(2048, dtype=">u4"), chunks=(1024,), fletcher32=True)
        with pytest.raises(DecodeError, match="not written here"):
            Listed(swapped, "it")[0]


def _sum_first():
    plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plist.set_fletcher32()
    plist.set_deflate(4)
    return plist


@pytest.mark.parametrize("nbytes", [1, 2, 3, 4, 360, 4097, 131072, 400001])
def test_fletcher_sums_are_those_of_libhdf5(tmp_path, nbytes):
    rng = np.random.default_rng(nbytes)
    with h5py.File(tmp_path / "a.h5", "w") as f:
        for i, values in enumerate((rng.integers(0, 256, nbytes, np.uint8), np.zeros(nbytes, np.uint8), np.full(nbytes, 255, np.uint8))):
            data = bytearray(f.create_dataset(str(i), data=values, chunks=(nbytes,), fletcher32=True).id.read_direct_chunk((0,))[1])
            assert len(data) == nbytes + 4 and fletcher_agrees(bytes(data))
            for at in {0, nbytes // 2, nbytes - 1, nbytes, nbytes + 3}:
                data[at] ^= 4
                assert not fletcher_agrees(bytes(data))
                data[at] ^= 4


def test_datasets_that_cannot_be_read_say_what_to_do(tmp_path):
    x = np.zeros((4, 6, 7), np.uint32)
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as f:
        f.create_dataset("chunked", data=x, chunks=(1, 6, 7), **hdf5plugin.Bitshuffle())
        f.create_dataset("contiguous", data=x)
        layout = h5py.VirtualLayout(x.shape, "u4")
        layout[:] = h5py.VirtualSource(f["chunked"])
        f.create_virtual_dataset("virtual", layout)
        f["away"] = h5py.ExternalLink("/etc/other.h5", "/x")
    for name, words in (("absent", "there is no dataset 'absent' in /; it has away, chunked, contiguous, virtual: name one of these"),
                        ("contiguous", "not chunked: .* hdf5.write"), ("virtual", "virtual: .* read a.h5:/chunked"),
                        ("away", "a link to another file .*open that")):
        for read in (lambda name: hdf5.read(path, name, unchecked=True), lambda name: next(hdf5.chunks(path, name)),
                     lambda name: next(hdf5.batches(path, name, unchecked=True)), lambda name: hdf5.verify(path, name)):
            with pytest.raises(ConfigError, match=words):
                read(name)
