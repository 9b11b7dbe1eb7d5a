"""Files and streams of others: stock filters through h5py, DECTRIS files and captures, decoded by our operations, against the stock library."""

import json
import re
from pathlib import Path

import h5py
import hdf5plugin
import numpy as np
import pytest
from conftest import NUMPY, ROOT, Target

from gpuredux import DecodeError
from gpuredux.compress import hdf5
from gpuredux.compress.chunk_encoder import Filter
from gpuredux.compress.codecs import Filters
from gpuredux.datasets import real as recorded
from gpuredux.status import Frame

SHAPE, N = (23, 38), 5
STOCK = {
    "nothing": {}, "shuffle + deflate": {"shuffle": True, "compression": "gzip"}, "deflate": {"compression": "gzip", "compression_opts": 9},
    "shuffle": {"shuffle": True}, "zstd": dict(hdf5plugin.Zstd()), "shuffle + zstd": {"shuffle": True, **hdf5plugin.Zstd(clevel=5)},
    "bslz4": dict(hdf5plugin.Bitshuffle()), "bslz4, 64": dict(hdf5plugin.Bitshuffle(nelems=64)), "bszstd": dict(hdf5plugin.Bitshuffle(cname="zstd")),
    "bitshuffle": dict(hdf5plugin.Bitshuffle(cname="none")), "blosc": dict(hdf5plugin.Blosc(cname="lz4", shuffle=2)),
    "lz4": dict(hdf5plugin.LZ4(nbytes=512)), "shuffle + lz4": {"shuffle": True, **hdf5plugin.LZ4()},
}
ZFP = {"accuracy": 0.1, "rate": 12, "precision": 20}


def frames(dtype: str, n: int = N) -> np.ndarray:
    """Counts; the second frame is noise, which some filters leave as it is, and say so in the filter_mask."""
    rng = np.random.default_rng(7)
    x = rng.poisson(1.5, (n, *SHAPE)).astype(dtype)
    x[1] = np.frombuffer(rng.bytes(x[1].nbytes), np.uint8).view(f"u{x.itemsize}").reshape(SHAPE).astype(dtype) if dtype[0] != "f" else x[1]
    return x


@pytest.fixture(scope="module")
def stock(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, np.ndarray]]:
    path, held = str(tmp_path_factory.mktemp("stock") / "a.h5"), {}
    with h5py.File(path, "w") as f:
        for what, filters in STOCK.items():
            for dtype in ("u2", "f4"):
                name, x = f"{what}/{dtype}", frames(dtype)
                d = f.create_dataset(name, x.shape, dtype, chunks=(1, *SHAPE), **filters)
                d[...] = x
                held[name] = x
        x = frames("u2")
        d = f.create_dataset("mixed/u2", data=x, chunks=(1, *SHAPE), shuffle=True, compression="gzip", maxshape=(None, *SHAPE))
        d.resize(N + 2, axis=0)
        d.id.write_direct_chunk((N, 0, 0), x[0].tobytes(), 3)       # past both filters, and past the second
        d.id.write_direct_chunk((N + 1, 0, 0), np.ascontiguousarray(x[2].reshape(-1, 1).view(np.uint8).T).tobytes(), 2)
        held["mixed/u2"] = d[...]
        for mode, value in ZFP.items():
            x = np.random.default_rng(8).normal(0, 3, (3, *SHAPE)).astype(np.float32)
            f.create_dataset(f"zfp/{mode}", data=x, chunks=(1, *SHAPE), **hdf5plugin.Zfp(**{mode: value}))
            held[f"zfp/{mode}"] = f[f"zfp/{mode}"][...]
    return path, held


def test_stock_filters_are_read(stock: tuple[str, dict[str, np.ndarray]]) -> None:
    path, held = stock
    masks = set()
    for name, want in held.items():
        got = hdf5.read(path, name, unchecked=True)
        assert got.dtype == want.dtype and got.tobytes() == want.tobytes(), name
        with pytest.raises(DecodeError, match="has no CRCs"):
            hdf5.read(path, name)
        masks |= {int(m) for batch in hdf5.chunks(path, name) for m in batch.filter_mask}
    assert masks > {0}      # some chunks went past an optional filter


