import pytest

from medseg.config import load_config
from medseg.errors import UsageError
from medseg.evaluation.paper_table import (
    PUBLISHED,
    Row,
    paper_table,
    row_name,
    to_csv,
    to_latex,
    to_markdown,
)

ROWS = {
    "transunet": "TransUNet",
    "r50_vit_cup": "R50-ViT-CUP",
    "vit_cup": "ViT-CUP",
    "vit_none": "ViT-None",
    "r50_unet": "R50-U-Net",
    "r50_attnunet": "R50-AttnUNet",
    "vnet": "V-Net",
    "segmenter": "Segmenter",
}


def results(dsc, organs=("liver", "spleen"), missed=0):
    return {
        "labels": {organ: value for value, organ in enumerate(organs, start=1)},
        "summary": {
            "mean": {"dsc": dsc, "hd95": 3.14159},
            "counts": {"missed": missed},
            "organs": {organ: {"dsc": {"mean": dsc}} for organ in organs},
        },
    }


@pytest.mark.parametrize("dataset", ["synapse", "acdc", "phantom"])
def test_every_row_of_the_published_tables_has_a_config_that_bears_its_name(dataset):
    published = PUBLISHED.get(dataset, PUBLISHED["synapse"])
    names = {
        row_name(load_config(f"{dataset}_{suffix}")["network"])
        for suffix, name in ROWS.items()
        if name in published
    }
    assert names == set(published)


@pytest.mark.parametrize("dataset", PUBLISHED)
def test_published_means_are_those_of_their_organs(dataset):
    for row in PUBLISHED[dataset].values():
        if row.organs:
            assert sum(row.organs.values()) / len(row.organs) == pytest.approx(row.dsc, abs=0.011)


def test_published_figures_stand_in_columns_of_their_own():
    rows = [Row("TransUNet", results(0.5, missed=2), 1234567, 3.25), Row("Mine", results(0.25))]
    header, body = paper_table(rows, published="synapse")
    ours = header.index("published: DSC %")
    assert body[0][:ours] == [
        "TransUNet", "1,234,567", "3.2", "50.00", "3.14", "2", "50.00", "50.00",
    ]  # fmt: skip
    assert body[0][ours:] == ["77.48", "31.69", "94.08", "85.08"]
    assert body[1][ours:] == ["–"] * 4
    assert not any("published" in name for name in paper_table(rows)[0])


def test_a_row_that_failed_says_so():
    header, body = paper_table([Row("V-Net", None), Row("TransUNet", results(0.5))])
    assert body[0] == ["V-Net", "–", "–", "failed", "–", "–", "–", "–"]
    assert len(header) == 8


def test_rows_of_different_organs_are_refused():
    with pytest.raises(UsageError, match="same organs"):
        paper_table([Row("a", results(0.5)), Row("b", results(0.5, organs=("liver",)))])
    with pytest.raises(UsageError, match="one of synapse, acdc, got 'btcv'"):
        paper_table([], published="btcv")


def test_the_table_is_written_in_three_forms():
    header, body = ["network", "DSC %"], [["a_b", "50.00"], ["c", "–"]]
    assert to_markdown(header, body).splitlines()[1:3] == ["| --- | --- |", "| a_b | 50.00 |"]
    assert to_csv(header, body).splitlines() == ["network,DSC %", "a_b,50.00", "c,"]
    latex = to_latex(header, body)
    assert r"a\_b & 50.00 \\" in latex
    assert r"network & DSC \% \\" in latex
    assert r"c & -- \\" in latex
