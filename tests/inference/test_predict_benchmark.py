import pytest

from benchmarks import predict as benchmark


@pytest.mark.slow
@pytest.mark.parametrize("more", [[], ["--resampled"]])
def test_all_ways_of_the_benchmark_give_the_same_labels(more, capsys):
    ways = ["medseg", "whole"] + ([] if more else ["monai"])
    benchmark.main(["memory", "--depths", "9", "--classes", "3", "--ways", *ways, *more])
    lines = [line.split() for line in capsys.readouterr().out.splitlines()[1:]]
    assert [line[2] for line in lines] == ways
    shares = [float(line[-1].rstrip("%")) for line in lines[1:]]
    assert min(shares) > (99.9 if more else 99.9999)  # the old way resamples float16
