"""Shocks: the month's correlated news, drawn once and read by all."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..system import System, parameter

NAMES = ("sentiment", "revenue", "demand", "rental", "rate", "spread", "equity", "power")

_CORRELATION = [
    [1.0, 0.3, 0.2, 0.2, -0.1, -0.5, 0.7, 0.0],
    [0.3, 1.0, 0.3, 0.2, 0.0, -0.2, 0.4, 0.0],
    [0.2, 0.3, 1.0, 0.4, 0.0, -0.1, 0.2, 0.1],
    [0.2, 0.2, 0.4, 1.0, 0.0, -0.2, 0.2, 0.0],
    [-0.1, 0.0, 0.0, 0.0, 1.0, -0.1, -0.1, 0.0],
    [-0.5, -0.2, -0.1, -0.2, -0.1, 1.0, -0.6, 0.0],
    [0.7, 0.4, 0.2, 0.2, -0.1, -0.6, 1.0, 0.0],
    [0.0, 0.0, 0.1, 0.0, 0.0, 0.0, 0.0, 1.0],
]


class Shocks(System):
    """Standard normals, correlated across the economy, independent from month to month."""

    title = "correlated monthly news"

    correlation = parameter(
        _CORRELATION,
        "1",
        "assumption: signs as economics has them, sizes moderate; order: " + ", ".join(NAMES),
        ge=-1,
        le=1,
    )

    def check(self) -> list[str]:
        matrix = np.array(self.correlation)
        where = "shocks.correlation"
        if not np.array_equal(matrix, matrix.T):
            i, j = np.argwhere(matrix != matrix.T)[0]
            return [
                f"{where}[{i}][{j}] = {matrix[i, j]}: [{j}][{i}] is {matrix[j, i]}; the matrix should be symmetric"
            ]
        if not np.array_equal(np.diag(matrix), np.ones(len(matrix))):
            return [f"{where}: the diagonal is {np.diag(matrix).tolist()}; it should be all 1"]
        least = float(np.linalg.eigvalsh(matrix)[0])
        if least < 1e-8:
            near = np.round(nearest_correlation(matrix), 4).tolist()
            return [
                f"{where}: not positive definite (smallest eigenvalue {least:.3g}); the nearest matrix that is: {near}"
            ]
        return []

    def prepare(self) -> dict[str, Any]:
        factor = np.linalg.cholesky(np.array(self.correlation))
        return {f"c{i}{j}": float(factor[i, j]) for i in range(len(NAMES)) for j in range(i + 1)}

    def step(self, xp: Any, s: Any, up: Any, draw: Any) -> dict[str, Any]:
        z = draw.normal("news", len(NAMES))
        news = {}
        for i, name in enumerate(NAMES):
            total = getattr(self, f"c{i}0") * z[0]
            for j in range(1, i + 1):
                total = total + getattr(self, f"c{i}{j}") * z[j]
            news[name] = total
        return news


def nearest_correlation(matrix: np.ndarray, floor: float = 1e-4, rounds: int = 200) -> np.ndarray:
    """The correlation matrix nearest in Frobenius norm, eigenvalues at least ``floor``.

    Alternating projections with Dykstra's correction (Higham 2002).
    """
    y = matrix.copy()
    correction = np.zeros_like(y)
    for _ in range(rounds):
        r = y - correction
        values, vectors = np.linalg.eigh(r)
        x = (vectors * np.maximum(values, floor)) @ vectors.T
        correction = x - r
        y = x.copy()
        np.fill_diagonal(y, 1.0)
    # the last projection was onto the unit diagonal: scale the positive definite one instead
    scale = np.sqrt(np.diag(x))
    return np.asarray(x / np.outer(scale, scale))
