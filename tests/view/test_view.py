"""The local page: who gets what, and what a browser shows of a real CT."""

import http.client
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from urllib.error import HTTPError, URLError

import nibabel as nib
import numpy as np
import pytest

from medseg import cli
from medseg.errors import InputError, UsageError
from medseg.files import write_json
from medseg.view.layers import image_layer, label_layer
from medseg.view.view import serve
from medseg.volumes import Volume, write_volume
from tests.jobs.processes import environment
from tests.report.browser import browser, needs_chromium
from tests.shared import SHARED, needs_shared

ABDOMEN = SHARED / "data" / "abdomen_ct" / "ts_full"
AFFINE = np.array([[-2.0, 0, 0, 10], [0, -2, 0, 20], [0, 0, 5, -30], [0, 0, 0, 1]])


@pytest.fixture
def files(tmp_path):
    rng = np.random.default_rng(0)
    image = rng.integers(-1000, 1000, (7, 8, 5)).astype(np.int16)
    labels = np.zeros(image.shape, np.uint8)
    labels[1:3, 2:5, 1:4] = 6
    labels[5, 6, 2] = 9
    write_volume(tmp_path / "ct.nrrd", Volume(image, AFFINE))
    write_volume(tmp_path / "labels.mha", Volume(labels, AFFINE))
    return tmp_path


def get(address, **headers):
    with urllib.request.urlopen(urllib.request.Request(address, headers=headers)) as answer:
        return answer.read(), answer.headers


def status(server, path, host=None, method="GET"):
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port)
    connection.request(method, path, headers={} if host is None else {"Host": host})
    return connection.getresponse().status


def test_only_what_was_named_is_served_and_only_under_the_secret(files):
    (files / "other.txt").write_text("patient")
    with serve(files / "ct.nrrd", [files / "labels.mha"]) as server:
        secret = f"/{server.secret}/"
        assert status(server, secret) == 200
        assert status(server, secret, method="HEAD") == 200
        assert sorted(server.documents) == [
            "",
            "0.nii",
            "1.nii",
            "niivue.js",
            "page.css",
            "page.js",
        ]
        for path in (
            "/", "/page.js", "/0.nii", "//", f"/{server.secret}", f"/{'x' * 32}/",
            secret + "other.txt",
            secret + "../other.txt", secret + "%2e%2e/other.txt", secret + "2.nii", f"/./{secret}/",
        ):  # fmt: skip
            assert status(server, path) == 404, path
        assert status(server, secret, method="POST") == 501


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1", "evil.example:80", "127.0.0.1:1", ""]
)
def test_a_request_that_names_another_host_gets_nothing(files, host):
    with serve(files / "ct.nrrd") as server:
        assert status(server, f"/{server.secret}/", host=host) == 404
        assert status(server, f"/{server.secret}/", host=f"localhost:{server.server_port}") == 200


def test_the_server_listens_on_loopback_alone_and_its_policy_allows_nothing_else(files):
    with serve(files / "ct.nrrd") as server:
        assert server.server_address[0] == "127.0.0.1"
        assert len(server.secret) >= 32
        _, headers = get(server.address)
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert "unsafe" not in headers["Content-Security-Policy"]
    assert headers["Cache-Control"] == "no-store"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert "Python" not in headers["Server"]


def test_two_servers_have_two_secrets_and_two_ports(files):
    with serve(files / "ct.nrrd") as one, serve(files / "ct.nrrd") as other:
        assert one.secret != other.secret
        assert one.server_port != other.server_port


def test_any_format_is_sent_as_nifti_in_its_own_place(files):
    write_json(files / "predictions.json", {"labels": {"liver": 6}})
    with serve(files / "ct.nrrd", [files / "labels.mha"]) as server:
        page, _ = get(server.address)
        image = nib.Nifti1Image.from_bytes(get(server.address + "0.nii")[0])
        labels = nib.Nifti1Image.from_bytes(get(server.address + "1.nii")[0])
    np.testing.assert_allclose(image.affine, AFFINE, atol=1e-5)
    np.testing.assert_allclose(labels.affine, AFFINE, atol=1e-5)
    assert np.bincount(np.asarray(labels.dataobj).ravel()).tolist() == [280 - 19, 18, 1]
    (plain,) = page.decode().split('id="layers">')[1:]
    layer = json.loads(plain.split("</script>")[0])[1]
    assert layer["organs"] == ["liver", "value 9"]
    np.testing.assert_allclose(layer["centres"][1], (AFFINE @ [5, 6, 2, 1])[:3], atol=1e-5)
    assert str(files) not in page.decode()


def test_names_cannot_write_into_the_page(files):
    name = files / "<script>alert(1)</script>.nrrd".replace("/", "_")
    (files / "ct.nrrd").rename(name)
    with serve(name, [files / "labels.mha"], labels={"</script><b>": 6}) as server:
        page = get(server.address)[0].decode()
    assert "<script>alert" not in page
    assert "<b>" not in page


def test_what_is_no_label_map_is_refused(files):
    write_volume(files / "x.nii", Volume(np.full((3, 3, 3), 0.5, np.float32), AFFINE))
    nib.save(nib.Nifti1Image(np.ones((3, 3, 3), np.complex64), AFFINE), files / "c.nii")
    with pytest.raises(InputError, match="a label map of whole numbers"):
        label_layer(files / "x.nii", "x", {})
    for read in (
        lambda: image_layer(files / "c.nii", "c"),
        lambda: label_layer(files / "c.nii", "c", {}),
    ):
        with pytest.raises(InputError, match="one real number per voxel"):
            read()


