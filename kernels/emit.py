"""The emitter: a program becomes one kernel text, which is CUDA and SIMD C++ alike.

The text uses only names that both dialects define; ``cuda.h`` and ``native.h`` give them their meaning.
Every line of the model's own carries where it came from.
"""

from __future__ import annotations

import math
from importlib.resources import files

from .ops import OPS
from .program import Block, Loop, Op, Program, Sparse, Value, While, walk

_UNIFORM_TYPE = {"f": "real", "i": "int", "u": "word", "m": "bool"}


def _type(v: Value) -> str:
    return v.kind.upper() if v.varying else _UNIFORM_TYPE[v.kind]


class _Emitter:
    def __init__(self, program: Program) -> None:
        self.program = program
        self.lines: list[str] = []
        self.depth = 1
        self.alias: dict[int, str] = {}
        self.literals: set[int] = (
            set()
        )  # numbers of the text, so none of them a NaN that a path brought
        self.active: list[str] = []
        self.path = "path"
        self.inside: set[int] = set()  # what a sparse loop's body defines itself
        self.lane = ""  # inside of a sparse loop: which lane of a vector of paths each lane's event came from

    # ---- naming
    def name(self, v: Value) -> str:
        return self.alias.get(v.id, f"{v.kind}{v.id}")

    def as_varying(self, v: Value) -> str:
        return self.name(v) if v.varying else f"v_spread({self.name(v)})"

    def put(self, text: str, line: str = "") -> None:
        pad = "  " * self.depth
        note = f"  // {line}" if line else ""
        self.lines.append(f"{pad}{text}{note}")

    # ---- statements
    def block(self, block: Block) -> None:
        for s in block.statements:
            if isinstance(s, Op):
                self.op(s)
            elif isinstance(s, Loop):
                self.loop(s)
            elif isinstance(s, Sparse):
                self.sparse(s)
            else:
                self.while_any(s)

    def op(self, op: Op) -> None:
        if op.name == "philox":
            self.philox(op)
        elif op.name == "array":
            self.array(op)
        elif op.name == "set":
            self.set(op)
        else:
            r = op.results[0]
            if op.name == "const":
                self.alias[r.id] = _literal(op.attr, r.kind)
                if op.attr == op.attr:
                    self.literals.add(r.id)
                return
            self.put(f"const {_type(r)} {self.name(r)} = {self.expression(op)};", op.line)

    def expression(self, op: Op) -> str:
        r = op.results[0]
        if op.name == "param":
            return f"P[{op.attr}]"
        if op.name == "iparam":
            return f"IP[{op.attr}]"
        if op.name == "take":
            kind = self.program.columns[op.attr][1]
            slot = len(self.program.ints) + len(self.program.host_ints) + 2 * op.attr
            table = "C" if kind == "f" else "CI"
            prefix = "v_" if op.args[0].varying else "s_"
            return f"{prefix}take({table} + IP[{slot}], IP[{slot + 1}], {self.name(op.args[0])})"
        if op.name == "get":
            array, index = op.args
            read = f"{self.name(array)}, {array.length}, {self.name(index)}"
            if not self.lane or array.id in self.inside:
                return f"v_get({read})"
            return (
                f"v_get({read}, {self.lane})"
                if index.varying
                else f"v_pick(v_get({read}), {self.lane})"
            )
        if op.name in ("minimum", "maximum") and r.kind == "f" and r.varying:
            # with a literal first, the instruction itself lets a NaN pass
            for bound, x in (op.args, op.args[::-1]):
                if bound.id in self.literals:
                    return f"v_{op.name[:3]}_of({self.as_varying(bound)}, {self.name(x)})"
        spelled = [self.as_varying(a) if r.varying else self.name(a) for a in op.args]
        return OPS[op.name].c.format(*spelled, p="v_" if r.varying else "s_")

    def philox(self, op: Op) -> None:
        stream, monthly = op.attr
        words = [self.name(r) for r in op.results]
        month = f" | (word){self.name(self.program.month)}" if monthly else ""
        block, *salt = op.args
        word = f"0x{stream:08X}u"
        if salt:
            word = f"{word} ^ (word){self.name(salt[0])}"
        index = f"(U){self.name(block)}" if block.varying else f"(word){self.name(block)}"
        self.put(f"U {', '.join(words)};")
        self.put(
            f"philox({self.path}, high{month}, {word}, {index}, key0, key1, {', '.join(words)});",
            op.line,
        )

    def array(self, op: Op) -> None:
        r = op.results[0]
        name = self.name(r)
        self.put(f"{r.kind.upper()} {name}[{r.length}];", op.line)
        self.put(
            f"OB_LOOP for (int j = 0; j < {r.length}; ++j) {name}[j] = {self.as_varying(op.args[0])};"
        )

    def set(self, op: Op) -> None:
        array, index, value = op.args
        name = self.name(array)
        self.alias[op.results[0].id] = (
            name  # in place: the verifier saw that nobody reads the old one
        )
        common = f"{name}, {array.length}, {self.name(index)}, {self.as_varying(value)}"
        if self.lane and array.id not in self.inside:
            self.put(f"v_set({common}, {self.active[-1]}, {self.lane});", op.line)
        elif self.active:
            self.put(f"v_set({common}, {self.active[-1]});", op.line)
        elif index.varying:
            self.put(f"v_set({common}, v_spread(true));", op.line)
        else:
            self.put(f"s_set({common});", op.line)

    def open_carry(
        self, init: tuple[Value, ...], carry: tuple[Value, ...], results: tuple[Value, ...]
    ) -> None:
        """Declare what a loop carries; the loop's results are its variables after the last round."""
        for before, inside, after in zip(init, carry, results, strict=True):
            if inside.length:
                self.alias[inside.id] = self.alias[after.id] = self.name(before)
                continue
            name = f"{inside.kind}{inside.id}"
            start = self.as_varying(before) if inside.varying else self.name(before)
            self.put(f"{_type(inside)} {name} = {start};")
            self.alias[after.id] = name

    def close_carry(
        self, carry: tuple[Value, ...], outs: tuple[Value, ...], mask: str = ""
    ) -> None:
        """Parallel copies: every new value is read before any variable is overwritten."""
        moves = [
            (c, o)
            for c, o in zip(carry, outs, strict=True)
            if not c.length and self.name(c) != self.name(o)
        ]
        targets = {self.name(c) for c, _ in moves}
        copies: list[tuple[str, str]] = []
        for c, o in moves:
            source = self.as_varying(o) if c.varying else self.name(o)
            if self.name(o) in targets:
                self.put(f"const {_type(c)} next_{self.name(c)} = {source};")
                source = f"next_{self.name(c)}"
            copies.append((self.name(c), source))
        for target, source in copies:
            self.put(
                f"{target} = v_sel({mask}, {source}, {target});"
                if mask
                else f"{target} = {source};"
            )

    def loop(self, s: Loop) -> None:
        self.open_carry(s.init, s.carry, s.results)
        i = self.name(s.index)
        going = f"going{s.index.id}"
        if s.cond is not None:
            self.put(f"M {going} = {self.active[-1] if self.active else 'v_spread(true)'};")
        self.put(
            f"OB_LOOP for (int {i} = {self.name(s.first)}; {i} < {self.name(s.last)}; ++{i}) {{",
            s.line,
        )
        self.depth += 1
        if s.cond is not None:
            self.block(s.cond)
            self.put(f"{going} = {going} & {self.as_varying(s.cond.outs[0])};")
            self.put(f"if (!v_any({going})) break;")
            self.active.append(going)
        self.block(s.body)
        self.close_carry(s.carry, s.body.outs, going if s.cond is not None else "")
        if s.cond is not None:
            self.active.pop()
        self.depth -= 1
        self.put("}")

    def while_any(self, s: While) -> None:
        self.open_carry(s.init, s.carry, s.results)
        active = f"active{s.cond.outs[0].id}"
        self.put("for (;;) {", s.line)
        self.depth += 1
        self.block(s.cond)
        cond = self.as_varying(s.cond.outs[0])
        # idle lanes of an enclosing loop must not keep this one spinning
        outer = f" & {self.active[-1]}" if self.active else ""
        self.put(f"const M {active} = {cond}{outer};")
        self.put(f"if (!v_any({active})) break;")
        self.active.append(active)
        self.block(s.body)
        self.active.pop()
        self.close_carry(s.carry, s.body.outs, active)
        self.depth -= 1
        self.put("}")

    def sparse(self, s: Sparse) -> None:
        """Ask all indices, listing the events; then the body, for as many events at a time as there are lanes."""
        n, events = s.arrays, f"events{s.event.id}"
        for before, inside, after in zip(s.init[:n], s.carry, s.results[:n], strict=True):
            self.alias[inside.id] = self.alias[after.id] = self.name(before)
        for before, after in zip(s.init[n:], s.results[n:], strict=True):
            self.put(f"Sum sum{after.id} = ob_sum({self.as_varying(before)});")
        i, outer = self.name(s.index), f"{self.active[-1]} & " if self.active else ""
        self.put(f"OB_EVENTS({events}, {s.most});")
        first = self.name(s.first)
        last = f"s_min({self.name(s.last)}, {first} + {s.most})"
        self.put(f"OB_LOOP for (int {i} = {first}; {i} < {last}; ++{i}) {{", s.line)
        self.depth += 1
        self.block(s.cond)
        self.put(f"OB_MARK({events}, {i}, {outer}{self.as_varying(s.cond.outs[0])});")
        self.depth -= 1
        self.put("}")
        self.put(f"OB_FOR_EVENTS({events}) {{", s.line)
        self.depth += 1
        lane, live = f"lane{s.event.id}", f"live{s.event.id}"
        self.put(f"const I {self.name(s.event)} = OB_EVENT({events});")
        self.put(f"const I {lane} = OB_EVENT_LANE({events});")
        self.put(f"const M {live} = OB_EVENT_LIVE({events});")
        kept = self.alias, self.lane, self.path, self.active
        self.alias, self.lane, self.path = dict(self.alias), lane, f"path{s.event.id}"
        self.put(f"const U {self.path} = v_pick({kept[2]}, {lane});")
        self.inside = _defined(s.body)
        for v in _read(s.body):
            if v.varying and not v.length and v.id not in self.inside and v.id != s.event.id:
                picked = f"{v.kind}{v.id}_{s.event.id}"
                self.put(f"const {_type(v)} {picked} = v_pick({self.name(v)}, {lane});")
                self.alias[v.id] = picked
        self.active = [live]
        self.block(s.body)
        for out, after in zip(s.body.outs[n:], s.results[n:], strict=True):
            self.put(f"ob_add(sum{after.id}, {self.as_varying(out)}, {live}, {lane});")
        self.alias, self.lane, self.path, self.active = kept
        self.depth -= 1
        self.put("}")
        for after in s.results[n:]:
            self.put(f"const F {self.name(after)} = ob_total(sum{after.id});")

    # ---- the kernel
    def kernel(self) -> str:
        p = self.program
        self.put("OB_PATHS {")
        self.depth += 1
        self.put("const U path = OB_PATH_WORD;")
        self.put("const word high = OB_PATH_HIGH;")
        self.block(p.init)
        self.open_carry(p.init.outs, p.state, p.state)
        self.put("I first_bad = v_spread(0);")
        month = self.name(p.month)
        self.put(f"for (int {month} = 1; {month} <= months; ++{month}) {{")
        self.depth += 1
        self.block(p.step)
        self.report(p)
        self.close_carry(p.state, p.next_state())
        self.depth -= 1
        self.put("}")
        self.put("v_store(bad + i, first_bad);")
        self.depth -= 1
        self.put("}")
        body = "\n".join(self.lines)
        return f"OB_KERNEL(OB_ARGUMENTS) {{\n{body}\n}}\n"

    def report(self, p: Program) -> None:
        month = self.name(p.month)
        self.put("F watch = v_spread(R(0));")
        for v in p.next_state():
            if v.kind == "f" and not v.length:
                self.put(f"OB_WATCH({self.as_varying(v)});")
        self.put(f"if ({month} == months) {{")
        self.depth += 1
        for k, v in enumerate(p.metric_values()):
            self.put(f"const F metric{k} = {self.as_real(v)};")
            self.put(f"OB_WATCH(metric{k});")
            self.put(f"v_store(metrics + {k} * stride + i, metric{k});")
        for v in p.next_state():
            if v.kind == "f" and v.length:
                self.put(f"for (int j = 0; j < {v.length}; ++j) OB_WATCH({self.name(v)}[j]);")
        self.depth -= 1
        self.put("}")
        self.put(
            f"first_bad = v_sel(v_ne(watch, watch) & v_eq(first_bad, v_spread(0)), v_spread({month}), first_bad);"
        )
        if p.series:
            self.put("if (series) {")
            self.depth += 1
            for rows, v in zip(p.series_rows(), p.series_values(), strict=True):
                row = f"({month} - 1) * {p.row_count()}LL + {rows.start}"
                if v.length:
                    element = f"{self.name(v)}[j]"
                    real = element if v.kind == "f" else f"v_real({element})"
                    self.put(
                        f"for (int j = 0; j < {v.length}; ++j) v_store(series + ({row} + j) * stride + i, {real});"
                    )
                else:
                    self.put(f"v_store(series + ({row}) * stride + i, {self.as_real(v)});")
            self.depth -= 1
            self.put("}")

    def as_real(self, v: Value) -> str:
        return self.as_varying(v) if v.kind == "f" else f"v_real({self.as_varying(v)})"


