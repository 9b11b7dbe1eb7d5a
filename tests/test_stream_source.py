"""Sources that are damaged or no files, and configurations that no machine can run: one line and an exit code, never a crash or a traceback."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import numpy as np
import pytest
from test_stream_kit import SHAPE, config, file_config, parts, raw_file, run

from gpuredux.stream.faults import ConfigError
from gpuredux.stream.session import prepare

CLI = [sys.executable, "-m", "gpuredux.stream.cli"]


def words(n: int) -> np.ndarray:
    return np.random.default_rng(7).poisson(40, (n, *SHAPE)).astype(np.uint16)


def packed(path: Path, raw: np.ndarray, chunks: Any = (1, *SHAPE), **options: Any) -> Path:
    return raw_file(path, raw, chunks=chunks, **hdf5plugin.Bitshuffle(), **options)


def stored(folder: Path) -> dict[int, np.ndarray]:
    found: dict[int, np.ndarray] = {}
    for part in parts(folder):
        with h5py.File(part, "r") as f:
            found.update(zip(f["entry/data/pulse_id"][...].tolist(), f["entry/data/data"][...], strict=True))
    return found


def places(path: Path) -> list[tuple[int, int]]:
    """Address and size of each chunk."""
    with h5py.File(path, "r") as f:
        infos = [f["raw"].id.get_chunk_info(i) for i in range(f["raw"].id.get_num_chunks())]
    return [(i.byte_offset, i.size) for i in sorted(infos, key=lambda i: i.chunk_offset)]


@pytest.mark.parametrize("chunk", [(1, 64, 128), (1, 20, 128), (3, 64, 128), (4, 50, 100), (30, 64, 128)])
def test_chunks_of_any_shape(tmp_path: Path, chunk: tuple[int, ...]) -> None:
    raw = words(21)
    assert run(file_config(tmp_path, packed(tmp_path / "a.h5", raw, chunk, maxshape=(None, *SHAPE))))["exit"] == 0
    got = stored(tmp_path / "out")
    assert len(got) == 21 and all(np.array_equal(got[i], raw[i]) for i in range(21))


def test_chunks_absent_and_past_the_filter(tmp_path: Path) -> None:
    """A frame without a chunk is corrupt, not zeros; a chunk stored as it is is read as it is, if it has the size."""
    raw = words(6)
    with h5py.File(tmp_path / "a.h5", "w") as f:
        data = f.create_dataset("raw", raw.shape, np.uint16, chunks=(1, *SHAPE), **hdf5plugin.Bitshuffle())
        data[:3] = raw[:3]
        data.id.write_direct_chunk((4, 0, 0), raw[4].tobytes(), 1)
        data.id.write_direct_chunk((5, 0, 0), raw[5].tobytes()[:-2], 1)
    summary = run(file_config(tmp_path, tmp_path / "a.h5"))
    assert summary["exit"] == 3 and summary["reason"] == "frames lost: 2 corrupt"
    got = stored(tmp_path / "out")
    assert sorted(got) == [0, 1, 2, 4] and all(np.array_equal(got[i], raw[i]) for i in got)


@pytest.mark.parametrize("seed", range(3))
def test_bits_flipped_in_chunks(tmp_path: Path, seed: int) -> None:
    """In a process of its own: it lives, the frames whose framing broke are corrupt, the frames that were left alone are what they were."""
    rng, raw = np.random.default_rng(seed), words(40)
    path = packed(tmp_path / "a.h5", raw)
    where, data = places(path), bytearray(path.read_bytes())
    hit, sure = set(range(0, 40, 2)), {0, 2, 4}
    for i in hit:
        address, size = where[i]
        at = {0: 0, 2: 9, 4: 12}.get(i, int(rng.integers(size)))       # raw size, block size, a block's length; anywhere
        data[address + at] ^= 1 << int(rng.integers(8))
    path.write_bytes(data)
    done = subprocess.run([*CLI, "run", str(file_config(tmp_path, path))], capture_output=True, text=True, timeout=300)
    assert done.returncode == 3 and "corrupt" in done.stderr and "Traceback" not in done.stderr, done.stderr
    got = stored(tmp_path / "out")
    assert not sure & got.keys() and set(range(40)) - hit <= got.keys()
    assert all(np.array_equal(got[i], raw[i]) for i in range(1, 40, 2))


def refused(path: Path) -> str:
    with pytest.raises(ConfigError) as e:
        prepare(path)
    (line,) = e.value.lines
    return line


def test_a_folder_is_no_source_file(tmp_path: Path) -> None:
    path = file_config(tmp_path, raw_file(tmp_path / "a.h5", words(2)))
    (tmp_path / "a.h5").unlink()
    (tmp_path / "a.h5").mkdir()
    assert refused(path) == f"{path}:7: source.files[0]: a.h5: is a folder; name the HDF5 files"
    path.write_text(path.read_text().replace("a.h5", "x" * 300))
    assert "source.files[0]" in refused(path) and "File name too long" in refused(path)


@pytest.mark.parametrize(("key", "value", "words"), [
    ("batch", "100000000", "run.batch: must be at most 65536, got 100000000 (int)"),
    ("batch", "9" * 23, f"run.batch: must be at most 65536, got {'9' * 23} (int)"),
    ("slots", "5000", "run.slots: must be at most 1024, got 5000 (int)"),
    ("shape", "[6400000, 12800000]", "run.batch: 16 frames of (6400000, 12800000) in each of 3 slots need 7864320000000000 bytes for the raw words"),
    ("path", '""', "sink.path: must not be empty"),
    ("path", r'"a\0b"', r"sink.path: "),
    ("path", "x" * 300, "cannot be used: File name too long"),
    ("path", "/dev/null/x", "sink.path: /dev/null is not a folder"),
    ("path", "/proc/gpuredux-xx", "sink.path: "),
    ("path", "run.yaml/deep/er", "run.yaml is not a folder"),
])
def test_what_cannot_be_run_is_a_line(tmp_path: Path, key: str, value: str, words: str) -> None:
    assert words in refused(config(tmp_path, **{key: value}))
    assert [p.name for p in tmp_path.iterdir()] == ["run.yaml"]


def test_demo_on_a_full_disk(tmp_path: Path) -> None:
    """A limit on the size of a file stands for the full disk."""
    limited = "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (100000, 100000)); " \
              f"from gpuredux.stream.cli import main; sys.argv = ['gpuredux-stream', 'demo', '--output', {str(tmp_path / 'demo')!r}]; main()"
    done = subprocess.run([sys.executable, "-c", limited], capture_output=True, text=True, timeout=300)
    assert done.returncode == 4 and done.stderr.strip() == f"gpuredux-stream: {tmp_path / 'demo'}: File too large"
