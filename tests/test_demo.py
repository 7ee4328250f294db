import json

import pytest

from medseg import cli
from medseg.datasets import phantom


@pytest.mark.slow
def test_the_small_demo_goes_the_whole_way(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("MEDSEG_STORE", str(tmp_path / "store"))
    command = ["demo", "-o", str(tmp_path / "demo"), "--small", "--device", "cpu", "--json"]
    assert cli.run([*command, "--no-progress"]) == 0
    done = json.loads(capsys.readouterr().out)
    assert set(done["results"]["labels"]) == set(phantom.LABELS)
    assert len(done["results"]["cases"]) == 2
    page = (tmp_path / "demo" / "report.html").read_text()
    assert "phantom_test_0000" in page
    assert cli.run([*command, "--no-progress"]) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert cli.run([*command, "--no-progress", "--overwrite"]) == 0
