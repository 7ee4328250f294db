import numpy as np
import pytest
import torch
from scipy.ndimage import map_coordinates

from medseg.errors import UsageError
from medseg.loading.augmentation import Augmentation
from medseg.loading.geometry import SliceGeometry
from medseg.loading.preprocessing import Preprocessing
from medseg.loading.slices import SliceDataset
from medseg.loading.store import open_store
from tests.loading.making import LABELS, WINDOW, store_case, write_case


def random_case(folder, shape=(6, 5, 4), case_id="one"):
    rng = np.random.default_rng(0)
    return store_case(
        folder, rng.random(shape), rng.integers(0, 3, shape).astype(np.uint8), case_id
    )


def test_at_its_own_size_a_slice_is_shown_as_it_is(tmp_path):
    stored = random_case(tmp_path)
    item = SliceDataset([stored], SliceGeometry((6, 5)))[2]
    np.testing.assert_array_equal(item["image"][0], stored.images[2])
    np.testing.assert_array_equal(item["label"], stored.classes[2])
    assert (item["image"].dtype, item["label"].dtype) == (torch.float32, torch.int64)


def test_zoom_one_copies_pixels_and_pads_with_zeros(tmp_path):
    stored = random_case(tmp_path)
    item = SliceDataset([stored], SliceGeometry((10, 11), zoom=1.0))[1]
    np.testing.assert_array_equal(item["image"][0, 2:8, 3:8], stored.images[1])
    np.testing.assert_array_equal(item["label"][2:8, 3:8], stored.classes[1])
    assert item["image"].sum() == pytest.approx(float(stored.images[1].sum()), rel=1e-5)


def test_halving_averages_four_pixels(tmp_path):
    stored = random_case(tmp_path, (8, 6, 2))
    item = SliceDataset([stored], SliceGeometry((4, 3)))[0]
    means = stored.images[0].reshape(4, 2, 3, 2).mean(axis=(1, 3))
    np.testing.assert_allclose(item["image"][0], means, atol=1e-4)


@pytest.mark.parametrize("zoom", [None, 0.7, 1.6])
def test_pixels_are_where_the_geometry_says_by_scipy(tmp_path, zoom):
    rows, columns = np.indices((61, 47))
    plane = 0.5 + 0.4 * np.sin(rows / 7) * np.cos(columns / 5)
    stored = store_case(tmp_path, plane[..., None], (plane[..., None] > 0.5).astype(np.uint8))
    geometry = SliceGeometry((40, 52), zoom=zoom)
    item = SliceDataset([stored], geometry)[0]
    matrix = geometry.matrix((61, 47))
    places = [
        matrix[axis, axis] * np.arange(size) + matrix[axis, 2]
        for axis, size in enumerate(geometry.image_size)
    ]
    expected = map_coordinates(
        plane, np.meshgrid(*places, indexing="ij"), order=1, mode="grid-constant"
    )
    # OpenCV rounds places to a 32nd of a pixel
    np.testing.assert_allclose(item["image"][0], expected, atol=0.02)


def test_a_marker_lands_where_the_geometry_says(tmp_path):
    label = np.zeros((30, 20, 3), dtype=np.uint8)
    label[21, 4, 1] = 2
    stored = store_case(tmp_path, label / 2, label)
    geometry = SliceGeometry((90, 60))
    item = SliceDataset([stored], geometry)[1]
    shown = np.argwhere(item["label"].numpy() == 2)
    back = np.column_stack([shown, np.ones(len(shown))]) @ geometry.matrix((30, 20)).T
    assert len(shown) == 9
    np.testing.assert_allclose(back.mean(axis=0), [21, 4], atol=1e-9)
    brightest = np.unravel_index(int(item["image"][0].argmax()), (90, 60))
    np.testing.assert_allclose(geometry.matrix((30, 20)) @ [*brightest, 1], [21, 4], atol=0.01)


def test_neighbours_are_channels_lowest_first_and_repeated_at_the_ends(tmp_path):
    stored = random_case(tmp_path)
    dataset = SliceDataset([stored], SliceGeometry((6, 5), neighbours=1))
    np.testing.assert_array_equal(dataset[0]["image"], stored.images[[0, 0, 1]])
    np.testing.assert_array_equal(dataset[2]["image"], stored.images[[1, 2, 3]])
    np.testing.assert_array_equal(dataset[3]["image"], stored.images[[2, 3, 3]])
    np.testing.assert_array_equal(dataset[2]["label"], stored.classes[2])


def test_cases_of_different_shapes_follow_each_other(tmp_path):
    stored = [random_case(tmp_path, (6, 5, 4), "a"), random_case(tmp_path, (9, 7, 2), "b")]
    dataset = SliceDataset(stored, SliceGeometry((9, 7)))
    assert len(dataset) == 6
    assert [dataset.locate(index)[0].case_id for index in range(6)] == list("aaaabb")
    assert dataset.locate(5)[1] == 1
    np.testing.assert_array_equal(dataset[4]["image"][0], stored[1].images[0])
    np.testing.assert_array_equal(dataset[-1]["label"], stored[1].classes[1])
    with pytest.raises(IndexError, match="slice 6 of 6"):
        dataset[6]


def test_a_draw_decides_the_augmentation_and_no_draw_means_none(tmp_path):
    stored = random_case(tmp_path, (40, 40, 3))
    geometry = SliceGeometry((32, 32))
    plain = SliceDataset([stored], geometry)
    varying, again, other = (
        SliceDataset([stored], geometry, augment=Augmentation(), seed=seed) for seed in (1, 1, 2)
    )
    torch.testing.assert_close(varying[1], plain[1])
    torch.testing.assert_close(plain[1, 7], plain[1])
    other[0, 99]  # what was asked before does not matter
    torch.testing.assert_close(varying[1, 7], again[1, 7], rtol=0, atol=0)
    for differing in (varying[1, 8], other[1, 7]):
        assert not torch.equal(differing["image"], varying[1, 7]["image"])


def test_a_batch_is_its_items(tmp_path):
    dataset = SliceDataset(
        [random_case(tmp_path, (20, 20, 4))], SliceGeometry((16, 16)), augment=Augmentation()
    )
    wanted = [(3, 5), (0, 6), 2]
    torch.testing.assert_close(
        dataset.__getitems__(wanted), [dataset[index] for index in wanted], rtol=0, atol=0
    )


def test_a_case_without_label_is_named(tmp_path):
    case = write_case(tmp_path)
    bare = type(case)("bare", case.image)
    stored = open_store([case, bare], WINDOW, LABELS, root=tmp_path / "store")
    with pytest.raises(UsageError, match="none for bare"):
        SliceDataset(stored, SliceGeometry((8, 8)))


def test_more_than_255_classes_keep_their_index(tmp_path):
    labels = {f"organ {value}": value for value in range(1, 301)}
    label = np.arange(300, dtype=np.uint16).reshape(20, 15, 1)
    case = write_case(tmp_path, image=np.zeros((20, 15, 1), dtype=np.float32), label=label)
    case = type(case)("many", case.image, case.label, labels)
    (stored,) = open_store([case], Preprocessing(window=(0, 1)), labels, root=tmp_path / "store")
    item = SliceDataset([stored], SliceGeometry((20, 15)))[0]
    np.testing.assert_array_equal(item["label"], label[..., 0])
