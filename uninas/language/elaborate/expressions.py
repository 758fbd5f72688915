"""Expressions: integers, numbers, conditions, wires, and blocks as values."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

from uninas.errors import Span, error
from uninas.graph.builder import Wires
from uninas.language import tree as ast
from uninas.language.elaborate.core import FUNCTIONS, MAX_OPTIONS, Core, describe, text_of, whole
from uninas.language.scope import Callee, Nameless, Scope, Symbol, Value
from uninas.ops.op import MAX_INT, MAX_PORTS, REGISTRY, show_shape, show_value

OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: product(a, b),
    "//": lambda a, b: a // b,
    "%": lambda a, b: a % b,
    "==": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    "<": lambda a, b: a < b,
    ">": lambda a, b: a > b,
    "<=": lambda a, b: a <= b,
    ">=": lambda a, b: a >= b,
}
WIRE_OPERATORS = {"+": "add", "*": "multiply", "-": "subtract", "/": "divide"}


def product(a: int | float, b: int | float) -> int | float:
    """a times b, a fraction as it is written in decimals: 30 * 0.1 is 3.0, though 0.1 in binary is not a tenth."""
    if isinstance(a, int) and isinstance(b, int):
        return a * b
    return float(Fraction(repr(a)) * Fraction(repr(b))) if math.isfinite(a) and math.isfinite(b) else a * b


def divisible(numbers: Sequence[int | float], span: Span) -> int:
    """The multiple of the second number that is nearest to the first, at least one and above 90 percent of it.

    So networks round their widths (Howard et al. 2017, MobileNet, in TensorFlow's code).
    """
    number, *others = numbers
    by = whole(others[0])
    if len(others) != 1 or type(by) is not int or not 1 <= by <= MAX_INT or not abs(number) <= MAX_INT:
        raise error("UNI014", "expected a number and the integer that shall divide it for divisible", span)
    near = max(by, int(number + by / 2) // by * by)
    return near + by if near < 0.9 * number else near


class Expressions(Core):
    """Computes what stands between arrows and inside parentheses."""

    def run(self, steps: Sequence[ast.Step], wires: Wires, scope: Scope) -> Wires:
        """Lead wires through steps (see `Steps`)."""
        raise NotImplementedError

    def value(self, value: ast.Value, scope: Scope, symbols: tuple[str, ...] = ()) -> Value:
        """Any value. A bare word among `symbols` stands for itself; a chain becomes a nameless block."""
        if isinstance(value, ast.Chain):
            return Nameless(value.steps, scope, value)
        if isinstance(value, ast.Reference) and value.arguments is None and value.name.text in symbols:
            return Symbol(value.name.text)
        if isinstance(value, ast.Pipeline) and isinstance(value.head, ast.Reference):
            head = self.expression(value.head, scope)
            if isinstance(head, (Callee, Nameless)):
                first = ast.Apply(value.head.span, value.head.name, value.head.arguments, None)
                return Nameless((first, *value.steps), scope, value)
        return self.expression(value, scope)

    def expression(self, value: ast.Expression, scope: Scope) -> Value:
        self.work(1)
        if isinstance(value, (ast.Number, ast.Boolean)):
            return value.value
        if isinstance(value, ast.BlockInput):
            return self.lookup(ast.Word(value.span, "in"), scope)
        if isinstance(value, ast.Reference):
            return self.reference(value, scope)
        if isinstance(value, ast.Operation):
            return self.operator(value, scope)
        if isinstance(value, ast.Member):
            return self.member(value, scope)
        if isinstance(value, ast.Item):
            return self.item(value, scope)
        if isinstance(value, ast.Conditional):
            return self.expression(value.then if self.truth(value.condition, scope) else value.otherwise, scope)
        if isinstance(value, ast.Group):
            return self.bundle([self.wires(item, scope) for item in value.items], value.span, scope)
        return self.run(value.steps, self.wires(value.head, scope), scope)

    def bundle(self, parts: Sequence[Wires], span: Span, scope: Scope) -> Wires:
        wires = tuple(wire for part in parts for wire in part.wires)
        self.work(len(wires) // 4)
        if len(wires) > MAX_PORTS:
            raise error("UNI030", f"expected at most {MAX_PORTS} wires in a bundle, but got {len(wires)}", span)
        for part in parts:
            self.own(part, span, scope)
        return Wires(parts[0].builder, wires, tuple(len(part.wires) for part in parts))

    def reference(self, value: ast.Reference, scope: Scope) -> Value:
        name = value.name.text
        if name in FUNCTIONS and not scope.find(name):
            return self.function(name, value, scope)
        if value.arguments is None:
            return self.lookup(value.name, scope)
        return self.callee(value, scope)

    def callee(self, step: ast.Apply | ast.Reference, scope: Scope) -> Callee | Nameless:
        """The operation or block that a step applies, with its arguments."""
        value = self.lookup(step.name, scope, wires=False)
        if isinstance(value, (Callee, Nameless)):
            if step.arguments is None or (isinstance(value, Callee) and value.guessed):
                return value
            if isinstance(value, Callee) and value.arguments is None:
                return Callee(value.target, step.arguments, scope, step.span)
            raise error("UNI012", f"{step.name.text} has its arguments already", step.span)
        raise error(
            "UNI014", f"expected an operation or a block, but {step.name.text} is {describe(value)}", step.name.span
        )

    def function(self, name: str, value: ast.Reference, scope: Scope) -> int | float:
        """`min` or `max` of two or more numbers, or a number made `divisible` by another."""
        numbers: list[int | float] = []
        for argument in value.arguments or ():
            if argument.name is None and not isinstance(argument.value, (ast.Chain, ast.Options, ast.Range)):
                number = self.expression(argument.value, scope)
                if isinstance(number, (int, float)) and not isinstance(number, bool):
                    numbers.append(number)
        if len(numbers) < 2 or len(numbers) != len(value.arguments or ()):
            raise error("UNI014", f"expected two or more numbers for {name}", value.span)
        if name == "divisible":
            return divisible(numbers, value.span)
        return min(numbers) if name == "min" else max(numbers)

    def operator(self, value: ast.Operation, scope: Scope) -> Value:
        if value.operator in ("and", "or", "not"):
            return self.logic(value, scope)
        operands = self.operands(value, scope)
        if value.operator == "negative":
            operands.insert(0, 0)
        sign = "-" if value.operator == "negative" else value.operator
        wires = [operand for operand in operands if isinstance(operand, Wires)]
        if wires:
            return self.wire_operator(sign, operands, wires, value, scope)
        result = operands[0]
        for operand in operands[1:]:
            result = self.arithmetic(sign, result, operand, value.span)
        return result

    def operands(self, value: ast.Operation, scope: Scope) -> list[Value]:
        """The values on both sides. Beside the value of a choice parameter, a bare word stands for itself."""
        first, *rest = value.operands
        left = self.expression(first, scope)
        if isinstance(left, Symbol) and value.operator in ("==", "!="):
            words = tuple(other.name.text for other in rest if isinstance(other, ast.Reference))
            return [left, *(self.value(other, scope, words) for other in rest)]
        return [left, *(self.expression(other, scope) for other in rest)]

    def wire_operator(
        self, sign: str, operands: Sequence[Value], wires: list[Wires], value: ast.Operation, scope: Scope
    ) -> Wires:
        numbers = [operand for operand in operands if type(operand) in (int, float)]
        if sign not in WIRE_OPERATORS or len(wires) + len(numbers) != len(operands):
            raise error(
                "UNI014",
                f"expected wires and numbers joined by + - * or /, but got "
                f"{' and '.join(map(describe, operands))} with {sign}",
                value.span,
            )
        for wire in wires:
            if len(wire.wires) != 1:
                raise error("UNI021", f"expected one wire on each side of {sign}, but got {describe(wire)}", value.span)
        if numbers:
            return self.scaled(sign, operands, wires, value, scope)
        joined = self.bundle(wires, value.span, scope)
        name = WIRE_OPERATORS[sign]
        return self.add(REGISTRY[name](), joined, name, value.span, scope)

    def scaled(
        self, sign: str, operands: Sequence[Value], wires: list[Wires], value: ast.Operation, scope: Scope
    ) -> Wires:
        """Wires and numbers: what the numbers do is one `scale`, behind what the wires do among themselves."""
        factor, offset = 1.0, 0.0
        numbers = [float(operand) for operand in operands if isinstance(operand, (int, float))]
        if sign == "+":
            offset = sum(numbers)
        elif sign == "*":
            for number in numbers:
                factor = product(factor, number)
        elif sign == "-":
            first = isinstance(operands[0], Wires)
            factor, offset = (1.0, -numbers[0]) if first else (-1.0, numbers[0])
        elif isinstance(operands[0], Wires) and numbers[0]:
            factor = 1 / numbers[0]
        else:
            message = (
                "cannot divide a wire by zero" if isinstance(operands[0], Wires) else "cannot divide a number by a wire"
            )
            raise error("UNI022", message, value.span, "in -> root(inverse=true) is one divided by the square root")
        if not abs(factor) <= MAX_INT or not abs(offset) <= MAX_INT:
            raise error("UNI004", "expected a result of at most 2^40 in size", value.span)
        joined = wires[0]
        if len(wires) > 1:
            name = WIRE_OPERATORS[sign]
            joined = self.add(REGISTRY[name](), self.bundle(wires, value.span, scope), name, value.span, scope)
        made = REGISTRY["scale"](factor=factor, offset=offset + 0.0)  # type: ignore[call-arg]
        return self.add(made, joined, "scale", value.span, scope)

    def arithmetic(self, sign: str, left: Value, right: Value, span: Span) -> Value:
        if sign in ("==", "!=") and isinstance(left, Symbol) and isinstance(right, Symbol):
            return (left == right) == (sign == "==")
        numbers = (int, float, bool) if sign in ("==", "!=") else (int, float)
        if type(left) not in numbers or type(right) not in numbers:
            raise error(
                "UNI014",
                f"expected numbers on both sides of {sign}, but got {describe(left)} and {describe(right)}",
                span,
            )
        assert isinstance(left, (int, float)) and isinstance(right, (int, float))
        if sign in ("/", "//", "%") and right == 0:
            raise error("UNI022", f"cannot divide {show_value(left)} by zero", span)
        result: int | float | bool
        if sign != "/":
            result = OPERATORS[sign](left, right)
        elif isinstance(left, int) and isinstance(right, int):
            if left % right:
                raise error(
                    "UNI022",
                    f"expected {left} to be divisible by {right}, but {left % right} remains",
                    span,
                    "// rounds down",
                )
            result = left // right
        else:
            result = left / right
        if not isinstance(result, bool) and not abs(result) <= MAX_INT:
            raise error("UNI004", "expected a result of at most 2^40 in size", span)
        return result

    def logic(self, value: ast.Operation, scope: Scope) -> bool:
        if value.operator == "not":
            return not self.truth(value.operands[0], scope)
        decisive = value.operator == "or"
        return any(self.truth(o, scope) == decisive for o in value.operands) == decisive

    def truth(self, value: ast.Expression, scope: Scope) -> bool:
        result = self.expression(value, scope)
        if not isinstance(result, bool):
            raise error("UNI014", f"expected a condition, but got {describe(result)}", value.span)
        return result

    def member(self, value: ast.Member, scope: Scope) -> Value:
        wires = self.wires(value.of, scope)
        shape, letter = wires.shapes[0], value.field.text
        if letter not in "CHW"[: len(shape)]:
            raise error(
                "UNI010",
                f"a wire of shape {show_shape(shape)} has no {letter}",
                value.field.span,
                f"it has {', '.join('CHW'[: len(shape)])}",
            )
        return shape["CHW".index(letter)]

    def item(self, value: ast.Item, scope: Scope) -> Wires:
        wires = self.wires(value.of, scope)
        if isinstance(value.index, ast.Range):
            chosen = self.range(value.index, scope)
            if chosen[0] < 0 or chosen[-1] >= len(wires.wires):
                message = f"expected positions from 0 to {len(wires.wires) - 1}, but got {chosen[0]}..{chosen[-1]}"
                raise error("UNI021", message, value.index.span)
            return Wires(wires.builder, tuple(wires.wires[position] for position in chosen))
        index = self.integer(value.index, scope, "a position in a bundle", 0)
        if index >= len(wires.wires):
            raise error("UNI021", f"expected a position below {len(wires.wires)}, but got {index}", value.index.span)
        return Wires(wires.builder, (wires.wires[index],))

    def wires(self, value: ast.Expression, scope: Scope) -> Wires:
        result = self.expression(value, scope)
        if not isinstance(result, Wires):
            hint = "arrows carry tensors: write in -> ..." if isinstance(result, Callee) else ""
            raise error("UNI014", f"expected a wire, but got {describe(result)}", value.span, hint)
        return result

    def integer(self, value: ast.Expression, scope: Scope, what: str, low: int, high: int = MAX_INT) -> int:
        result = whole(self.expression(value, scope))
        if type(result) is not int:
            raise error("UNI014", f"expected {what} to be an integer, but got {describe(result)}", value.span)
        if not low <= result <= high:
            code = "UNI030" if result > high else "UNI015"
            raise error(code, f"expected {what} to be from {low:,} to {high:,}, but got {result:,}", value.span)
        return result

    def chosen(self, name: str, domain: ast.Domain, scope: Scope, symbols: tuple[str, ...] = ()) -> Value:
        if isinstance(domain, ast.Options):
            index = self.ask(name, tuple(text_of(value) for value in domain.values), domain.span)
            return self.value(domain.values[index], scope, symbols)
        values = self.range(domain, scope)
        return values[self.ask(name, tuple(map(str, values)), domain.span)]

    def range(self, domain: ast.Range, scope: Scope) -> range:
        low = self.integer(domain.low, scope, "the low end of a range", -MAX_INT)
        high = self.integer(domain.high, scope, "the high end of a range", -MAX_INT)
        step = 1 if domain.step is None else self.integer(domain.step, scope, "the step of a range", 1)
        values = range(low, high + 1, step)
        if not 1 <= len(values) <= MAX_OPTIONS:
            raise error(
                "UNI015", f"expected a range of 1 to {MAX_OPTIONS:,} values, but got {len(values):,}", domain.span
            )
        return values
