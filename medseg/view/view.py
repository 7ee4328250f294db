"""Show an image and label maps in the browser of this machine."""

import contextlib
import threading
import webbrowser
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from medseg.case import Source
from medseg.errors import UsageError
from medseg.evaluation.label_maps import labels_beside
from medseg.metrics.case import LabelValue
from medseg.report.render import VENDOR, as_data
from medseg.view.layers import Layer, image_layer, label_layer
from medseg.view.of_case import PREDICTIONS, RESULTS, ToShow, find_case
from medseg.view.server import Document, Server

HERE = Path(__file__).parent
SCRIPT, STYLE, HTML = "text/javascript; charset=utf-8", "text/css; charset=utf-8", "text/html"
POLL_S = 0.2  # Ctrl-C is heard between two waits
Labels = Mapping[str, LabelValue]


def view(
    image: str | Path,
    label_maps: Sequence[str | Path] = (),
    *,
    labels: Labels | None = None,
    case_id: str | None = None,
    series_uid: str | None = None,
    open_browser: bool = True,
    once: bool = False,
    started: Callable[[str], None] | None = None,
) -> None:
    """Serve a page with three planes of an image and label maps over it, until Ctrl-C.

    It can be reached from this machine alone, under an address that nobody can guess, and holds
    the files that were named and nothing else.

    Args:
        image: The image in any format that ``predict`` reads; or, with ``case_id``, the folder
            that ``predict`` or ``evaluate`` wrote.
        label_maps: Label maps to lay over it.
        labels: Organ → value; from ``predictions.json`` or its kin beside the label map unless
            given.
        case_id: Which case of the folder.
        series_uid: Which DICOM series of the image, where it is a folder or zip of several.
        open_browser: Open the page as well.
        once: End when everything on the page has been sent.
        started: Called with the address.

    Raises:
        InputError: If a file cannot be read.
        UsageError: If there is no such case.
    """
    with serve(image, label_maps, labels=labels, case_id=case_id, series_uid=series_uid) as server:
        if started is not None:
            started(server.address)
        if open_browser:
            webbrowser.open(server.address)
        with contextlib.suppress(KeyboardInterrupt):
            wanted = server.complete if once else threading.Event()
            while not wanted.wait(POLL_S):
                pass


@contextmanager
def serve(
    image: str | Path,
    label_maps: Sequence[str | Path] = (),
    *,
    labels: Labels | None = None,
    case_id: str | None = None,
    series_uid: str | None = None,
) -> Iterator[Server]:
    """Serve the page of :func:`view` while the block runs."""
    shown = _to_show(Path(image), [Path(path) for path in label_maps], case_id, series_uid)
    layers = _layers(shown, labels)
    server = Server(_documents(layers))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _to_show(
    image: Path, label_maps: list[Path], case_id: str | None, series_uid: str | None
) -> ToShow:
    if case_id is not None:
        if label_maps:
            raise UsageError("--case takes the label maps of the case: leave out --labels")
        return find_case(image, case_id)
    if any((image / name).is_file() for name in (RESULTS, PREDICTIONS)):
        raise UsageError(f"{image}: a folder of cases; say which one with --case")
    return ToShow(image, _named(label_maps), series_uid=series_uid)


def _named(paths: Sequence[Path]) -> dict[str, Path]:
    """Files by their names, with so many of their folders as tell them from each other."""
    names: list[str] = []
    for depth in range(1, max((len(path.parts) for path in paths), default=0) + 1):
        names = ["/".join(path.parts[-depth:]) for path in paths]
        if len(set(names)) == len(set(paths)):
            break
    return dict(zip(names, paths, strict=True))


def _layers(shown: ToShow, labels: Labels | None) -> list[Layer]:
    layers = [image_layer(shown.image, _name(shown.image), series_uid=shown.series_uid)]
    for name, source in shown.label_maps.items():
        own = labels or shown.labels.get(name) or labels_beside(_first(source).parent) or {}
        layers.append(label_layer(source, name, own))
    return layers


def _documents(layers: Sequence[Layer]) -> dict[str, Document]:
    plain = [
        {
            "name": layer.name,
            "file": f"{index}.nii",
            "organs": list(layer.organs),
            "colours": list(layer.organs.values()),
            "centres": list(layer.centres),
            "present": [
                (number, organ)
                for number, (organ, centre) in enumerate(
                    zip(layer.organs, layer.centres, strict=False), 1
                )
                if centre is not None
            ],
            "window": list(layer.window),
        }
        for index, layer in enumerate(layers)
    ]
    environment = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    page = environment.get_template("page.html.j2").render(layers=plain, data=as_data(plain))
    documents = {
        "": Document(f"{HTML}; charset=utf-8", page.encode()),
        "page.js": Document(SCRIPT, (HERE / "page.js").read_bytes()),
        "page.css": Document(STYLE, (HERE / "page.css").read_bytes()),
        "niivue.js": Document(SCRIPT, (VENDOR / "niivue.umd.js").read_bytes()),
    }
    for entry, layer in zip(plain, layers, strict=True):
        documents[str(entry["file"])] = Document("application/octet-stream", layer.nifti)
    return documents


def _name(source: Source) -> str:
    return _first(source).name


def _first(source: Source) -> Path:
    return source if isinstance(source, Path) else source[0]
