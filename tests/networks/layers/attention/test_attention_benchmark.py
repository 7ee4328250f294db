from benchmarks import attention
from benchmarks.attention import DENSE, WAYS, Figure


def test_the_benchmark_measures_every_way_and_draws(tmp_path, capsys):
    attention.main(["--sides", "2", "4", "--turns", "1", "--plot", str(tmp_path / "a" / "b.png")])
    printed = capsys.readouterr().out
    assert all(f"| {way.name} |" in printed for way in WAYS)
    assert "only" not in printed  # what is wanted of 32³ is not asked of 4³
    assert (tmp_path / "a" / "b.png").read_bytes().startswith(b"\x89PNG")


def figures(**seconds_at_32):
    """Every way as quick and as small as dense attention, which takes a second at 32³."""
    own = {way.name: seconds_at_32.get(way.kind, 1.0) for way in WAYS}
    return {
        side: {name: Figure(s * (side / 32) ** 3, 100.0) for name, s in own.items()}
        for side in (8, 24, 32)
    }


def test_growth_is_told_as_an_exponent_and_speed_as_a_ratio():
    found = figures(axial=0.01)
    assert round(attention.exponent(found, "axial"), 6) == 1
    line = next(line for line in attention.table(found) if line.startswith("| axial"))
    assert "100.0 (≥ 50)" in line
    assert "1.00 (≤ 1.4)" in line


def test_what_was_missed_is_said():
    found = figures(windowed=0.01, window_grid=0.01, axial=0.03, block_sparse=0.01)
    found[8][WAYS[1].name] = Figure(1e-6, 500.0)
    assert attention.missed(found) == [
        "windowed: 5.0 times the memory of dense at 8³",
        "windowed: exponent 2.53",
        "axial: only 33.3 times faster at 32³",
    ]
    assert DENSE == "dense"
