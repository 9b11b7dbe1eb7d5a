"""Draw README's picture: python bench/picture.py -> bench/results/frame.png (needs matplotlib, from the extra `test`)."""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

import gpuredux
from gpuredux.compress import Quantize
from gpuredux.simulate import Simulation

ABS = 0.25      # keV


def main() -> None:
    sim = Simulation(shape=(512, 1024), seed=1)
    raw, truth = sim.frames(0, 16)
    hit = int(np.flatnonzero(truth.hit)[0])
    gain = gpuredux.calib.Gain(sim.pedestal, sim.gain, good=sim.good, invalid="mask", bad_value=float("nan"))
    energy = gain(raw)
    quantize = Quantize(abs=ABS)
    coded = quantize(energy)
    back = quantize.inverse()(coded.code, coded.outlier_index, coded.outlier_value, coded.outlier_count)
    panels = [
        (raw[hit], "before: raw words [ADU and gain bits]", {"vmin": 2000, "vmax": 6000}),
        (back[hit], f"after: energy read back from the file's codes [keV], every error at most {ABS}", {"vmin": 0, "vmax": 30}),
    ]
    figure, axes = plt.subplots(3, 1, figsize=(7.6, 9.6), dpi=100, layout="constrained", height_ratios=(4, 4, 1.3))
    for axis, (image, title, look) in zip(axes[:2], panels, strict=True):
        shown = axis.imshow(image, interpolation="nearest", cmap="viridis", **look)
        axis.set(title=title, xlabel="column", ylabel="row")
        figure.colorbar(shown, ax=axis, shrink=0.9)
    axes[2].hist((back - energy)[hit][np.isfinite(energy[hit])], bins=101, range=(-1.2 * ABS, 1.2 * ABS), color="tab:blue")
    for edge in (-ABS, ABS):
        axes[2].axvline(edge, color="tab:red")
    axes[2].set(title="the error made [keV] and its bound", yticks=[])
    where = Path(__file__).parent / "results" / "frame.png"
    about = f"python bench/picture.py; Simulation(shape=(512, 1024), seed=1), frame {hit}; calib.gain {gain.digest()[:16]}, Quantize(abs={ABS}); numba"
    figure.savefig(where, metadata={"Software": f"gpuredux {gpuredux.__version__}, matplotlib {matplotlib.__version__}", "Description": about})
    print(f"{where}: frame {hit}, largest error {np.nanmax(np.abs(back - energy)):.6f} keV of {ABS}")


if __name__ == "__main__":
    main()
