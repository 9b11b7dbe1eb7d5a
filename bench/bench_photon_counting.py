"""Photons of droplets, contrast and multi-tau g2 beside what people run, frames of 512 x 1024, on one thread and on all; with the copy, in turns.

    python bench/bench_photon_counting.py [SECONDS [CSV]]

Rivals run on one thread, as they do: SciPy's label, sums and centres of mass, which are what smalldata_tools' droplet2Photons begins with (no photon is
guessed yet); NumPy's bincount of regions and photons; scikit-beam's multi_tau_auto_corr, where it is installed. What is timed was compared with numpy's
bytes on a part first, g2 with scikit-beam's, too.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from scipy import ndimage

from gpuredux import backends
from gpuredux.bench import host_copy, in_turns, provenance, write_csv
from gpuredux.datasets.cases_photon_counting import sized

SHAPE, FRAMES = (512, 1024), 64
HEAD = ("op", "device", "threads", "frames", "ms_per_frame", "share_of_copy", "rival", "rival_ms_per_frame", "times_the_rival")


def scipy_droplets(op: Any, frames: np.ndarray) -> None:
    """Labels of pixels above the low threshold, the droplets' sums and centres."""
    for frame in frames:
        label, count = ndimage.label(frame > op.threshold_low)
        each = np.arange(1, count + 1)
        ndimage.sum_labels(frame, label, each)
        ndimage.center_of_mass(frame, label, each)


def numpy_contrast(op: Any, frames: np.ndarray) -> None:
    wide, label = op.most + 2, op.rings.label.astype(np.intp)
    for frame in frames:
        np.bincount((label * wide + np.minimum(frame, wide - 1)).ravel(), minlength=(op.rings.count + 1) * wide)


def rivals() -> dict[str, tuple[str, Callable[[Any, np.ndarray], Any] | None]]:
    """Of each op the rival's name, and how it runs on some frames; None where it is not installed."""
    try:
        from skbeam.core.correlation import multi_tau_auto_corr
    except ImportError as e:
        print(f"scikit-beam does not run: {e}")
        correlation = None
    else:
        def correlation(op: Any, frames: np.ndarray) -> Any:
            label = np.where(op.rings.label < op.rings.count, op.rings.label.astype(np.int64) + 1, 0)
            return multi_tau_auto_corr(op.num_levels, op.num_bufs, label, frames)
    return {"features.droplet_photons": ("SciPy: label, sums, centres", scipy_droplets), "features.contrast": ("NumPy: bincount", numpy_contrast),
            "features.correlate": ("scikit-beam", correlation)}


def check(name: str, rival: Any) -> None:
    """Raises ValueError if numba's bytes are not numpy's on a part, or g2 is not scikit-beam's."""
    part = sized(name, (64, 96), 12)
    made = {b: part.op(**part.inputs, backend=b) for b in ("numpy", "numba")}
    if any(a.tobytes() != b.tobytes() for a, b in zip(*made.values(), strict=True)):
        raise ValueError(f"{name}: numba differs from numpy's bytes")
    if name == "features.correlate" and rival is not None:
        want, lags = rival(part.op, part.inputs["energy"])
        got = part.op.g2(made["numba"]._asdict())[: len(lags)]
        if not np.allclose(got, want, rtol=1e-9, equal_nan=True):
            raise ValueError(f"{name}: g2 differs from scikit-beam's by {np.nanmax(np.abs(got - want))}")


def main() -> None:
    seconds, most = float(sys.argv[1]) if len(sys.argv) > 1 else 5.0, numba.config.NUMBA_NUM_THREADS
    about, table = provenance({}), []
    print("\n".join(f"{k}: {v}" for k, v in about.items()), "\t".join(HEAD), sep="\n")
    for name, (who, rival) in rivals().items():
        check(name, rival)
        case, few = sized(name, SHAPE, FRAMES), slice(0, 4 if name != "features.correlate" else FRAMES)
        frames = case.inputs[case.op.of]
        plan = case.op.plan(**case.inputs, backend=backends.NUMBA.name)
        outs = list(plan(**case.inputs))
        for threads in sorted({1, most}):
            numba.set_num_threads(threads)
            copy = host_copy(threads)
            runs = {"op": lambda _, p=plan, c=case, outs=outs: p(**c.inputs, out=outs), "copy": lambda _, copy=copy: copy.run()}
            if rival is not None:
                runs["rival"] = lambda _, rival=rival, c=case, x=frames[few]: rival(c.op, x)
            spent = {k: float(np.median(v)) for k, v in in_turns(runs, seconds).items()}
            ms, theirs = spent["op"] * 1e3 / FRAMES, spent.get("rival", np.nan) * 1e3 / len(frames[few])
            share = case.op.traffic(*plan.specs) / spent["op"] / (copy.nbytes / spent["copy"])
            table.append([name, str(backends.NUMBA.devices()[0]), threads, FRAMES, f"{ms:.4g}", f"{share:.3g}", who, f"{theirs:.4g}", f"{theirs / ms:.3g}"])
            print("\t".join(map(str, table[-1])), flush=True)
    if len(sys.argv) > 2:
        write_csv(sys.argv[2], about, HEAD, table)


if __name__ == "__main__":
    main()
