#!/bin/sh
# Install medseg from a checkout, with every package in the version of constraints.txt. The Dockerfile
# runs this; so may you, in any environment that shall hold the same packages as the image.
#
#   docker/install.sh [CHECKOUT [EXTRAS]]
#
# PYTHON       the interpreter that gets the packages (python)
# TORCH_INDEX  a further package index that has the wanted build of torch; none: the usual index alone
set -eu

checkout=${1:-.}
extras=${2:-dicom}
python=${PYTHON:-python}
constraints=$checkout/constraints.txt

# torch first and by its exact version; of 2.13.0 and 2.13.0+cpu pip takes the latter
"$python" -m pip install --no-cache-dir --constraint "$constraints" \
    ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} "$(grep '^torch==' "$constraints")"
"$python" -m pip install --no-cache-dir --constraint "$constraints" "$checkout[$extras]"
"$python" -m pip check
