"""What the page draws of raw attention is what the map of raw attention shows."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from medseg.explain import Options
from medseg.explaining.attention import heads_of
from medseg.explaining.maps import maps_of, question_of
from medseg.explaining.patches import scan_of
from medseg.explaining.pictures import axial
from medseg.explaining.request import Request
from medseg.jobs import silent
from medseg.model import read_model
from medseg.networks.transunet import TransUNet
from medseg.networks.transunet_3d import TransUNet3D
from medseg.volumes import Volume
from tests.explaining import test_patches as patches
from tests.explaining.test_explain import LPS, SHAPE, SMALL, write


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    return read_model(write(folder, TransUNet, SMALL | {"image_size": [32, 48]}) / "model")


def assert_seen(expected, area):
    """Beyond the area, up to half a pixel of interpolation, there is nothing."""
    rows, columns = (np.flatnonzero(expected.any(axis=axis)) for axis in (1, 0))
    for found, (start, end) in ((rows, area[:2]), (columns, area[2:])):
        assert found[0] >= start - 1
        assert found[-1] <= end + 1
        assert len(found) >= 0.8 * (min(end, expected.size) - max(start, 0))


def compared(model, volume, whole):
    """Every slice of every layer and head as it is drawn, and as the map of ``raw`` has it."""
    scan = scan_of(model, volume, torch.device("cpu"))
    request = Request("liver", whole_volume=whole)
    question = question_of(request, model, scan, batch_size=4)
    heads = heads_of(question, model=model, scan=scan, request=request, batch_size=4)
    assert heads.counts == [2, 2]
    assert len(heads.layers) == 2
    for layer, head in np.ndindex(2, 2):
        asked = replace(request, methods=("raw",), options=Options(layer=layer, head=head))
        maps, _ = maps_of(
            "raw", question, model=model, scan=scan, request=asked, batch_size=4, progress=silent
        )
        native = scan.onto_native(maps)
        assert {scan.ras_slice_of(prepared) for prepared in maps} == set(heads.weights)
        for index in heads.weights:
            expected = axial(native, index)
            assert_seen(expected, heads.area)
            yield heads.picture(index, layer, head, expected.shape), expected


@pytest.mark.parametrize("affine", [LPS, np.diag([2.0, 2, 5, 1]) @ np.eye(4)[[1, 0, 2, 3]]])
def test_tokens_interpolated_over_the_picture_are_the_raw_map_of_that_layer_and_head(model, affine):
    volume = Volume(np.random.default_rng(0).integers(0, 100, SHAPE).astype(np.int16), affine)
    for found, expected in compared(model, volume, whole=True):
        inner = (slice(4, -4), slice(4, -4))  # beyond the centres of outer pixels they differ
        np.testing.assert_allclose(found[inner], expected[inner], atol=0.02 * expected.max())


def test_so_are_those_of_a_window_of_a_volume_in_each_of_its_slices(tmp_path):
    folder = patches.write(tmp_path, TransUNet3D, patches.SMALL)
    array = np.random.default_rng(0).integers(0, 100, patches.SHAPE).astype(np.int16)
    for found, expected in compared(read_model(folder / "model"), Volume(array, LPS), whole=False):
        inside = expected > 0  # the window does not span the slice
        assert inside.any()
        np.testing.assert_allclose(found[inside], expected[inside], atol=0.02 * expected.max())
