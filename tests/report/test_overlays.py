import base64

import cv2
import numpy as np
import pytest

from medseg.report.overlays import overlays, packed
from medseg.volumes import Volume
from tests.report.explained import LPS, SHAPE, heads, volumes

PLENTY = 10**9


def decoded(text):
    data = np.frombuffer(base64.b64decode(text), np.uint8)
    return cv2.imdecode(data, cv2.IMREAD_GRAYSCALE)


def test_a_map_lies_where_the_slice_shows_it_seen_from_the_feet():
    scan, region, near, _ = volumes()
    found = overlays(scan, region, [4, 2, 3, 2])
    found.add("near", near)
    entries, note = packed(found, PLENTY)
    assert note == ""
    assert [entry["file"] for entry in entries] == [3, 2, 1]  # the file from the head
    for entry in entries:
        shown = decoded(entry["maps"][0])
        assert shown.shape == (30, 40)
        assert shown[8:20, 5:15].min() > 230  # LPS axes: the file's own rows and columns
        assert shown[:6].max() < 25
        assert decoded(entry["grey"]).shape == (30, 40)


def test_a_map_of_slices_is_scaled_slice_by_slice_and_a_map_of_volumes_as_a_whole():
    scan, region, near, _ = volumes()
    for together, largest in ((False, [255, 255, 255]), (True, [255, 170, 85])):
        found = overlays(scan, region, [2, 3, 4], together=together)
        found.add("near", near)
        assert found.maps["near"].max(axis=(1, 2)).tolist() == largest


def test_what_is_below_0_and_an_empty_map_are_not_coloured():
    scan, region, near, _ = volumes()
    found = overlays(scan, region, [3])
    found.add("against", Volume(-near.array, LPS))
    assert not found.maps["against"].any()


def test_the_outline_goes_around_the_target_even_if_it_is_a_faint_voxel():
    scan, region, *_ = volumes()
    (box,) = overlays(scan, region, [3]).outlines
    xs, ys = zip(*(map(float, pair.split(",")) for pair in box.strip("MZ").split("L")), strict=True)
    assert (min(xs), max(xs), min(ys), max(ys)) == (5, 15, 8, 20)
    faint = np.zeros(SHAPE, dtype=np.float32)
    faint[7, 9, 2] = 0.2
    assert overlays(scan, Volume(faint, LPS), [3]).outlines[0].startswith("M")
    assert overlays(scan, Volume(faint, LPS), [0]).outlines == [""]


def test_all_heads_of_a_slice_come_back_without_loss():
    scan, region, *_ = volumes()
    found = overlays(scan, region, [2, 3])
    found.heads = heads([2])
    (with_heads, without), _ = packed(found, PLENTY)
    assert "heads" not in without
    tiles = decoded(with_heads["heads"]).reshape(2, 3, 3, 4)  # layer, row, head, column
    expected = np.zeros((2, 3, 3, 4))
    for layer, head in np.ndindex(2, 3):
        expected[layer, layer, head, head] = 255
    np.testing.assert_array_equal(tiles, expected)
    assert with_heads["tops"] == [[2.5, 2.5, 2.5]] * 2


def test_too_many_slices_become_coarser_and_then_fewer_and_it_is_said():
    shape = (300, 200, 30)
    noise = np.random.default_rng(0).random(shape).astype(np.float32)
    found = overlays(Volume(noise, LPS), Volume(noise, LPS), range(30))
    found.outlines = [""] * 30
    found.add("noise", Volume(noise, LPS))
    sizes = {}
    for limit in (PLENTY, 400_000, 60_000):
        entries, note = packed(found, limit)
        sizes[limit] = sum(len(entry["grey"]) + len(entry["maps"][0]) for entry in entries)
        assert sizes[limit] <= limit
        if limit == 400_000:
            assert len(entries) == 30
            assert "instead of 300 × 200 pixels" in note
    assert "only one in" in note
    assert len(entries) < 30


@pytest.mark.parametrize("index", range(6))
def test_every_slice_is_told_by_its_place_in_the_file_and_in_the_world(index):
    scan, region, *_ = volumes()
    (entry,), _ = packed(overlays(scan, region, [index]), PLENTY)
    assert entry["file"] == 5 - index
    assert entry["mm"] == -5.0 * (5 - index)
