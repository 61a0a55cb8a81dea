"""Values as narrow as they may be in memory; what is written is always wide, so no byte hangs on it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def narrow(values: Any) -> NDArray[Any]:
    """The values as float32 where that holds them all, else as float64; always a copy."""
    wide = np.array(values, np.float64)
    with np.errstate(over="ignore"):
        found = wide.astype(np.float32)
    return found if bool((found == wide).all()) else wide