def test_batches_on_every_device(stock: tuple[str, dict[str, np.ndarray]], target: Target) -> None:
    path, held = stock
    for name, want in held.items():
        if target is not NUMPY and name.endswith("f4") and "zstd" in name:
            continue        # kernels for 4 bytes are those of the contract test
        got = []
        for batch in hdf5.chunks(path, name, batch=2, frames=slice(len(want) - 3, None)):
            code, status = batch.decode(target.backend.name, target.device)
            assert not target.get(status).any() and batch.frames == len(batch.size) and batch.first == len(want) - 3 + len(got)
            got.extend(target.get(code))
        assert np.array(got).tobytes() == want[-3:].tobytes(), name


def test_a_batch_names_its_decoder(stock: tuple[str, dict[str, np.ndarray]], tmp_path) -> None:
    path, held = stock
    (batch,) = hdf5.chunks(path, "bszstd/u2", frames=slice(2, None))
    op = batch.decoder()
    assert op.name == "compress.bitshuffle_zstd_decode" and op(batch.payload, batch.size).code.tobytes() == held["bszstd/u2"][2:].tobytes()
    (mixed,) = hdf5.chunks(path, "mixed/u2")
    assert mixed.filter_mask.tolist() == [0] * N + [3, 2]
    with pytest.raises(ValueError, match="more than one operation"):
        mixed.decoder()
    x = np.concatenate([frames("u2"), np.arange(874, dtype=np.uint16).reshape(1, *SHAPE)])
    hdf5.write(tmp_path / "a.h5", "d", x.reshape(3, 2, *SHAPE), "auto", panels=True)
    (batch,) = hdf5.chunks(tmp_path / "a.h5", "d")
    assert batch.decoder().name == "compress.auto_decode" and batch.frames == 3 and len(batch.size) == 6
    code, status = batch.decode()
    assert code.tobytes() == x.tobytes() and not status.any()
    batch.payload[3, 20:60] ^= 0x55
    assert batch.decode()[1][3] == Frame.CORRUPT
    for more, error, match in (({"batch": 0}, ValueError, "1 frame or more"), ({"frames": slice(None, None, 2)}, ValueError, "follow one another"),
                               ({"batch": 2.0}, TypeError, "whole number"), ({"batch": True}, TypeError, "whole number")):
        for function in (hdf5.chunks, hdf5.batches):
            with pytest.raises(error, match=match):
                next(function(path, "nothing/u2", **more))
    assert [b.frames for b in hdf5.chunks(path, "nothing/u2", np.int64(3))] == [3, 2]


# ------------------------------------------------------------------------------------------------------------ DECTRIS
def by_stock(chunk: bytes, shape: tuple[int, ...], dtype: str, filters: dict) -> np.ndarray:
    """What HDF5's plugin makes of these bytes."""
    with h5py.File("wire.h5", "w", driver="core", backing_store=False) as f:
        d = f.create_dataset("d", shape, dtype, chunks=shape, **filters)
        d.id.write_direct_chunk((0,) * len(shape), chunk)
        return d[...]


def by_us(chunk: bytes, shape: tuple[int, ...], dtype: str, filters: tuple[Filter, ...], target: Target) -> np.ndarray:
    how, payload = Filters(filters, shape, np.dtype(dtype).name), np.frombuffer(chunk, np.uint8)[None].copy()
    out = target.backend.empty((1, *shape), np.dtype(dtype), target.device)
    status = how.decode(payload, np.array([len(chunk)], np.uint32), np.zeros(1, np.uint32), out, target.backend, target.device)
    assert not target.get(status).any()
    return target.get(out)[0]


BSLZ4, LZ4 = (Filter(32008, (0, 4, 2, 0, 2)),), (Filter(32004, ()),)
WIRE = {"bslz4": (BSLZ4, dict(hdf5plugin.Bitshuffle())), "lz4": (LZ4, dict(hdf5plugin.LZ4()))}


