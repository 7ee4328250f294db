import itertools

import numpy as np
import pytest
from surface_distance import lookup_tables

from medseg.metrics import nsd
from medseg.metrics.crops import Grid
from medseg.metrics.nsd import sizes_of_codes

KERNELS = {
    2: lookup_tables.ENCODE_NEIGHBOURHOOD_2D_KERNEL,
    3: lookup_tables.ENCODE_NEIGHBOURHOOD_3D_KERNEL,
}


@pytest.mark.parametrize(
    "spacing", [(1, 1, 1), (0.7, 1.3, 5), (5, 0.7, 0.7), (1, 1), (0.6, 2.5), (3, 1)]
)
def test_the_size_of_every_code_is_deepminds(spacing):
    ndim = len(spacing)
    table = {
        2: lookup_tables.create_table_neighbour_code_to_contour_length,
        3: lookup_tables.create_table_neighbour_code_to_surface_area,
    }[ndim](spacing)
    ours = sizes_of_codes(Grid(tuple(map(float, spacing))))
    assert len(ours) == len(table) == 2 ** (2**ndim)
    for theirs in range(len(table)):
        inside = [
            place for place in itertools.product((0, 1), repeat=ndim)
            if theirs & int(KERNELS[ndim][place])
        ]  # fmt: skip
        code = sum(1 << sum(index << axis for axis, index in enumerate(p)) for p in inside)
        assert ours[code] == pytest.approx(table[theirs], abs=1e-12)


def test_two_parallel_bars_by_hand():
    pred, label = np.zeros((2, 4, 30), dtype=bool)
    pred[1, 1:29] = label[2, 1:29] = True
    assert nsd(pred, label, (2.0, 1.0), tolerance_mm=2.0) == 1
    # a bar's contour: 2 × 27 mm along, two corners of √5/2 mm at either end; the sides that face
    # each other lie on the other bar's contour
    length = 2 * 27 + 4 * np.sqrt(5) / 2
    close = 27 + 2 * np.sqrt(5) / 2
    assert nsd(pred, label, (2.0, 1.0), tolerance_mm=0.0) == pytest.approx(close / length)
    assert nsd(pred, label, (2.0, 1.0), tolerance_mm=1.99) == pytest.approx(close / length)


def test_a_cube_inside_another_by_hand():
    pred, label = np.zeros((2, 9, 9, 9), dtype=bool)
    label[2:7, 2:7, 2:7] = pred[2:7, 2:7, 2:7] = True
    assert nsd(pred, label, (1, 1, 1), 0) == 1
    pred[:] = False
    pred[4, 4, 4] = True  # 8 corners of √3/8 mm², each 2 mm from the faces of the other
    faces, edges, corners = 6 * 4**2, 12 * 4 * np.sqrt(1 / 2), np.sqrt(3)
    total = faces + edges + corners + np.sqrt(3)
    near = 6 * 4  # of each face the four elements in its middle
    assert nsd(pred, label, (1, 1, 1), 1.99) == 0
    assert nsd(pred, label, (1, 1, 1), 2) == pytest.approx((near + np.sqrt(3)) / total)
    assert nsd(pred, label, (1, 1, 1), 2 * np.sqrt(3)) == 1


def test_empty_masks():
    empty, full = np.zeros((4, 4), dtype=bool), np.ones((4, 4), dtype=bool)
    assert np.isnan(nsd(empty, empty, (1, 1), 1))
    assert nsd(empty, full, (1, 1), 1) == nsd(full, empty, (1, 1), 1) == 0


def test_what_does_not_fit_is_refused():
    mask = np.ones((4, 4), dtype=bool)
    with pytest.raises(ValueError, match="tolerance_mm must be a length in mm, 0 or more, got -1"):
        nsd(mask, mask, (1, 1), -1)
    with pytest.raises(ValueError, match=r"two or three axes, got shape \(16,\)"):
        nsd(mask.ravel(), mask.ravel(), (1,), 1)
