"""Chains whose kernels end with the ops that follow: which pass each is in; and that the bytes are those of the ops one by one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from conftest import Target
from test_fusing import CM, CURVE, EVEN, JUNGFRAU, MARKS, NOISE, ODD, G, Line, P, check, planes, source

from gpuredux import Chain, Op
from gpuredux.calib import Assemble, AssembleSplit, AssembleTiles, CommonMode, Gain, Photons, Scale
from gpuredux.datasets.case import seeded

NARROW = (2, 10, 28)        # rows of whole groups of 8 pixels, and banks that are none
PH, AS, SC = "calib.photons", "calib.assemble", "calib.scale"


def place(frame: tuple[int, ...], status: bool = True, fill: float = np.nan) -> Assemble:
    """Gaps, pixels that no image has, and such as are seen up to four times."""
    npix = int(np.prod(frame))
    source = seeded(f"place {frame}").choice(np.append(np.arange(-1, npix // 2), np.full(npix // 4, -1)), (13, npix // 9))
    return Assemble(frame=frame, source=source, status=status, fill=fill)


def tiles(frame: tuple[int, ...]) -> AssembleTiles:
    """Panels side by side, the first one turned by half."""
    panels, rows, cols = frame
    width = panels * (cols + 3)
    at = [(t * (cols + 3), width, 1) for t in range(panels)]
    at[0] = ((rows - 1) * width + cols - 1, -width, -1)
    return AssembleTiles(frame=frame, tile=(rows, cols), image=(rows, width), place=np.array(at))


def of_photons() -> dict[str, Line]:
    gain, words = source(JUNGFRAU, EVEN, rows=3)
    small, few = source(JUNGFRAU, ODD, 18, rows=17)
    count, bytes_ = Photons(9.5, status=True), Photons(0.4, dtype="uint8", status=True)
    return {
        "an image of photons": Line([gain, count, place(EVEN).photons()], words, ("image", "image_status", "frame_status"), [f"{G} + {PH} + {AS}"]),
        "and the photons": Line([small, bytes_, place(ODD, fill=0).photons()], few, ("image", "image_status", "photons", "pixel_status"),
                                [f"{G} + {PH} + {AS}"]),
        "by tiles, of float32": Line([gain, Photons(9.5, dtype="float32", status=True), tiles(EVEN).photons()], words, ("image", "frame_status"),
                                     [f"{G} + {PH} + {AS}"]),
        "marks that are not the image's": Line([gain, Photons(9.5), place(EVEN).photons()], words, ("image", "image_status", "pixel_status"),
                                               [f"{G} + {PH}", AS]),
    }


def of_common_mode() -> dict[str, Line]:
    """What comes behind a bank, of pixels one by one, or in groups that reach into its neighbours, and where the output is the workspace."""
    gain, words = source(JUNGFRAU, EVEN, rows=3)
    small, few = source(JUNGFRAU, ODD, 18, rows=17)
    large, most = source(JUNGFRAU, (512, 256), 2)
    bank = CommonMode((8, 24), ("rows",), npix_min=3, exclude_stages=(1,), statistic="mean_below", report=True)      # quickly compiled
    odd, huge = CommonMode((5, 7), ("rows",), npix_min=3, statistic="mean_below"), CommonMode((512, 128), ("bank",), statistic="mean_below")
    count, flat, image = Photons(9.5, status=True), Scale(planes(EVEN)), place(EVEN)
    clear, clean = source(JUNGFRAU, EVEN)
    clean = clean | {"raw": clean["raw"] & np.uint16(0x3FFF)}       # no word that is a status by itself
    narrow, some = source(JUNGFRAU, NARROW, 3)
    few_held, signed = Photons(0.1, dtype="uint8", status=True), Photons(1e-9, dtype="int32", status=True)
    energy = {"energy": seeded("given").normal(0, 40, (3, *ODD)).astype(np.float32)}
    return {
        "photons": Line([gain, bank, count], words, ("photons", "pixel_status", "common_mode", "frame_status"), [f"{G} + {CM} + {PH}"]),
        "photons and energy": Line([small, odd, count], few, ("photons", "energy", *MARKS[:1]), [f"{G} + {CM} + {PH}"]),
        "an image": Line([gain, bank, image], words, ("image", "image_status", "frame_status"), [f"{G} + {CM} + {AS}"]),
        "an image by tiles": Line([gain, bank, tiles(EVEN)], words, ("image", *MARKS), [f"{G} + {CM} + calib.assemble_tiles"]),
        "an image of odd banks": Line([small, odd, place(ODD)], few, ("image", "image_status", "energy"), [f"{G} + {CM} + {AS}"]),
        "a bank too large for SHARED": Line([large, huge, place((512, 256))], most, ("image", "pixel_status"), [f"{G} + {CM} + {AS}"]),
        "gains and a flat field": Line([gain, CommonMode((8, 24), ("cols",), gain=planes(EVEN)), flat, image], words, ("image", "energy"),
                                       [f"{G} + {CM} + {SC} + {AS}"]),
        "all of it": Line([gain, bank, flat, count, image.photons()], words, ("image", "image_status", "photons", "pixel_status", "frame_status"),
                          [f"{G} + {CM} + {SC} + {PH} + {AS}"]),
        "two of one value": Line([gain, bank, image, count], words, ("image", "image_status", "photons", "frame_status"), [f"{G} + {CM} + {AS} + {PH}"]),
        "a curve before, a variance behind": Line([gain, CURVE, bank, NOISE], words, ("energy", "variance", *MARKS), [f"{G} + {P} + {CM} + calib.variance"]),
        "frame bits of photons": Line([clear, bank, few_held], clean, ("photons", "pixel_status", "frame_status"), [f"{G} + {CM} + {PH}"]),
        "groups that reach into neighbours": Line([narrow, odd, count, place(NARROW).photons()], some, ("photons", *MARKS[:1], "image", "energy"),
                                                  [f"{G} + {CM} + {PH} + {AS}"]),
        "whole numbers of both signs": Line([gain, bank, signed, image.photons()], words, ("image", "frame_status"), [f"{G} + {CM} + {PH} + {AS}"]),
        "the image's marks alone": Line([gain, bank, image], words, ("image_status", "energy"), [f"{G} + {CM} + {AS}"]),
        "frame bits alone": Line([gain, bank, count, image.photons()], words, ("frame_status",), [f"{G} + {CM} + {PH} + {AS}"]),
        "frame bits of photons alone": Line([clear, bank, few_held], clean, ("frame_status",), [f"{G} + {CM} + {PH}"]),
        "what nobody wants": Line([gain, bank, count], words, ("energy",), [f"{G} + {CM} + {PH}"]),
        "arrays": Line([odd, place(ODD, status=False)], energy, ("image",), [f"{CM} + {AS}"]),
    }


def of_what_does_not_fit() -> dict[str, Line]:
    gain, words = source(JUNGFRAU, EVEN)
    plain: Any = Gain(gain.pedestal, gain.gain, gain.good, status=True, invalid="mask")     # type: ignore[attr-defined]
    bank = CommonMode((8, 24), ("rows",), statistic="mean_below")
    split = AssembleSplit(frame=EVEN, image=(2, 3), first=np.arange(7), source=np.arange(6), weight=np.ones(6, np.float32))
    again: list[Op] = [gain, Scale(planes(EVEN)), bank, Scale(planes(EVEN))]
    return {
        "an image of sums": Line([plain, bank, split], words, ("image",), [f"{G} + {CM}", "calib.assemble_split"]),
        "one op thrice": Line([*again[:3], CommonMode((8, 24), ("cols",), statistic="mean_below"), Scale(planes(EVEN))], words, ("energy",),
                              [f"{G} + {SC} + {CM}", f"{CM} + {SC}"]),
        "one op twice": Line(again, words, ("energy",), [f"{G} + {SC} + {CM}", SC]),
        "two images": Line([gain, bank, place(EVEN, status=False), NOISE, place(EVEN).variance()], words, ("image", "variance"),
                           [f"{G} + {CM} + {AS} + calib.variance", AS]),
    }


LINES = of_photons() | of_common_mode() | of_what_does_not_fit()


@pytest.mark.parametrize("name", LINES)
def test_what_a_kernel_ends_with(target: Target, name: str) -> None:
    check(target, LINES[name])


def test_an_update_reaches_what_a_kernel_ends_with(target: Target) -> None:
    """The plane of a flat field behind a common mode; the image's places cannot be moved."""
    gain, words = source(JUNGFRAU, EVEN)
    bank, flat, image = CommonMode((8, 24), ("rows",), statistic="mean_below"), Scale(planes(EVEN)), place(EVEN, status=False)
    inputs, new = {"raw": words["raw"]}, planes(EVEN, 5.0)
    plan = Chain([gain, bank, flat, image], keep=("image",)).plan(target.put(inputs["raw"]), backend=target.backend.name)
    before = target.get(plan(target.put(inputs["raw"])))
    plan.update(plane=new)
    after = target.get(plan(target.put(inputs["raw"])))
    want = [Chain([gain, bank, Scale(p), image], keep=("image",))(**inputs, backend="numpy") for p in (planes(EVEN), new)]
    assert np.array_equal(before.view(np.uint32), want[0].view(np.uint32)) and np.array_equal(after.view(np.uint32), want[1].view(np.uint32))
    with pytest.raises(ValueError, match="part of the plan"):
        plan.update(source=np.zeros(image.shape, np.int32))