def _defined(block: Block) -> set[int]:
    """The values that a block and those inside of it define."""
    found: set[int] = set()
    for s in walk(block):
        found |= {v.id for v in s.results}
        if not isinstance(s, Op):
            found |= {v.id for v in s.carry}
    return found


def _read(block: Block) -> list[Value]:
    """The values that a block and those inside of it read, each once."""
    found: dict[int, Value] = {v.id: v for v in block.outs}
    for s in walk(block):
        if isinstance(s, Op):
            found |= {v.id: v for v in s.args}
            continue
        found |= {v.id: v for v in (*s.init, *s.body.outs)}
        if s.cond is not None:
            found |= {v.id: v for v in s.cond.outs}
    return list(found.values())


def _literal(value: object, kind: str) -> str:
    if kind == "m":
        return "true" if value else "false"
    if kind == "i":
        return str(value) if value != -(2**31) else "(-2147483647 - 1)"
    if kind == "u":
        return f"{value}u"
    number = float(str(value)) if not isinstance(value, float) else value
    if math.isnan(number):
        return 'R(__builtin_nan(""))'
    if math.isinf(number):
        return "R(1.0 / 0.0)" if number > 0 else "R(-1.0 / 0.0)"
    return f"R({number!r})"


def emit(program: Program) -> str:
    """The kernel alone, without its dialect: the same text for every dialect and precision."""
    return _Emitter(program).kernel()


def source(text: str, dialect: str, float64: bool) -> str:
    """A whole source file: precision, dialect, frame, kernel. ``dialect`` is ``native`` or ``cuda``."""
    here = files(__package__)

    def read(name: str) -> str:
        return here.joinpath(name).read_text(encoding="utf-8")

    head = read(f"{dialect}.h")
    if dialect == "native":
        head = head.replace('#include "math.h"\n', read("math.h"))
    return f"#define OB_DOUBLE {int(float64)}\n{head}\n{read('frame.h')}\n{text}"