def test_label_maps_of_one_name_are_told_apart_by_their_folders(files):
    paths = [files / folder / "labels.mha" for folder in ("ours", "theirs")]
    for value, path in enumerate(paths, 1):
        write_volume(path, Volume(np.full((7, 8, 5), value, np.uint8), AFFINE))
    with serve(files / "ct.nrrd", paths) as server:
        assert {"1.nii", "2.nii"} <= server.documents.keys()
        page = get(server.address)[0].decode()
    assert "ours/labels.mha" in page
    assert "theirs/labels.mha" in page


def test_a_browser_that_goes_away_leaves_no_trace_of_an_error(files, capsys):
    with serve(files / "ct.nrrd") as server:
        for error, said in ((BrokenPipeError(), False), (KeyError("other"), True)):
            try:
                raise error
            except (BrokenPipeError, KeyError):
                server.handle_error(None, ("127.0.0.1", 1))
            assert bool(capsys.readouterr().err) is said


def test_a_case_is_found_in_predictions_and_in_results(files):
    case = {"case_id": "p1", "image": "ct.nrrd", "prediction": "labels.mha", "status": "done"}
    failed = {"case_id": "p2", "image": "ct.nrrd", "status": "failed", "error": "truncated"}
    content = {"labels": {"liver": 6}, "cases": [case, failed]}
    write_json(files / "predictions.json", content)
    with serve(files, case_id="p1") as server:
        assert "prediction" in get(server.address)[0].decode()
    with (
        pytest.raises(UsageError, match=r"no case 'p3'; there are p1, p2"),
        serve(files, case_id="p3"),
    ):
        pass
    with pytest.raises(InputError, match="truncated"), serve(files, case_id="p2"):
        pass
    with pytest.raises(UsageError, match="--case"), serve(files):
        pass
    results = {"labels": {"liver": [6]}, "cases": [case | {"label": "labels.mha"}]}
    write_json(files / "results.json", results)
    with serve(files, case_id="p1") as server:
        page = get(server.address)[0].decode()
    assert "truth" in page
    assert "prediction" in page


@contextmanager
def started(files, *more):
    command = [sys.executable, "-m", "medseg", "view", "-i", str(files / "ct.nrrd"), "--no-browser"]
    with subprocess.Popen(
        [*command, *more], stderr=subprocess.PIPE, text=True, env=environment()
    ) as process:
        yield process, process.stderr.readline().split()[0]


def test_the_command_ends_when_the_page_was_sent_once(files):
    with started(files, "--once") as (process, address):
        for name in ("", "page.js", "page.css", "niivue.js"):
            get(address + name)
        time.sleep(0.3)
        assert process.poll() is None
        get(address + "0.nii")
        assert process.wait(10) == 0
        assert process.stderr.read() == ""


def test_the_command_ends_with_ctrl_c_and_nobody_listens_any_more(files):
    with started(files) as (process, address):
        get(address)
        os.kill(process.pid, signal.SIGINT)
        assert process.wait(10) == 0
    with pytest.raises(URLError, match="refused"):
        get(address)


def test_a_missing_image_ends_with_three(tmp_path, capsys):
    assert cli.run(["view", "-i", str(tmp_path / "no.nii"), "--no-browser"]) == 3
    assert "no such file" in capsys.readouterr().err


def test_a_wrong_address_says_nothing_of_the_files(files):
    with serve(files / "ct.nrrd") as server, pytest.raises(HTTPError) as error:
        get(server.address[:-2] + "/")
    assert "ct.nrrd" not in error.value.read().decode()
    error.value.close()


@needs_chromium
@needs_shared
@pytest.mark.slow
def test_an_abdominal_ct_with_its_organs_is_seen_in_a_browser(tmp_path):
    names = json.loads((SHARED / "data" / "abdomen_ct" / "labels.json").read_text())["btcv13"]
    organs = {organ: int(value) for value, organ in names.items()}
    with (
        serve(ABDOMEN / "image.nii.gz", [ABDOMEN / "label_btcv13.nii.gz"], labels=organs) as server,
        browser(tmp_path / "profile") as tab,
    ):
        tab.resize(1200, 800)
        tab.open(server.address)
        tab.wait("document.querySelector('.message').textContent !== 'Reading …'")
        assert tab.run("document.querySelector('.message').textContent") == ""
        time.sleep(0.5)
        tab.picture(tmp_path / "view.png")
        listed = tab.run("[...document.querySelectorAll('.organ')].map((one) => one.textContent)")
        assert len(listed) == 12
        assert "esophagus" not in listed
        for organ in ("liver", "aorta", "kidney_left"):
            number = list(organs).index(organ) + 1
            tab.run(f"document.querySelector('[data-class=\"{number}\"]').click()")
            where = tab.run("document.querySelector('.where').innerText")
            assert f"label_btcv13.nii.gz: {organ}" in where
        before = tab.picture(selector=".canvas")
        tab.run("document.querySelector('.shown').click()")
        time.sleep(0.3)
        assert tab.picture(selector=".canvas") != before
        assert tab.complaints == []
        assert all(
            request.startswith((server.address, "data:", "blob:")) for request in tab.requests
        )
