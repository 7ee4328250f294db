import random

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmarks.fuzz_readers import damaged, examples, outcome
from medseg.volumes import Volume
from tests.volumes.dicom_writer import write_series


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sound")
    scan = Volume(np.zeros((6, 5, 4), np.int16), np.diag([-0.8, -0.7, 2.5, 1.0]))
    slices = {path.name: path.read_bytes() for path in write_series(folder / "series", scan)}
    (folder / "files").mkdir()
    return examples(slices, folder / "files")


def test_sound_files_are_read(sound, tmp_path):
    for name, content in sound.items():
        (tmp_path / name).write_bytes(content)
        assert outcome(tmp_path / name) == "read", name


@pytest.mark.parametrize(
    "name",
    ["volume.nii", "volume.nii.gz", "volume.nrrd", "volume.mha", "slice.dcm", "series.zip"],
)
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(seed=st.integers(0, 1 << 32))
def test_a_damaged_file_is_read_or_refused_and_nothing_else(sound, tmp_path, name, seed):
    path = tmp_path / name
    path.write_bytes(damaged(sound[name], random.Random(seed)))
    outcome(path)  # raises whatever is no InputError
