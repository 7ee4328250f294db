"""The image's files: whether they name what is there, in the versions that are tested."""

import fnmatch
import os
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCKERFILE = (ROOT / "docker/Dockerfile").read_text()
PINNED = re.search(r"^torch==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)[1]


def copied():
    lines = re.findall(r"^COPY (.+)$", DOCKERFILE, re.MULTILINE)
    return [source for line in lines for source in line.split()[:-1]]


def test_what_is_copied_is_there_and_kept_out_by_no_ignore_file():
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    let_in = [line[1:] for line in lines if line.startswith("!")]
    kept_out = [line for line in lines if line and line[0] not in "#!" and line != "*"]
    for source in copied():
        assert (ROOT / source).exists(), source
        assert source.split("/")[0] in let_in, source
        assert not any(fnmatch.fnmatch(source, pattern) for pattern in kept_out), source


def test_all_that_a_wheel_is_made_of_is_copied():
    tomllib = pytest.importorskip("tomllib")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    needed = {"pyproject.toml", "constraints.txt", project["project"]["readme"]}
    needed |= {*wheel["packages"], *wheel["force-include"], *project["project"]["license-files"]}
    assert needed <= set(copied())


@pytest.mark.parametrize("file", ["docker/Dockerfile", "docker/install.sh", "docs/container.md"])
def test_no_version_stands_there_that_constraints_do_not_have(file):
    constraints = (ROOT / "constraints.txt").read_text()
    for name, version in re.findall(r"\b([\w-]+)==([\w.]+)", (ROOT / file).read_text()):
        assert re.search(rf"^{name}=={re.escape(version)}\b", constraints, re.MULTILINE), name


def test_the_images_python_is_one_that_medseg_supports():
    version = re.search(r"^FROM python:3\.(\d+)-slim", DOCKERFILE, re.MULTILINE)[1]
    supported = (ROOT / "pyproject.toml").read_text()
    assert f'"Programming Language :: Python :: 3.{version}"' in supported


def test_it_runs_as_nobody_of_rank_and_writes_to_tmp_alone():
    assert re.search(r"^USER (?!root|0)\w+$", DOCKERFILE, re.MULTILINE)
    assert 'ENTRYPOINT ["medseg"]' in DOCKERFILE
    for name in ("HOME", "MEDSEG_STORE", "MPLCONFIGDIR", "XDG_CACHE_HOME"):
        assert re.search(rf"\b{name}=/tmp", DOCKERFILE), name


@pytest.mark.parametrize("index", ["", "https://example.org/cpu"])
def test_torch_is_installed_first_from_the_index_that_was_named(index, tmp_path):
    said = tmp_path / "said"
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\necho "$@" >> {said}\n')
    python.chmod(0o755)
    subprocess.run(
        ["sh", ROOT / "docker/install.sh", ROOT, "dicom,export"], check=True,
        env={"PATH": os.environ["PATH"], "PYTHON": str(python), "TORCH_INDEX": index},
    )  # fmt: skip
    torch, medseg, check = said.read_text().splitlines()
    pins = f"-m pip install --no-cache-dir --constraint {ROOT}/constraints.txt"
    more = f" --extra-index-url {index}" if index else ""
    assert torch == f"{pins}{more} torch=={PINNED}"
    assert medseg == f"{pins} {ROOT}[dicom,export]"
    assert check == "-m pip check"
