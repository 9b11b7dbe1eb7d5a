"""Lossless preconditioning: against plain loops, PNG, stock readers. Over 200 lines: what it makes, what it refuses, what files hold of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import hdf5plugin  # noqa: F401  registers the filters
import numpy as np
import pytest

from gpuredux.compress import Precondition, find_gaps, hdf5
from gpuredux.op import DecodeError
from gpuredux.status import Frame


def counts(n: int = 7, frame: tuple[int, ...] = (40, 24)) -> tuple[np.ndarray, np.ndarray]:
    """Counts of a PILATUS with a few strong pixels, and where its gaps are."""
    rng = np.random.default_rng(5)
    x = rng.poisson(0.8, (n, *frame)).astype(np.int32)
    x[:, 3, 3], x[2, 7, :5] = 300, 70000
    gap = np.zeros(frame, bool)
    gap[:, 8:11] = True
    x[:, gap] = -1
    x[:, 20, 20] = -2
    return x, gap


def of_counts(x: np.ndarray, **fields: Any) -> Precondition:
    gaps, values = find_gaps(x)
    return Precondition(x.dtype.name, gaps=gaps, gap_values=values, **fields)


def test_gaps_are_the_pixels_that_always_hold_one_invalid_value() -> None:
    x, gap = counts()
    x[0, 5, 5] = -1
    gaps, values = find_gaps(x)
    assert values == (-1, -2) and np.array_equal(gaps == 1, gap) and np.argwhere(gaps == 2).tolist() == [[20, 20]]
    assert find_gaps(np.full((1, 2, 2), 65535, np.uint16))[1] == (65535,)
    assert find_gaps(x, invalid=[300])[1] == (300,)
    nothing, none = find_gaps(np.zeros((2, 3, 3), np.uint16))
    assert none == () and not nothing.any()
    with pytest.raises(TypeError, match=r"^find_gaps: frames must be integers"):
        find_gaps(np.zeros((2, 3, 3)))


def test_counts_by_hand() -> None:
    x = np.array([[[0, 254, 255, -1, 7, 1 << 20]]], np.int32)
    op = Precondition("int32", "uint8", gaps=np.array([[0, 0, 0, 1, 1, 0]], bool), gap_values=-1, capacity=3)
    out = op(x)
    assert out.code.tolist() == [[[0, 254, 255, 0, 255, 255]]]
    assert out.outlier_index[0].tolist() == [2, 4, 5] and out.outlier_value[0].tolist() == [255, 7, 1 << 20] and out.outlier_count.tolist() == [3]
    assert np.array_equal(op.inverse()(*out), x)


def test_left_up_is_the_average_filter_of_png() -> None:
    """Of bytes, behind the first row and column: PNG's filter 3 subtracts floor((left + up) / 2) modulo 256."""
    x = np.random.default_rng(3).integers(0, 256, (1, 9, 11), dtype=np.uint8)
    z = Precondition("uint8", predictor="left_up")(x).code[0].astype(int)
    difference = np.where(z % 2, -(z + 1) // 2, z // 2)
    rows = x[0].astype(int)
    for r in range(1, 9):
        for c in range(1, 11):
            assert (rows[r, c] - (rows[r, c - 1] + rows[r - 1, c]) // 2 - difference[r, c]) % 256 == 0
    assert not ((rows[0, 1:] - rows[0, :-1] - difference[0, 1:]) % 256).any()


def test_signed_averages_are_of_values() -> None:
    x = np.array([[[-3, 2], [5, -32768]]], np.int16)
    z = Precondition("int16", predictor="left_up")(x).code[0]
    meant = [-3, 2 + 3, 5 + 3, (-32768 - (2 + 5) // 2) % 65536]
    assert z.reshape(-1).tolist() == [2 * d if d >= 0 else -2 * d - 1 for d in (d - 65536 * (d > 32767) for d in meant)]


def test_every_so_many_frames_one_is_plain() -> None:
    x = np.random.default_rng(1).integers(0, 1000, (7, 3, 5), dtype=np.uint16)
    op = Precondition("uint16", predictor="previous", every=3)
    code = op(x).code
    assert all(np.array_equal(code[f], x[f]) for f in (0, 3, 6)) and not np.array_equal(code[1], x[1])
    lists = (np.zeros((2, 1), np.uint32), np.zeros((2, 1), np.uint32), np.zeros(2, np.uint32))
    assert np.array_equal(op.inverse()(code[4:6], *lists, previous=x[3:4]), x[4:6])


def test_an_overflow_is_said_of_all_that_builds_on_it() -> None:
    x = np.zeros((10, 4, 4), np.int32)
    x[6, 0, :3] = 4000
    op = Precondition("int32", "uint8", "previous", every=5, capacity=2)
    out = op(x, frame_status=np.zeros(10, np.uint32))
    assert out.outlier_count.tolist() == [0] * 6 + [3, 3, 0, 0]     # back to 0 is a difference, too
    for made in (out.frame_status, op.inverse()(*out[:4], frame_status=np.zeros(10, np.uint32)).frame_status):
        assert set(made.tolist()) == {0, int(Frame.OUTLIER_OVERFLOW)}
    assert np.flatnonzero(made).tolist() == [6, 7, 8, 9]


REFUSED: tuple[tuple[dict[str, Any], str], ...] = (
    ({"dtype": "float32"}, "dtype must be"),
    ({"dtype": "uint16", "code": "int32"}, "code must be"),
    ({"dtype": "uint16", "code": "int8", "predictor": "previous"}, "code must be"),
    ({"dtype": "uint16", "predictor": "next"}, "predictor must be"),
    ({"dtype": "uint16", "predictor": "pedestal"}, "pedestal belongs to"),
    ({"dtype": "uint16", "pedestal": np.zeros((2, 2), int)}, "pedestal belongs to"),
    ({"dtype": "uint16", "predictor": "pedestal", "pedestal": np.full((2, 2), -1)}, "pedestal must be integers"),
    ({"dtype": "uint16", "predictor": "pedestal", "pedestal": np.zeros((2, 2))}, "pedestal must be integers"),
    ({"dtype": "uint16", "gaps": np.ones((2, 2), bool)}, "gaps and gap_values belong"),
    ({"dtype": "uint16", "gap_values": (1,)}, "gaps and gap_values belong"),
    ({"dtype": "uint16", "gaps": np.ones((2, 2), bool), "gap_values": (-1,)}, "gap_values must be"),
    ({"dtype": "uint16", "gaps": np.full((2, 2), 2, np.uint8), "gap_values": (1,)}, "gaps must be"),
    ({"dtype": "uint16", "every": 0}, "every must be"),
    ({"dtype": "uint16", "capacity": 0}, "capacity must be"),
)


@pytest.mark.parametrize(("fields", "words"), REFUSED, ids=lambda x: x if isinstance(x, str) else "")
def test_what_is_refused(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=rf"^compress.precondition: {words}"):
        Precondition(**fields)


def test_a_frame_before_is_for_differences() -> None:
    op = Precondition("uint16", predictor="previous", every=2).inverse()
    lists = (np.zeros((3, 1), np.uint32), np.zeros((3, 1), np.uint32), np.zeros(3, np.uint32))
    with pytest.raises(ValueError, match=r"^compress.restore: previous goes with predictor='previous' and at most every=2 frames"):
        op.plan(np.zeros((3, 2, 2), np.uint16), *lists, previous=np.zeros((1, 2, 2), np.uint16))


# -------------------------------------------------------------------------------------------------------------- files
def test_stock_readers_see_counts(tmp_path: Path) -> None:
    x, _ = counts()
    hdf5.write(tmp_path / "a.h5", "entry/data/data", x, of_counts(x, code="uint8"), encoder="auto")
    with h5py.File(tmp_path / "a.h5") as f:
        data, side = f["entry/data/data"], f["entry/data/data_side"]
        assert data.dtype == np.uint8 and data.attrs["saturation_value"] == 255 and "warning" not in data.attrs
        assert np.array_equal(data[:], np.where(x < 0, 0, np.minimum(x, 255)))
        assert np.array_equal(side["pixel_mask"][:] == 1, x[0] < 0) and np.array_equal(side["gap_value"][:], np.minimum(x[0], 0))
    assert np.array_equal(hdf5.read(tmp_path / "a.h5", "entry/data/data"), x)
    assert hdf5.verify(tmp_path / "a.h5", "entry/data/data").problems == ()


@pytest.mark.parametrize("fields", [{"predictor": "previous", "every": 3}, {"predictor": "left_up", "code": "uint16"},
                                    {"predictor": "previous", "every": 4, "code": "uint8", "capacity": 4}], ids=str)
def test_frames_come_back_in_any_order(tmp_path: Path, fields: dict[str, Any]) -> None:
    """The last of them overflows in frames 2 and, as a difference, 3: they are stored losslessly, and others build on them."""
    x, _ = counts(11)
    op = of_counts(x, **fields)
    with hdf5.Writer(tmp_path / "a.h5", "data", x.shape[1:], op, encoder="shuffle_zstd") as writer:
        writer.append(x[:6])
        writer.append(x[6:])
    overflowed = int((op(x[:6]).outlier_count > op.capacity).sum() + (op(x[6:]).outlier_count > op.capacity).sum())
    assert writer.lossless_frames == overflowed and (overflowed > 0) == ("capacity" in fields)
    assert np.array_equal(hdf5.read(tmp_path / "a.h5", "data"), x)
    for chosen in (5, [9, 3, 3, 7], slice(8, None, 2), slice(0, 0)):
        assert np.array_equal(hdf5.read(tmp_path / "a.h5", "data", chosen), x[chosen])
    report = hdf5.verify(tmp_path / "a.h5", "data")
    assert report.problems == () and report.frames == 11 and report.lossless_frames == overflowed
    with h5py.File(tmp_path / "a.h5") as f:
        assert "differences" in f["data"].attrs["warning"]
        if op.predictor == "previous":
            assert f["data_side/key_frame"][:].tolist() == [*range(0, 6, op.every), *range(6, 11, op.every)]


def test_a_pedestal_and_panels(tmp_path: Path) -> None:
    rng = np.random.default_rng(8)
    pedestal = rng.integers(3000, 3100, (2, 16, 24)).astype(np.uint16)
    x = (pedestal + rng.normal(0, 4, (3, 2, 16, 24))).astype(np.uint16)
    hdf5.write(tmp_path / "a.h5", "data", x, Precondition("uint16", "uint8", "pedestal", pedestal=pedestal), panels=True)
    assert np.array_equal(hdf5.read(tmp_path / "a.h5", "data"), x)


def damaged(path: Path, change: Any) -> None:
    with h5py.File(path, "r+") as f:
        change(f)


DAMAGES: dict[str, Any] = {
    "predictor": lambda f: f["data"].attrs.modify("predictor", np.uint8(9)), "no predictor": lambda f: f["data"].attrs.pop("predictor"),
    "a text": lambda f: f["data"].attrs.__setitem__("predictor", "x"), "half": lambda f: f["data"].attrs.__setitem__("predictor", np.float32(2.5)),
    "three layouts": lambda f: f["data"].attrs.__setitem__("gpuredux_layout", np.arange(3)),
    "saturation_value": lambda f: f["data"].attrs.modify("saturation_value", np.uint32(7)), "no mask": lambda f: f.pop("data_side/pixel_mask"),
    "layout": lambda f: f["data"].attrs.modify("gpuredux_layout", 1), "no keys": lambda f: f.pop("data_side/key_frame"),
    "keys": lambda f: f["data_side/key_frame"].write_direct(np.array([3, 0], np.uint64)),
    "an exception of a pixel whose code says nothing": lambda f: f["data_side/outlier_index"].write_direct(np.array([5], np.uint32)),
}


@pytest.mark.parametrize("what", DAMAGES)
def test_a_file_that_says_something_else(tmp_path: Path, what: str) -> None:
    x, _ = counts(4)
    op = of_counts(x, predictor="previous", every=3)
    x[1, 30, 9] = 5     # in a gap
    hdf5.write(tmp_path / "a.h5", "data", x, op)
    damaged(tmp_path / "a.h5", DAMAGES[what])
    with pytest.raises((DecodeError, ValueError), match="data"):
        hdf5.read(tmp_path / "a.h5", "data")


def test_what_files_refuse(tmp_path: Path) -> None:
    x, _ = counts()
    with pytest.raises(ValueError, match=r"Precondition.gaps must be \(3, 3\)"):
        hdf5.Writer(tmp_path / "a.h5", "data", (3, 3), of_counts(x))
    with hdf5.Writer(tmp_path / "b.h5", "data", x.shape[1:], of_counts(x)) as writer:
        with pytest.raises(TypeError, match="frames must be int32"):
            writer.append(x.astype(np.uint32))
        with pytest.raises(TypeError, match="pixel_status has no place"):
            writer.append(x, np.zeros(x.shape, np.uint8))
