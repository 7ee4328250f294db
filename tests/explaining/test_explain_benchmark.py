import sys

import numpy as np
import pytest

from benchmarks import explain
from medseg.explain import method_names
from medseg.networks.transunet import TransUNet
from medseg.volumes import Volume, write_label_map, write_volume
from tests.explaining.test_explain import LPS, SHAPE, SMALL, write


@pytest.mark.slow
def test_every_organ_of_a_label_map_gets_a_map_by_every_method_and_an_absent_one_is_named(
    tmp_path, monkeypatch, capsys
):
    model = write(tmp_path, TransUNet, SMALL | {"image_size": [32, 48]})
    rng = np.random.default_rng(0)
    write_volume(tmp_path / "ct.nii.gz", Volume(rng.integers(0, 100, SHAPE, np.int16), LPS))
    label = np.zeros(SHAPE, np.uint8)
    label[10:25, 12:30, 3] = 1
    write_label_map(tmp_path / "label.nii.gz", Volume(label, LPS))
    words = [model, "-i", tmp_path / "ct.nii.gz", "--label", tmp_path / "label.nii.gz"]
    monkeypatch.setattr(sys, "argv", ["explain", *map(str, words)])
    explain.main()
    said = capsys.readouterr().out
    count = len(method_names())
    assert f"liver: {count} of {count} maps, 1 slices" in said
    assert "spleen: not in label.nii.gz" in said
