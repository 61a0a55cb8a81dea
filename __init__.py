"""overbuilt: a Monte Carlo engine for the AI build-out and the credit behind it.

>>> import overbuilt
>>> result = overbuilt.simulate(overbuilt.load("base"), paths=100_000, seed=1)
>>> result.summary()
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
_began = time.time()  # before any module of the package is read: see engine/process.py

if TYPE_CHECKING:
    from .engine.attribution import attribute
    from .engine.compare import compare
    from .engine.replay import replay
    from .engine.result import Result
    from .engine.run_store import load_run
    from .engine.scenario import Scenario, load, shipped
    from .engine.sensitivity import sensitivity
    from .engine.simulate import simulate
    from .engine.sobol import sobol
    from .engine.system import DT, Economy, Row, System, output, parameter, rows, setting
    from .engine.validate import ConfigError
    from .engine.verify import verify
    from .kernels.backends.base import BackendError
    from .kernels.symbol import TraceError

_WHERE = {
    "attribute": "engine.attribution",
    "compare": "engine.compare",
    "replay": "engine.replay",
    "load_run": "engine.run_store",
    "sensitivity": "engine.sensitivity",
    "sobol": "engine.sobol",
    "verify": "engine.verify",
    "Result": "engine.result",
    "Scenario": "engine.scenario",
    "load": "engine.scenario",
    "shipped": "engine.scenario",
    "simulate": "engine.simulate",
    "DT": "engine.system",
    "Economy": "engine.system",
    "Row": "engine.system",
    "System": "engine.system",
    "output": "engine.system",
    "parameter": "engine.system",
    "rows": "engine.system",
    "setting": "engine.system",
    "ConfigError": "engine.validate",
    "BackendError": "kernels.backends.base",
    "TraceError": "kernels.symbol",
}

__all__ = [
    "DT",
    "BackendError",
    "ConfigError",
    "Economy",
    "Result",
    "Row",
    "Scenario",
    "System",
    "TraceError",
    "attribute",
    "compare",
    "load",
    "load_run",
    "output",
    "parameter",
    "replay",
    "rows",
    "sensitivity",
    "setting",
    "shipped",
    "simulate",
    "sobol",
    "verify",
]


def __getattr__(name: str) -> Any:
    # names are imported when first used, so that ``overbuilt --help`` need not wait for NumPy
    if name in _WHERE:
        from importlib import import_module

        return getattr(import_module(f".{_WHERE[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
