import shutil
import subprocess

import pytest

from medseg.evaluation.compare import compare
from medseg.evaluation.latex import escaped, latex_table, metric_heads
from medseg.evaluation.summary import summarise
from tests.evaluation.results import DIAGONAL, INVENTED, MISSED, results, write

ORGANS = {"left_kidney": [0.9, 0.7], "liver": [MISSED, 0.8], "spleen": [INVENTED, 0.5]}


def evaluated():
    content = results(ORGANS, metrics=("dsc", "hd95"))
    for case in content["cases"]:
        for entry in case["organs"].values():
            entry["hd95_directed"] = entry["hd95"]
    return content | {"summary": summarise(content)}


def test_one_evaluation_has_the_columns_of_the_published_table():
    lines = latex_table(evaluated(), name="R50-ViT_CUP & more").splitlines()
    head, row = (line for line in lines if line.endswith(r"\\"))
    assert head == (
        r"Method & DSC (\%) $\uparrow$ & HD95 (mm) $\downarrow$ & left\_kidney & liver & spleen \\"
    )
    dsc = (80 + 40 + 25) / 3
    hd95 = (2 + (DIAGONAL + 2) / 2 + (DIAGONAL + 5) / 2) / 3
    assert row == rf"R50-ViT\_CUP \& more & {dsc:.2f} & {hd95:.2f} & 80.00 & 40.00 & 25.00 \\"
    assert r"\begin{tabular}{lrrrrr}" in lines


def test_conventions_stand_in_the_caption_and_the_coverage_below():
    text = latex_table(evaluated())
    (caption,) = (line for line in text.splitlines() if line.startswith(r"\caption"))
    assert "HD95 (pooled): pooled." in caption
    assert "2 cases" in caption
    assert "4 scored, 1 missed, 1 false positive, 0 absent" in text
    assert "liver 1 of 2; spleen 1 of 1 and 1 invented" in text
    assert f"scored organs alone: {(2 + 2 + 5) / 3:.2f} mm" in text


def test_a_metric_that_was_not_computed_has_no_column():
    content = evaluated()
    del content["metrics"]["hd95"]
    text = latex_table(content)
    assert r"Method & DSC (\%) $\uparrow$ & left\_kidney" in text
    assert "HD95 (" not in text


def test_a_figure_of_nothing_is_a_dash():
    content = evaluated()
    content["summary"]["organs"]["liver"]["dsc"]["mean"] = None
    assert "80.00 & -- & 25.00" in latex_table(content)


def test_every_line_of_a_comparison_has_a_cell_per_column(tmp_path):
    paths = [write(tmp_path / name, evaluated()) for name in "abc"]
    compare(paths, tmp_path / "out")
    lines = (tmp_path / "out" / "comparison.tex").read_text().splitlines()
    rows = [line for line in lines if line.endswith(r"\\")]
    assert r"\begin{tabular}{lrrrrrr}" in lines
    assert [row.count(" & ") for row in rows] == [2, *[6] * 5]  # the first line spans columns


def test_two_conventions_of_one_distance_keep_their_names_apart():
    metrics = {
        key: {"name": f"HD95 ({key})", "unit": "mm", "better": "lower"}
        for key in ("pooled", "directed")
    }
    arrow = r"$\downarrow$"
    assert metric_heads(metrics) == [f"HD95 ({k}) (mm) {arrow}" for k in ("pooled", "directed")]
    del metrics["directed"]
    assert metric_heads(metrics) == [f"HD95 (mm) {arrow}"]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("50 % & more_of #1", r"50 \% \& more\_of \#1"),
        (r"C:\$x^2~{a}", r"C:\textbackslash{}\$x\textasciicircum{}2\textasciitilde{}\{a\}"),
        ("a\n\nb  c", "a b c"),
        ("p ≤ 0.05 – x", r"p $\leq$ 0.05 -- x"),
    ],
)
def test_text_is_escaped(text, wanted):
    assert escaped(text) == wanted


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="needs pdflatex")
def test_latex_takes_both_tables(tmp_path):
    one = evaluated()
    paths = [write(tmp_path / name, one) for name in ("a_1", "b%2")]
    compare(paths, tmp_path / "out")
    tables = latex_table(one) + (tmp_path / "out" / "comparison.tex").read_text()
    (tmp_path / "page.tex").write_text(
        "\\documentclass{article}\n\\usepackage{booktabs}\n\\begin{document}\n"
        f"{tables}\\end{{document}}\n"
    )
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "page.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:]
