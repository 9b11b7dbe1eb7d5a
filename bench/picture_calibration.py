"""Draw README's second picture: python bench/picture_calibration.py -> bench/results/calibration.png (needs matplotlib, from the extra `test`)."""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

import gpuredux
from gpuredux.calib import Calibrate, CommonMode, assembly
from gpuredux.calib.geometry import Geometry, Panel
from gpuredux.detectors import DETECTORS
from gpuredux.simulate import Simulation

PIXEL, PANELS = 75e-6, 4
TURNS = (1.2, -0.8, 0.6, -1.5)      # degrees, of each panel about its middle


def there() -> Geometry:
    """Panels one above the other, 36 pixels apart, each turned a little."""
    made = []
    for k, turn in enumerate(np.deg2rad(TURNS)):
        fs, ss = np.array([np.cos(turn), np.sin(turn), 0]), np.array([-np.sin(turn), np.cos(turn), 0])
        middle = np.array([512, k * 548 + 256, 0]) * PIXEL + np.array([0, 0, 0.2])
        made.append(Panel(f"p{k}", middle - (512 * fs + 256 * ss) * PIXEL, fs * PIXEL, ss * PIXEL, (512, 1024), segment=k))
    return Geometry(made)


def main() -> None:
    sim = Simulation(shape=(PANELS, 512, 1024), seed=3, background=0.02, ring=1.5, ring_radius=800, ring_width=30)
    raw, _ = sim.frames(0, 1)
    rng = np.random.default_rng(5)
    moved = rng.normal(0, 60, (PANELS, 2, 1, 16, 1)) + rng.normal(0, 12, (PANELS, 2, 256, 16, 1))       # [ADU], of each bank and each of its rows
    first = raw < 1 << 14               # words of gain stage 0
    raw = np.where(first, np.clip(raw + np.rint(np.broadcast_to(moved, (PANELS, 2, 256, 16, 64))).reshape(raw.shape), 0, 16383), raw).astype(np.uint16)
    kind, geometry = DETECTORS["jungfrau4M"].select(range(PANELS)), there()
    arrays = {"pedestal": sim.pedestal, "gain": sim.gain, "good": sim.good}
    mode = CommonMode(bank=(256, 64), steps=("bank", "rows"), exclude_stages=(1, 2), threshold=200.0)
    show, nan = assembly.by_map(geometry, fill=np.nan), float("nan")
    before = Calibrate(kind, arrays, bad_value=nan, divide=[sim.photon_energy], assemble=show)
    after = Calibrate(kind, arrays, bad_value=nan, common_mode=mode, divide=[sim.photon_energy], assemble=show)
    figure, axes = plt.subplots(1, 2, figsize=(9.6, 9.2), dpi=80, layout="constrained")
    for axis, op, title in ((axes[0], before, "pedestal and gain alone"), (axes[1], after, "with common mode of banks and rows")):
        shown = axis.imshow(op(raw).image[0], vmin=-1, vmax=4, cmap="magma", origin="lower")
        axis.set(title=title, xlabel="x [pixels]", ylabel="y [pixels]")
    figure.colorbar(shown, ax=axes, shrink=0.6, label="photons a pixel", location="bottom")
    where = Path(__file__).parent / "results" / "calibration.png"
    about = f"python bench/picture_calibration.py; Simulation(seed=3), frame 0; {after.digest()[:16]}"
    figure.savefig(where, metadata={"Software": f"gpuredux {gpuredux.__version__}, matplotlib {matplotlib.__version__}", "Description": about})
    print(f"{where}: {len(geometry.panels)} panels, {', '.join(after.titles)}")


if __name__ == "__main__":
    main()
