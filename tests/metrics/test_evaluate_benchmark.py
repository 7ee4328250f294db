import pytest

from benchmarks.evaluate import LABELS, TOOLS, measure, write_case

SIZE = (96, 96, 28)


@pytest.mark.parametrize("tool", [tool for tool in TOOLS if tool not in ("medseg", "DeepMind")])
def test_all_tools_measure_the_same_case_and_agree(tmp_path, tool):
    files = write_case(tmp_path, SIZE)
    ours, theirs = (measure(name, *files, 1) for name in ("medseg", tool))
    place = 1 if tool == "MedPy" else 2
    for organ in LABELS:
        mine, other = ours["figures"][organ], theirs["figures"][organ]
        assert other == pytest.approx((mine[0], mine[place]), rel=1e-5)
    assert min(ours["seconds"], theirs["seconds"]) > 0
