import importlib
import json
import resource
import subprocess
import sys
import types

import pytest

import medseg
from medseg import cli
from medseg.errors import (
    CasesFailedError,
    InputError,
    MedsegError,
    ModelError,
    ResourceError,
    StoppedError,
    UsageError,
)

VERBS = (
    "info", "check", "demo", "train", "convert-weights", "predict", "evaluate", "compare",
    "report", "copy", "store", "plan",
)  # fmt: skip


@pytest.mark.parametrize("arguments", ["'--help'", "'info'", "'info', '--json'", "'copy'"])
def test_quick_verbs_import_neither_torch_nor_monai(arguments):
    code = (
        f"import sys; from medseg.cli import run; code = run([{arguments}]); "
        "heavy = {'torch', 'monai', 'scipy', 'matplotlib', 'nibabel'} & set(sys.modules); "
        "sys.exit(f'imported {heavy}' if heavy else code)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("arguments", [["--help"], ["info"]])
def test_quick_verbs_answer_in_under_half_a_second(arguments):
    def seconds():
        """Of a processor, so that what else runs on the machine does not count."""
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(
            [sys.executable, "-m", "medseg", *arguments], capture_output=True, check=True
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    assert min(seconds() for _ in range(5)) < 0.5


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help_with_an_example_and_is_a_python_function(verb, capsys):
    assert cli.run([verb, "--help"]) == 0
    assert f"medseg {verb}" in capsys.readouterr().out
    if verb not in ("copy", "store"):
        assert callable(getattr(medseg, verb.replace("-", "_")))


@pytest.mark.parametrize("module", ["info", "demo", "report", "plan"])
def test_a_verb_stays_a_function_when_the_module_of_its_name_is_imported(module):
    importlib.import_module(f"medseg.{module}")
    assert callable(getattr(medseg, module))
    assert not isinstance(getattr(medseg, module), types.ModuleType)


def test_json_is_one_document_on_stdout(capsys):
    assert cli.run(["info", "--json"]) == 0
    shown = capsys.readouterr()
    assert json.loads(shown.out)["medseg"] == medseg.__version__
    assert shown.err == ""


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UsageError("no such config"), 2),
        (InputError("a.nii.gz", "a 3D volume", "shape (2, 2)"), 3),
        (CasesFailedError("1 of 9 cases failed"), 4),
        (ResourceError("disk full"), 5),
        (MemoryError(), 5),
        (OSError(28, "No space left on device", "x.nii.gz"), 5),
        (PermissionError(13, "Permission denied", "x.nii.gz"), 3),
        (ModelError("weights damaged"), 6),
        (StoppedError("stopped; --resume goes on"), 130),
        (KeyboardInterrupt(), 130),
        (MedsegError("other"), 1),
        (RuntimeError("two\nlines"), 1),
    ],
    ids=repr,
)
def test_each_error_is_one_line_and_its_exit_code(error, code, monkeypatch, capsys):
    def fail(*_args, **_kwargs):
        raise error

    monkeypatch.setattr(importlib.import_module("medseg.info"), "info", fail)
    assert cli.run(["info"]) == code
    shown = capsys.readouterr()
    assert shown.out == ""
    assert len(shown.err.strip().splitlines()) == 1
    assert "Traceback" not in shown.err


@pytest.mark.parametrize(
    "arguments",
    [["no-such-verb"], ["predict"], ["check", "-i"], ["info", "--no-such-flag"]],
    ids=" ".join,
)
def test_wrong_usage_ends_with_two(arguments, capsys):
    assert cli.run(arguments) == 2
    assert capsys.readouterr().out == ""


def test_organ_values_are_read_from_pairs(capsys):
    command = ["evaluate", "-i", "a", "-l", "b", "-o", "c", "--organs", "liver"]
    assert cli.run(command) == 2
    assert "organ=value" in capsys.readouterr().err


def test_a_shipped_config_is_handed_out_once(tmp_path, capsys):
    assert cli.run(["copy", "phantom_transunet", "-o", str(tmp_path)]) == 0
    assert (tmp_path / "phantom_transunet.yaml").read_text().startswith("#")
    assert cli.run(["copy", "phantom_transunet", "-o", str(tmp_path)]) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert cli.run(["copy", "phantom_transunet", "-o", str(tmp_path), "--overwrite"]) == 0
    assert cli.run(["copy", "train.py", "-o", str(tmp_path / "mine.py")]) == 0
    assert cli.run(["copy", "nothing_like_it"]) == 2
    assert cli.run(["copy", "../../etc/passwd"]) == 2


def test_the_store_tells_its_size_and_is_emptied_on_request(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("MEDSEG_STORE", str(tmp_path / "store"))
    assert cli.run(["store", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["bytes"] == 0
    assert cli.run(["store", "--prune-days", "0"]) == 0
    assert "0.00 GB" in capsys.readouterr().err
