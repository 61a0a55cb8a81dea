"""What the reported values of a program hang on: the inputs from which some operation leads to them."""

from __future__ import annotations

from .passes import eliminate
from .program import Op, Program, walk


def inputs_read(program: Program) -> frozenset[str]:
    """Parameters, whole numbers and columns that metrics and series depend on, by name.

    Changing any other input changes no reported value, on any path. Takes an optimized program.
    """
    read = {"param": set[int](), "iparam": set[int](), "take": set[int]()}
    live = eliminate(program, watch=False)
    for s in (*walk(live.init), *walk(live.step)):
        if isinstance(s, Op) and s.name in read:
            read[s.name].add(s.attr)
    reals, ints = read["param"], read["iparam"]
    # beyond the model's own come those that the host computes, from the model's own
    needed = {v.id for k, v in enumerate(live.host_reals, len(live.reals)) if k in reals}
    needed |= {v.id for k, v in enumerate(live.host_ints, len(live.ints)) if k in ints}
    for op in reversed(live.host):
        if needed.isdisjoint(v.id for v in op.results):
            continue
        needed |= {a.id for a in op.args}
        if op.name in read:
            read[op.name].add(op.attr)
    found = [name for k, name in enumerate(live.reals) if k in reals]
    found += [name for k, name in enumerate(live.ints) if k in ints]
    return frozenset(found + [live.columns[k][0] for k in read["take"]])
