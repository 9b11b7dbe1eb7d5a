"""Speed and ratio of the encoders on a GPU, in one run with the same bytes beside NVIDIA's nvCOMP (nvidia-nvcomp-cu12 or -cu13 of PyPI).

    python bench/bench_nvcomp.py FOLDER [SECONDS [CSV [BACKEND [MEGABYTES [NAME ...]]]]]

FOLDER: the recorded frames (datasets/README.md), of each dataset its frames repeated up to MEGABYTES (512); NAME: only datasets whose name holds it. BACKEND:
cupy; or opencl, to try the script without a GPU: then nvCOMP is not run, and the speeds say how a CPU runs GPU code.

Ours, each one plan for all frames, buffers on the device, packed bytes, no transfer: LZ4 (bitshuffle + LZ4), S (shuffle + zstd), B (bitshuffle + zstd), Auto
(the smaller of these); of float32 frames quantise + LZ4 in one chain, within one sigma of their noise, by the median of what pixels deviate. nvCOMP's: LZ4
after its own bit shuffle, and Zstd, Bitcomp, ANS and Cascaded of the raw words, all frames one buffer in its own chunks of 64 KiB, into memory that is there,
configured once.
GB/s are raw bytes, of medians of turns that all take; eight runs are queued a turn on CUDA. Whatever is timed was decoded first, and compared.
Asked for on a CUDA GPU: 300 GB/s of uint16 for LZ4, 150 for S, B and Auto, 400 of float32 for quantise + LZ4.
"""

from __future__ import annotations

import runpy
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from gpuredux import Chain, backends
from gpuredux.bench import device_copy, in_turns, provenance, write_csv
from gpuredux.compress import Auto, BitshuffleLZ4, BitshuffleZstd, Pack, Quantize, ShuffleZstd, verify

OURS = {"LZ4": BitshuffleLZ4, "S": ShuffleZstd, "B": BitshuffleZstd, "Auto": Auto}
ASKED = {"LZ4": 300, "S": 150, "B": 150, "Auto": 150, "quantise + LZ4": 400}
HEAD = ("dataset", "dtype", "frames", "bytes", "codec", "ratio", "gb_per_s", "share_of_copy", "asked_gb_per_s")
Timed = dict[str, tuple[float, Callable[[int], Any]]]      # by codec: ratio, and a run


def decoded_alike(op: Any, out: Any, code: np.ndarray) -> None:
    """Raises if chunks do not decode to code."""
    host = {k: np.asarray(v) for k, v in out.items()}
    shape, dtype = code.shape[1:], code.dtype.name
    decoder = op.decoder()(shape, dtype) if isinstance(op, Auto) else type(op)(shape, dtype).inverse()
    if not verify(code, {k: v for k, v in host.items() if k in decoder.input_names}, decoder).holds:
        raise ValueError(f"{op.name}: a chunk does not decode to its frame")


def ours(x: np.ndarray, backend: Any, device: Any, repeats: int) -> Timed:
    """Plans for all frames, each checked with the recorded ones."""
    made, there = {}, backend.put(np.concatenate([x] * repeats), device)
    shape = x.shape[1:]
    chains: dict[str, tuple[Any, ...]] = {k: (op(shape, x.dtype.name),) for k, op in OURS.items()} if x.dtype.kind in "ui" else {}
    if x.dtype == np.float32:
        spread = np.abs(x - np.nanmedian(x))
        chains["quantise + LZ4"] = (Quantize(abs=1.4826 * float(np.nanmedian(spread))), BitshuffleLZ4(shape, "int16"))
    for name, ops in chains.items():
        first = {}
        for op in ops:
            out = op(first.get("code", x), backend="numba")
            first |= out._asdict()
        decoded_alike(ops[-1], {k: first[k] for k in ("payload", "size", "filter_mask") if k in first}, first["code"] if len(ops) > 1 else x)
        chain = Chain((*ops, Pack()), keep=("packed", "offset", "size"))
        plan = chain.plan(there, backend=backend.name)
        out = plan(there)
        packed, offset, sizes = (np.asarray(backend.get(k)) for k in (out.packed, out.offset, out.size))
        for k in range(len(sizes)):
            row, count = k % len(x), int(sizes[k])
            if count != first["size"][row] or packed[int(offset[k]) :][:count].tobytes() != first["payload"][row, :count].tobytes():
                raise ValueError(f"{name}: other bytes on {backend.name} than by numba")
        size = int(sizes.sum(dtype=np.uint64))
        made[name] = repeats * x.nbytes / size, queued(lambda plan=plan, out=out: plan(there, out=out), backend, device)
    return made


