"""Names for what the parts of the phantom hand to each other."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Point = tuple[float, float, float]
Generator = np.random.Generator
