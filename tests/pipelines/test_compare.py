"""The script and the verb that compare models make the same call."""

from medseg import cli
from medseg.files import read_json
from pipelines import compare
from tests.evaluation.results import results, write


def test_script_and_verb_write_the_same_comparison(tmp_path, capsys):
    for name, liver in (("unet", [0.7, 0.8, 0.9]), ("vit", [0.75, 0.8, "missed"])):
        write(tmp_path / name, results({"liver": liver}))
    paths = [str(tmp_path / name) for name in ("unet", "vit")]
    compare.main([*paths, "-o", str(tmp_path / "script"), "--metric", "dsc"])
    printed = capsys.readouterr().out.splitlines()
    assert printed[1].split("\t")[:5] == ["vit", "unet", "dsc", "liver", "-0.283"]
    command = ["compare", *paths, "-o", str(tmp_path / "verb"), "--metric", "dsc"]
    assert cli.run(command) == 0
    for name in ("comparison.csv", "comparison.tex"):
        one, other = ((tmp_path / by / name).read_text() for by in ("script", "verb"))
        assert one == other
    one, other = (read_json(tmp_path / by / "comparison.json") for by in ("script", "verb"))
    assert one == other