@pytest.fixture(scope="module")
def captures() -> Path:
    folder = recorded.folder(ROOT)
    if folder is None or not (folder / "stream").is_dir():
        pytest.skip("no captures: set GPUREDUX_DATA to a folder that holds stream/")
    return folder / "stream"


@pytest.mark.parametrize(("name", "dtype", "algorithm"), [("r500k_bm_bslz4_16bit", "u2", "bslz4"), ("r500k_bm_lz4_8bit", "u1", "lz4")])
def test_stream_2_messages(captures: Path, target: Target, name: str, dtype: str, algorithm: str) -> None:
    """Three channels of an image: CBOR's tag 56500 is [algorithm, element size, bytes], and these bytes begin with HDF5's 12."""
    message = (captures / "dectris_stream2" / name / "000001.cbor").read_bytes()
    found = list(re.finditer(rb"\xd9\xdc\xb4\x83[\x60-\x77]" + algorithm.encode() + rb".\x5a(....)", message, re.S))
    assert len(found) == 3
    for at in found:
        chunk = message[at.end() : at.end() + int.from_bytes(at[1], "big")]
        filters, stock = WIRE[algorithm]
        got = by_us(chunk, (514, 1030), dtype, filters, target)
        assert np.array_equal(got, by_stock(chunk, (514, 1030), dtype, stock)) and got.any()


def test_stream_1_messages(captures: Path, target: Target) -> None:
    folder = captures / "eiger_stream1"
    about, chunk = json.loads((folder / "streamfile_11").read_text()), (folder / "streamfile_12").read_bytes()
    assert about["encoding"] == "bs16-lz4<" and len(chunk) == about["size"]
    shape = tuple(about["shape"][::-1])
    assert np.array_equal(by_us(chunk, shape, about["type"], BSLZ4, target), by_stock(chunk, shape, about["type"], WIRE["bslz4"][1]))


@pytest.mark.parametrize("name", ["eiger1_testmode10_2datafiles_4images_bslz4_data_000001", "eiger2_simread7_2datafiles_4images_lz4_data_000001"])
def test_files_of_the_vendor(captures: Path, target: Target, name: str) -> None:
    path = captures / "h5_eiger" / f"{name}.h5"
    with h5py.File(path) as f:
        want = f["entry/data/data"][...]
    assert np.array_equal(hdf5.read(path, "entry/data/data", unchecked=True), want)
    (batch,) = hdf5.chunks(path, "entry/data/data")
    code, status = batch.decode(target.backend.name, target.device)
    assert np.array_equal(target.get(code), want) and not target.get(status).any()


def test_a_frame_of_the_firmware(real, target: Target) -> None:
    """An EIGER2 of 4 megapixels, its message as it came off the wire, and the image that others made of it."""
    image, message = (real("eiger2_16m_roi4m_stream.h5", key) for key in ("data", "stream_message"))
    wire = message.tobytes()
    about = json.loads(re.search(rb'\{"encoding":"bs16-lz4<"[^}]*\}', wire)[0])
    at = wire.index(image.nbytes.to_bytes(8, "big"))
    chunk = wire[at : at + about["size"]]
    assert tuple(about["shape"][::-1]) == image.shape and np.array_equal(by_us(chunk, image.shape, about["type"], BSLZ4, target), image)


def test_payloads_that_were_cut(captures: Path, target: Target) -> None:
    """20000 bytes of 755083 each: CORRUPT, and nothing that was never written."""
    wire, shape = (captures / "dranspose" / "eiger-small.cbors").read_bytes(), (3262, 3108)
    head = (4 * shape[0] * shape[1]).to_bytes(8, "big")
    rows = [wire[at.start() : at.start() + 20000] for at in re.finditer(re.escape(head), wire)]
    payload, size = np.stack([np.frombuffer(row, np.uint8) for row in rows]), np.full(len(rows), 20000, np.uint32)
    how, out = Filters((Filter(32008, (0, 4, 4, 0, 2)),), shape, "uint32"), target.backend.empty((len(rows), *shape), np.dtype("u4"), target.device)
    status = how.decode(payload, size, np.zeros(len(rows), np.uint32), out, target.backend, target.device)
    assert len(rows) > 2 and (target.get(status) == Frame.CORRUPT).all()
