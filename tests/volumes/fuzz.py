"""Damaged files through the readers, for as long as one likes.

    python -m tests.volumes.fuzz --minutes 10

A reader may return a volume or raise InputError; anything else is a fault. A process that ends or
hangs is one as well, which is why each batch of files has a process of its own.
"""

import argparse
import gzip
import io
import multiprocessing
import os
import random
import resource
import struct
import sys
import tempfile
import time
import warnings
import zipfile
from pathlib import Path

import nibabel as nib
import numpy as np

from medseg.case import Case
from medseg.errors import InputError
from medseg.inference.inputs import read_image
from medseg.volumes import Volume, read_header, read_volume, write_volume
from tests.volumes.dicom_writer import write_series

FORMATS = (".nii", ".nii.gz", ".nrrd", ".mha", ".npy", ".npz", ".dcm", ".zip")
BATCH, PATIENCE_S = 500, 120
NUMBERS = (0, 1, -1, 2, 127, 128, 255, 32767, -32768, 65535, 2**31 - 1, -(2**31), 2**40)
WORDS = (
    b"0", b"-1", b"999999999999", b"1e308", b"nan", b"gzip", b"bzip2", b"hex", b"ascii", b"\n\n",
    b"double", b"block", b"4", b"16", b"LOCAL", b"LIST", b"%s", b"../x", b"\0", b"(0,0,0)", b"none",
)  # fmt: skip


def seeds(folder):
    """Suffix → bytes of a good file."""
    array = np.arange(5 * 4 * 3, dtype=np.int16).reshape(5, 4, 3)
    volume = Volume(array, np.diag([0.7, 0.8, 3.0, 1.0]))
    good = {}
    for suffix in FORMATS[:4]:
        write_volume(folder / f"seed{suffix}", volume)
        good[suffix] = (folder / f"seed{suffix}").read_bytes()
    held = io.BytesIO()
    np.save(held, array)
    good[".npy"] = held.getvalue()
    held = io.BytesIO()
    np.savez_compressed(held, image=array)
    good[".npz"] = held.getvalue()
    slices = write_series(folder / "series", volume)
    good[".dcm"] = slices[0].read_bytes()
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in slices:
            archive.write(path, path.name)
    good[".zip"] = held.getvalue()
    return good


def damage(content, rng):
    """Bytes with a few faults in them: flips, numbers, words, cuts, doublings."""
    content = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 3, 8))):
        kind, at = rng.randrange(7), rng.randrange(len(content) + 1)
        if kind == 0 and at < len(content):
            content[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            form = rng.choice(("<b", "<h", ">h", "<i", ">i", "<f", "<d", "<q"))
            content[at : at + struct.calcsize(form)] = _number(form, rng)
        elif kind == 2:
            word = rng.choice(WORDS)
            content[at : at + rng.choice((0, len(word)))] = word
        elif kind == 3:
            del content[at:]
        elif kind == 4:
            content[at:at] = content[at : at + rng.randrange(64)]
        elif kind == 5:
            del content[at : at + rng.randrange(1, 16)]
        else:
            content[at : at + 4] = rng.randbytes(4)
    return bytes(content)


def damaged(suffix, good, rng):
    """A damaged file of a format; in packed ones the damage is mostly inside."""
    if suffix == ".nii.gz" and rng.random() < 0.7:
        return gzip.compress(damage(gzip.decompress(good), rng), 1)
    if suffix == ".nii" and rng.random() < 0.3:
        return fields(good, rng)
    return damage(good, rng)


def fields(good, rng):
    """A NIfTI file some of whose header fields hold other values."""
    header = nib.Nifti1Header.from_fileobj(io.BytesIO(good), check=False)
    for name in rng.sample(list(header.keys()), rng.randint(1, 3)):
        values = np.atleast_1d(header[name])
        if values.dtype.kind in "iuf":
            value = rng.choice((*NUMBERS[:9], float("nan"), float("inf"), 0.5))
            with np.errstate(all="ignore"):
                header[name] = np.full(header[name].shape, value).astype(values.dtype)
    return header.binaryblock + good[348:]


def read(path, content):
    """Read a file every way there is; what was raised that should not have been."""
    path.write_bytes(content)
    for way in (read_volume, read_header, lambda one: read_image(Case("x", one))):
        try:
            with np.errstate(all="ignore"):
                way(path)
        except InputError as error:
            if "\n" in str(error):
                return f"more than one line: {error}"
        except Exception as error:  # noqa: BLE001 - which is what is looked for
            return f"{type(error).__name__}: {error}"
    return None


def batch(folder, number, size):
    """Read so many damaged files; the first fault that one of them finds."""
    rng, good = random.Random(number), seeds(folder)
    for _ in range(size):
        suffix = rng.choice(FORMATS)
        content = damaged(suffix, good[suffix], rng)
        path = folder / f"damaged{suffix}"
        fault = read(path, content)
        if fault:
            return f"{suffix}: {fault}"
    return None


def _number(form, rng):
    value = rng.choice(NUMBERS)
    if form[1] in "fd":
        return struct.pack(form, rng.choice((float("nan"), float("inf"), 1e30, float(value))))
    bits = 8 * struct.calcsize(form)
    return (value % (1 << bits)).to_bytes(bits // 8, "little")


def _in_child(folder, number, pipe):
    resource.setrlimit(resource.RLIMIT_AS, (6 << 30, 6 << 30))  # who wants more asks for absurd
    warnings.simplefilter("ignore")
    with Path(os.devnull).open("w") as nowhere:  # libraries speak of every damaged file
        os.dup2(nowhere.fileno(), sys.stderr.fileno())
    pipe.send(batch(folder, number, BATCH))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    end, number, faults = time.monotonic() + 60 * arguments.minutes, arguments.seed, 0
    fork = multiprocessing.get_context("fork")
    with tempfile.TemporaryDirectory() as name:
        while time.monotonic() < end:
            ours, theirs = fork.Pipe()
            child = fork.Process(target=_in_child, args=(Path(name), number, theirs))
            child.start()
            theirs.close()
            said = "no answer"
            if ours.poll(PATIENCE_S):
                try:
                    said = ours.recv()
                except EOFError:
                    child.join()
                    said = f"the process ended with {child.exitcode}"
            child.kill()
            child.join()
            if said is not None:
                faults += 1
                sys.stdout.write(f"seed {number}: {said}\n")
            number += 1
    files = (number - arguments.seed) * BATCH
    sys.stdout.write(f"{files:,} damaged files in {arguments.minutes:g} min: {faults} faults\n")
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
