"""The safe set: its values by hand, and its list in the docs."""

import re
from pathlib import Path

import monai.inferers
import monai.transforms
import pytest
import torch

from medseg.bundles import allowed
from medseg.bundles.expressions import UnsafeError, check_aside, evaluate

DOCS = Path("docs/bundles.md").read_text(encoding="utf-8")


def section(start, end):
    return set(re.findall(r"`([^`]+)`", re.search(f"{start}(.*?){end}", DOCS, re.DOTALL)[1]))


@pytest.mark.parametrize(
    ("start", "end", "names"),
    [
        ("Transforms of `monai.transforms`:", r"\. `SaveImaged`", allowed.TRANSFORMS),
        ("Inferers of `monai.inferers`:", r"\.\n\n", allowed.INFERERS),
        ("\nCalls:", r"\. `torch.device`", allowed.CALLS),
        ("Types of numbers:", r"\.\n\n", allowed.DTYPES),
        (r"may\s+import", "; call", allowed.ASIDE_MODULES),
        ("; call", r"and\s+the\s+calls", set(allowed.ASIDE_CALLS) - set(allowed.CALLS)),
        (r"the\s+methods", r"\.\s+A\s+component", allowed.ASIDE_METHODS),
    ],
)
def test_the_docs_list_what_the_code_allows_and_no_more(start, end, names):
    assert section(start, end) == set(names)


def test_every_transform_and_inferer_of_the_list_is_monais():
    assert all(hasattr(monai.transforms, name) for name in allowed.TRANSFORMS)
    assert all(hasattr(monai.inferers, name) for name in allowed.INFERERS)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1 + 2 * 3", 7),
        ("-@a // 2", -2),
        ("@b::x[1] + @a", 9),
        ("@b#x", [5, 6]),
        ("[@a] * 3", [3, 3, 3]),
        ("'a' + '/b'", "a/b"),
        ("@a if not False else None", 3),
        ("1 < @a <= 3 and 'yes' or 'no'", "yes"),
        ("list(range(2, 8, 2))", [2, 4, 6]),
        ("len(@b::x)", 2),
        ("torch.device('cuda:0' if False else 'cpu')", "cpu"),
        ("torch.float32", torch.float32),
        ("float('inf') if False else int(2.7)", 2),
    ],
)
def test_expressions_of_the_safe_set_have_pythons_values(text, value):
    found = evaluate(text, {"a": 3, "b::x": [5, 6], "b#x": [5, 6]}.__getitem__)
    assert found == value


@pytest.mark.parametrize(
    "text",
    ["import os", "x = 1", "os.path.join('a')", "open('x')", "getattr(1, 'real')", "@a.real",
     "(1).__class__", "f'{1}'", "{1: 2}", "int(x=1)", "torch.load('x')", "torch.hub", "2 ** 3",
     "'%s' % 1", "(y := 1)", "[*@a]", "1 << 70", "1 / 0", "", "'a' * 5", "str", "print(1)"],
)  # fmt: skip
def test_other_expressions_have_none(text):
    with pytest.raises(UnsafeError):
        evaluate(text, {"a": 3}.__getitem__)


@pytest.mark.parametrize(
    "text",
    ["import glob", "from monai.data import Dataset", "@evaluator.run()", "@net.to(@device)",
     "list(sorted(glob.glob(@d + '/*.nii.gz')))", "[{'image': i} for i in @datalist]",
     "lambda x: [one['image'].meta for one in x]", "monai.utils.set_determinism(seed=1)",
     "setattr(torch.backends.cudnn, 'benchmark', True)", "@x[:-int(@y / 2)]"],
)  # fmt: skip
def test_what_honest_bundles_say_of_other_things_passes(text):
    check_aside(text)


@pytest.mark.parametrize(
    "text",
    ["import subprocess", "from os import system as join", "__import__('os')", "os.system('x')",
     "os.popen('x')", "eval('1')", "exec('1')", "glob.os.system('x')", "().__class__",
     "(lambda: os.system('x'))()", "@x.__class__", "getattr(os, 'system')('x')", "os.run('x')",
     "torch.hub.load('a', 'b')", "torch.load('x')", "[f('x') for f in [os.system]]",
     "monai.bundle.run('x')", "def f(): pass", "x = 1", "map(os.system, ['x'])"],
)  # fmt: skip
def test_what_no_honest_bundle_says_does_not(text):
    with pytest.raises(UnsafeError):
        check_aside(text)
