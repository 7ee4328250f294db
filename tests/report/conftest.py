import pytest

from medseg.report.report import report
from tests.report.example import five_cases, results, write, write_run


@pytest.fixture(scope="session")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    failures = [{"case_id": "f", "error": "the file is truncated"}]
    write(folder / "results", results(five_cases(), failures=failures))
    run = write_run(folder / "runs" / "first")
    return report(folder / "results", folder / "page.html", run=run)