def queued(run: Callable[[], Any], backend: Any, device: Any) -> Callable[[int], Any]:
    def turn(_: int) -> None:
        for _ in range(8 if backend.name == "cupy" else 1):
            run()
        backend.wait(device)

    return turn


def nvcomp(x: np.ndarray, backend: Any, device: Any, repeats: int) -> Timed:
    """Its codecs for the same bytes. Raises if they do not decode to x."""
    import cupy
    from nvidia import nvcomp as nv

    there, made = cupy.asarray(np.concatenate([x] * repeats)).reshape(-1), {}
    stream = cupy.cuda.get_current_stream().ptr
    word = {1: "|u1", 2: "<u2", 4: "<u4"}[x.itemsize]
    kinds = {"LZ4": {"data_type": word, "bitshuffle_mode": nv.BitshuffleMode.NVCOMP_BITSHUFFLE_LSB_FIRST}, "Zstd": {}, "Bitcomp": {"data_type": word},
             "ANS": {}, "Cascaded": {"data_type": word}}
    source = nv.as_array(there.view(word))
    for name, options in kinds.items():
        codec = nv.Codec(algorithm=name, cuda_stream=stream, **options)
        chunk = codec.encode(source)
        if not (cupy.asarray(codec.decode(chunk, data_type=word)).view(np.uint8) == there.view(np.uint8)).all():
            raise ValueError(f"nvCOMP {name}: does not decode to the frames")
        size, setting = chunk.buffer_size, codec.compression_config(source)
        made[f"nvCOMP {name}"] = there.nbytes / size, queued(
            lambda codec=codec, chunk=chunk, setting=setting: codec.encode(source, out=chunk, compression_config=setting), backend, device)
    return made


def frames_of(folder: Path, names: list[str]) -> Iterator[tuple[str, np.ndarray]]:
    recorded = runpy.run_path(str(Path(__file__).parent / "bench_zstd.py"))["recorded_frames"]
    for name, x in recorded(folder):
        if x.itemsize <= 4 and (not names or any(k in name for k in names)):
            yield name, x


def main() -> None:
    folder, seconds = Path(sys.argv[1]), float(sys.argv[2]) if len(sys.argv) > 2 else 1.0
    backend = backends.get(sys.argv[4] if len(sys.argv) > 4 else "cupy")
    device = backend.devices()[0]
    most = int(float(sys.argv[5]) * 2**20) if len(sys.argv) > 5 else 1 << 29
    copy = device_copy(backend, device)
    rival = backend.name == "cupy" and find_spec("nvidia") is not None and find_spec("nvidia.nvcomp") is not None
    about = {**provenance({device: copy}), "nvcomp": import_module("nvidia.nvcomp").__version__ if rival else "not run"}
    print("\n".join(f"{k}: {v}" for k, v in about.items()))
    if backend.name == "cupy" and not rival:
        print("nvCOMP is not installed: pip install nvidia-nvcomp-cu12 (or -cu13)")
    table = []
    for name, x in frames_of(folder, sys.argv[6:]):
        repeats = max(most // x.nbytes, 1)
        runs = {**ours(x, backend, device, repeats), **(nvcomp(x, backend, device, repeats) if rival else {})}
        times = in_turns({"copy": queued(copy.run, backend, device), **{k: run for k, (_, run) in runs.items()}}, seconds)
        each = 8 if backend.name == "cupy" else 1
        copied = copy.nbytes * each / float(np.median(times["copy"])) / 1e9
        for codec, (ratio, _) in runs.items():
            rate = repeats * x.nbytes * each / float(np.median(times[codec])) / 1e9
            asked = ASKED.get(codec, "") if x.dtype in (np.uint16, np.float32) else ""
            table.append([name, x.dtype, repeats * len(x), repeats * x.nbytes, codec, f"{ratio:.4g}", f"{rate:.4g}", f"{rate / copied:.3g}", asked])
            print(f"{name:42}{x.dtype!s:8} {codec:16} ratio {ratio:8.2f} {rate:8.2f} GB/s, {rate / copied:6.3f} of copy  {asked and f'asked: {asked}'}",
                  flush=True)
    if len(sys.argv) > 3 and sys.argv[3]:
        write_csv(sys.argv[3], about, HEAD, table)


if __name__ == "__main__":
    main()
