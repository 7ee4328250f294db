import yaml

from medseg.plan.said import Said, plain, reasons, to_yaml

CONTENT = {
    "seed": 0,
    "labels": {"left kidney": 1, "grün: #1": 2},
    "network": {
        "_target_": "a.B",
        "strides": Said([[2, 2, 1], [2, 2, 2]], "the thick axis\nlast"),
        "params": "$@network.parameters()",
        "rate": 1e-3,
        "window": Said(None, "nothing"),
    },
    "empty": {},
    "none": None,
}


def test_yaml_reads_back_to_the_same_content():
    assert yaml.safe_load(to_yaml(CONTENT, "two\nlines")) == plain(CONTENT)


def test_every_reason_stands_behind_its_value_on_one_line():
    text = to_yaml(CONTENT, "a title")
    assert text.startswith("# a title\n")
    assert "  strides: [[2, 2, 1], [2, 2, 2]]  # the thick axis last\n" in text
    assert "  window: null  # nothing\n" in text


def test_reasons_are_found_by_the_key_of_the_config():
    found = reasons(CONTENT)
    assert found == {"network::strides": "the thick axis\nlast", "network::window": "nothing"}
