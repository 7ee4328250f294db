import pytest

from medseg.datasets import acdc
from medseg.errors import InputError, UsageError
from tests.datasets.make import acdc as write
from tests.datasets.make import touch

TEST = {
    "ssl4mis": "001 007 008 011 013 022 024 033 052 059 064 065 066 068 075 080 081 083 084 093",
    "nnformer": "002 003 008 009 012 014 017 024 042 048 049 053 055 064 067 079 081 088 092 095",
}
VAL = {
    "ssl4mis": "002 019 028 030 039 045 078 082 085 087",
    "nnformer": "089 090 091 093 094 096 097 098 099 100",
}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return write(tmp_path_factory.mktemp("acdc"))


@pytest.mark.parametrize("protocol", ["ssl4mis", "nnformer"])
def test_both_published_splits(root, protocol):
    parts = {s: acdc.cases(root, split=s, protocol=protocol) for s in ("train", "val", "test")}
    patients = {name: sorted({case.patient for case in part}) for name, part in parts.items()}
    assert patients["test"] == [f"patient{number}" for number in TEST[protocol].split()]
    assert patients["val"] == [f"patient{number}" for number in VAL[protocol].split()]
    assert {name: len(part) for name, part in parts.items()} == {
        "train": 140,
        "val": 20,
        "test": 40,
    }
    assert len(set().union(*patients.values())) == 100


def test_ssl4mis_is_the_default(root):
    assert acdc.cases(root, split="test") == acdc.cases(root, split="test", protocol="ssl4mis")


def test_a_case_is_a_frame_with_its_phase_and_pathology(root):
    diastole, systole = acdc.cases(root, split="test")[:2]
    folder = root / "training" / "patient001"
    assert diastole.case_id == "patient001_frame01"
    assert diastole.image == folder / "patient001_frame01.nii.gz"
    assert diastole.label == folder / "patient001_frame01_gt.nii.gz"
    assert diastole.group == {"phase": "ED", "pathology": "DCM"}
    assert (systole.case_id, systole.group["phase"]) == ("patient001_frame12", "ES")
    assert diastole.labels == {"right ventricle": 1, "myocardium": 2, "left ventricle": 3}


def test_the_folder_may_be_training_itself(root):
    assert len(acdc.cases(root / "training", split="all")) == 200


def test_a_part_of_the_patients_gives_all_but_not_a_published_split(tmp_path):
    write(tmp_path, [1, 2])
    assert len(acdc.cases(tmp_path, split="all")) == 4
    with pytest.raises(InputError, match="patient007"):
        acdc.cases(tmp_path, split="test")


def test_info_without_a_frame_is_refused(tmp_path):
    write(tmp_path, [1])
    touch(tmp_path / "training" / "patient001" / "Info.cfg").write_text("ED: 1\n")
    with pytest.raises(InputError, match=r"Info\.cfg \(metadata: none\)"):
        acdc.cases(tmp_path, split="all")


@pytest.mark.parametrize(
    ("gone", "kind"),
    [
        (["patient001_frame12.nii.gz"], "label-without-image"),
        (["patient001_frame12_gt.nii.gz"], "image-without-label"),
        (["patient001_frame12.nii.gz", "patient001_frame12_gt.nii.gz"], "missing-file"),
    ],
)
def test_a_frame_that_is_incomplete_is_refused(tmp_path, gone, kind):
    write(tmp_path, [1])
    for name in gone:
        (tmp_path / "training" / "patient001" / name).unlink()
    with pytest.raises(InputError, match=kind):
        acdc.cases(tmp_path, split="all")


def test_a_frame_that_info_does_not_name_is_surplus(tmp_path):
    write(tmp_path, [1])
    touch(tmp_path / "training" / "patient001" / "patient001_frame05.nii.gz")
    surplus = [p.path for p in acdc.survey(tmp_path).problems if p.kind == "surplus-file"]
    assert [path.rpartition("/")[2] for path in surplus] == ["patient001_frame05.nii.gz"]


def test_an_unknown_protocol_is_refused(root):
    with pytest.raises(UsageError, match="ssl4mis, nnformer, got 'mine'"):
        acdc.cases(root, protocol="mine")
