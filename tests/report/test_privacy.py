import pytest

from medseg.report.privacy import name_of, only_names


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("/home/jane/x.nii.gz: expected a file", "…/x.nii.gz: expected a file"),
        ("root: /home/jane roe/data/x", "root: …/x"),
        ("from /a/b/c.nii to /d/e/f.nii", "from …/c.nii to …/f.nii"),
        ('"path": "C:\\Users\\jane\\scan.nrrd"', '"path": "…/scan.nrrd"'),
        ("\\\\server\\jane\\scan.nrrd", "…/scan.nrrd"),
        ('{"root": "C:\\\\Users\\\\jane\\\\x"}', '{"root": "…/x"}'),
        ("~/private/run", "…/run"),
        ("file:///home/jane/x.json", "…/x.json"),
        ("/home/jane/", "…/"),
        ("DSC 0.9 / HD95 2 mm and/or 3/4", "DSC 0.9 / HD95 2 mm and/or 3/4"),
        ("data/hippocampus/x.nii.gz", "data/hippocampus/x.nii.gz"),
        ("medseg.networks.transunet.TransUNet", "medseg.networks.transunet.TransUNet"),
    ],
)
def test_folders_go_and_names_of_files_stay(text, left):
    assert only_names(text) == left


def test_known_paths_go_whatever_they_look_like():
    known = {"scans/jane roe/x y.nii", "scans/jane roe", "label"}
    assert only_names("scans/jane roe/x y.nii: torn label", known) == "x y.nii: torn label"
    assert only_names("scans/jane roe/other.nii", known) == "other.nii"


def test_the_last_part_of_a_path_of_any_system():
    assert name_of("/a/b c/d.nii.gz") == "d.nii.gz"
    assert name_of("C:\\a\\d.nii.gz") == "d.nii.gz"
    assert name_of("a/b/") == "b"
