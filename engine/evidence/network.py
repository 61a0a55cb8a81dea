"""Network: who pays whom, and which payments go round."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING

from ..validate import ConfigError
from .by_month import Recorded
from .payments import Edge

if TYPE_CHECKING:
    import pandas as pd

OUTSIDE = "outside "
"""How the name of a payer or payee begins that is no firm of the network; no firm's name has a space in it."""

FUNDING = ("outside customers", "outside lenders")
"""The parties outside the network that ``flows`` shows, unless told otherwise: where most of its money comes from."""


def flows(recorded: Recorded, outside: Collection[str] = FUNDING) -> pd.DataFrame:
    """payer, payee, kind, value, circular: payments in USD bn a year, mean over paths and months, the largest first,
    those between firms before the others.

    What is paid between the same two for the same is added up, and what was never paid is left out. ``circular``
    marks payments between firms from whose payee money can come back to its payer: both are in one strongly
    connected component of the network. Warrants and round trips move no cash in the model. ``outside`` names the
    parties outside the network that are shown. Raises ConfigError where there are no firms.
    """
    import pandas as pd

    if recorded.paid is None:
        raise ConfigError([f"{recorded.name}: has no firms"])
    kept = {
        e: paid * 12.0 / recorded.months
        for e, paid in recorded.paid.items()
        if paid > 0.0 and all(_inside(x) or x in outside for x in (e.payer, e.payee))
    }
    back = _reaches((e.payer, e.payee) for e in kept if _inside(e.payer) and _inside(e.payee))
    rows = [
        {**e._asdict(), "value": v, "circular": e.payer in back.get(e.payee, ())}
        for e, v in kept.items()
    ]
    rows.sort(key=lambda r: (not (_inside(r["payer"]) and _inside(r["payee"])), -r["value"]))
    return pd.DataFrame(rows, columns=[*Edge._fields, "value", "circular"])


def _inside(name: str) -> bool:
    return not name.startswith(OUTSIDE)


def _reaches(pairs: Iterable[tuple[str, str]]) -> dict[str, set[str]]:
    """By payer, everyone that its money may come to, over any number of payments (Warshall 1962)."""
    found: dict[str, set[str]] = defaultdict(set)
    for payer, payee in pairs:
        found[payer].add(payee)
    for middle in list(found):
        for payer in found:
            if middle in found[payer]:
                found[payer] |= found[middle]
    return dict(found)
