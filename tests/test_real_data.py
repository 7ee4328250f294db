"""The whole way on real MRI, for a minute: it must learn something, and land on the right grid."""

import nibabel as nib
import numpy as np
import pytest

import medseg
from tests.shared import SHARED, needs_shared

MINUTE = [
    "image_size=[64,64]", "geometry::zoom=1.0", "settings::max_epochs=1",
    "train_loader::batches_per_epoch=120", "settings::device=cpu",
]  # fmt: skip


@needs_shared
@pytest.mark.slow
def test_a_minute_of_training_on_the_hippocampus_finds_it_in_unseen_cases(tmp_path, monkeypatch):
    monkeypatch.setenv("MEDSEG_STORE", str(tmp_path / "store"))
    data, run = SHARED / "data" / "hippocampus", tmp_path / "run"
    medseg.train("hippocampus_transunet", [*MINUTE, f"data={data}", f"out_dir={run}"])
    cases = run / "cases" / "test.json"
    medseg.predict(cases, tmp_path / "out", model=run)
    results = medseg.evaluate(tmp_path / "out", cases, tmp_path / "results")
    assert results["summary"]["counts"]["scored"] >= 80
    assert results["summary"]["mean"]["dsc"] > 0.6
    assert len(results["cases"]) == 43
    for case in results["cases"]:
        found, image = nib.load(case["prediction"]), nib.load(case["image"])
        assert found.shape == image.shape
        np.testing.assert_allclose(found.affine, image.affine, atol=1e-5)
    page = medseg.report(tmp_path / "results", tmp_path / "report.html", run=run)
    assert "Posterior" in page.read_text()
