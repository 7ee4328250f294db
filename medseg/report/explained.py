"""What ``medseg explain`` wrote, as a part of a report: pictures, and links to the pages."""

import base64
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import cv2

from medseg.errors import InputError
from medseg.files import read_json
from medseg.report.privacy import name_of
from medseg.report.tables import CaseRow

KEYS = {"medseg", "image", "organ", "methods", "picture", "shown_slice"}
PICTURES_BYTES = 3_000_000  # of a report for all of them; the rest is linked alone
WIDTH, QUALITY = 1200, 82


@dataclass(frozen=True)
class Explanation:
    """One explanation of one case.

    Attributes:
        organ: Whose.
        caption: What it is of.
        picture: WebP as base64; empty if none is shown.
        page: Name of its page; empty if none was written.
        link: The page's address as seen from the report; empty if it lies elsewhere.
        notice: Why no picture is shown; empty if there is one, or none was wanted.
    """

    organ: str
    caption: str
    picture: str
    page: str
    link: str
    notice: str = ""


@dataclass(frozen=True)
class Explanations:
    """What a folder of explanations holds for the cases of a report.

    Attributes:
        cases: Case id → its explanations, in the order of the results.
        others: Names of images that are of no case, or of more than one.
    """

    cases: dict[str, list[Explanation]]
    others: list[str]


def explanations_of(
    folder: str | Path, rows: Sequence[CaseRow], output: Path, *, images: bool
) -> Explanations:
    """Read what ``medseg explain`` wrote and find the cases that it is of.

    An explanation is of the case whose image has the same file name, or whose id is that name
    without its ending. A page is linked if it lies in the report's folder or below it: addresses
    that lead elsewhere would tell the names of folders.

    Args:
        folder: Output folder of ``medseg explain``, or a folder of such.
        rows: The cases.
        output: The report.
        images: Whether to show pictures.

    Raises:
        InputError: If the folder holds no explanation.
    """
    folder, found, room = Path(folder), dict[str, list[Explanation]](), PICTURES_BYTES * images
    records = [(path, read_json(path)) for path in sorted(folder.rglob("*.json"))]
    records = [(path, one) for path, one in records if isinstance(one, dict) and one.keys() >= KEYS]
    if not records:
        raise InputError(folder, "what medseg explain wrote", "no explanation",
                         hint="give its output folder")  # fmt: skip
    case_of, others = _cases_by_image(rows), set[str]()
    for path, record in records:
        case = case_of.get(record["image"])
        if case is None:
            others.add(record["image"])
            continue
        one = _explanation(path.parent, record, output, room)
        room -= len(one.picture)
        found.setdefault(case, []).append(one)
    return Explanations(
        {row.case_id: found[row.case_id] for row in rows if row.case_id in found}, sorted(others)
    )


def _cases_by_image(rows: Sequence[CaseRow]) -> Mapping[str, str]:
    """File name → case, of names that belong to one case only."""
    named = [(name_of(path), row.case_id) for row in rows for path in _images(row.source) if path]
    counted = Counter(name for name, _ in named)
    by_image = {name: case for name, case in named if counted[name] == 1}
    by_id = {f"{row.case_id}{end}": row.case_id for row in rows for end in ("", ".nii.gz", ".nii")}
    return by_id | by_image


def _images(case: Mapping[str, Any]) -> list[str]:
    image = case.get("image")
    return [str(one) for one in (image if isinstance(image, list) else [image]) if one]


def _explanation(folder: Path, record: Mapping[str, Any], output: Path, room: int) -> Explanation:
    page = name_of(str(record.get("page") or ""))
    caption = f"{', '.join(record['methods'])}; slice {record['shown_slice']} of the file"
    if record.get("against"):
        caption = f"rather than {record['against']}; {caption}"
    link = _link(folder / page, output) if page else ""
    if room <= 0:
        return Explanation(record["organ"], caption, "", page, link)
    picture = _picture(folder / name_of(str(record["picture"])))
    notice = ""
    if not picture:
        notice = f"{name_of(str(record['picture']))} is gone or damaged."
    elif len(picture) > room:
        picture, notice = "", "Left out, since the report would become too large."
    return Explanation(record["organ"], caption, picture, page, link, notice)


def _link(page: Path, output: Path) -> str:
    page, beside = page.resolve(), output.resolve().parent
    if not page.is_file() or beside not in page.parents:
        return ""
    return quote(page.relative_to(beside).as_posix())


def _picture(path: Path) -> str:
    picture = cv2.imread(str(path)) if path.is_file() else None
    if picture is None:
        return ""
    height, width = picture.shape[:2]
    if width > WIDTH:
        size = (WIDTH, max(1, round(height * WIDTH / width)))
        picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    done, data = cv2.imencode(".webp", picture, [cv2.IMWRITE_WEBP_QUALITY, QUALITY])
    return base64.b64encode(data.tobytes()).decode("ascii") if done else ""
