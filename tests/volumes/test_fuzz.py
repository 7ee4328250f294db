"""Files damaged at random are read or refused, and nothing else happens."""

import random
import subprocess
import sys
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medseg.case import Case
from medseg.errors import InputError
from medseg.inference.inputs import read_image
from medseg.volumes import Volume, read_volume, write_volume
from tests.jobs.processes import environment
from tests.volumes.fuzz import FORMATS, damaged, read, seeds


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    folder = tmp_path_factory.mktemp("good")
    return folder, seeds(folder)


def test_undamaged_files_are_read(good):
    folder, contents = good
    for suffix, content in contents.items():
        path = folder / f"sound{suffix}"
        path.write_bytes(content)
        assert read_volume(path).array.size, suffix


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(seed=st.integers(0, 2**32), suffix=st.sampled_from(FORMATS))
def test_a_damaged_file_is_read_or_refused_in_one_line(good, seed, suffix):
    folder, contents = good
    content = damaged(suffix, contents[suffix], random.Random(seed))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert read(folder / f"damaged{suffix}", content) is None


@pytest.mark.slow
def test_thousands_of_damaged_files_end_no_process():
    done = subprocess.run(
        [sys.executable, "-m", "tests.volumes.fuzz", "--minutes", "0.3", "--seed", "7"],
        env=environment(), capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout


@pytest.fixture
def metaimage(tmp_path):
    path = tmp_path / "a.mha"
    write_volume(path, Volume(np.ones((5, 4, 3), np.int16), np.eye(4)))
    return path


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"NDims = 3", b"NDims = 999999999999 = True"),
        (b"NDims = 3", b"NDims = -3"),
        (b"NDims = 3", b"NDims = 2"),
        (b"DimSize = 5 4 3", b"DimSize = 5 -4 3"),
        (b"DimSize = 5 4 3", b"DimSize = 5 4"),
        (b"DimSize = 5 4 3\n", b""),
        (b"0 0 1\n", b"0 1e308 1\n"),
        (b"ElementDataFile", b"ElementData"),
        (b"= LOCAL", b"= %s%n"),
        (b"= LOCAL", b"= LIST"),
    ],
)
def test_metaimages_that_make_itk_crash_or_hang_are_refused(metaimage, old, new):
    content = metaimage.read_bytes()
    assert old in content
    metaimage.write_bytes(content.replace(old, new, 1))
    with pytest.raises(InputError):
        read_image(Case("a", metaimage))


def test_metaimages_with_fields_of_others_are_read(metaimage):
    content = metaimage.read_bytes()
    more = b"NDims = 3\r\n0010|0010 = a name\n\nComment = \xc3\xa4 = b\n"
    metaimage.write_bytes(content.replace(b"NDims = 3\n", more, 1))
    assert read_volume(metaimage).array.shape == (5, 4, 3)


def test_an_nrrd_with_places_beyond_everything_is_refused(tmp_path):
    path = tmp_path / "a.nrrd"
    write_volume(path, Volume(np.ones((5, 4, 3), np.int16), np.eye(4)))
    path.write_bytes(path.read_bytes().replace(b"(0,0,1)", b"(0,0,1e308)", 1))
    with pytest.raises(InputError, match="numbers for space directions"):
        read_volume(path)
