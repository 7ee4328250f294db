"""``$`` expressions of a bundle: evaluated over their syntax tree within a safe set, or refused.

Python's own ``eval`` and ``exec`` are never used. What a prediction needs is evaluated by
:func:`evaluate`; what it does not need is never run, only looked at by :func:`check_aside`.
"""

import ast
import operator
import re
from collections.abc import Callable, Mapping
from typing import Any

from medseg.bundles.allowed import (
    ASIDE_CALLS,
    ASIDE_METHODS,
    ASIDE_MODULES,
    CALLS,
    DTYPES,
    LONGEST,
)

REFERENCE = re.compile(r"@(\w+(?:(?:::|#)\w+)*)")
SYSTEM = ("os", "sys")
MOST_PARTS = 10_000  # of nested lists
LARGEST = 1e15  # number; larger ones are no sizes
ALLOWED_ASIDE = (
    ast.Module, ast.Expr, ast.Import, ast.ImportFrom, ast.alias, ast.expr, ast.expr_context,
    ast.operator, ast.unaryop, ast.boolop, ast.cmpop, ast.comprehension, ast.keyword,
    ast.arguments, ast.arg,
)  # fmt: skip
BINARY: Mapping[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul,
    ast.Div: operator.truediv, ast.FloorDiv: operator.floordiv, ast.Mod: operator.mod,
}  # fmt: skip
UNARY: Mapping[type, Callable[[Any], Any]] = {
    ast.Not: operator.not_, ast.USub: operator.neg, ast.UAdd: operator.pos,
}  # fmt: skip
COMPARE: Mapping[type, Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq, ast.NotEq: operator.ne, ast.Lt: operator.lt, ast.LtE: operator.le,
    ast.Gt: operator.gt, ast.GtE: operator.ge, ast.Is: operator.is_, ast.IsNot: operator.is_not,
}  # fmt: skip


class UnsafeError(ValueError):
    """An expression that does more than the safe set allows; the message says what."""


def evaluate(text: str, lookup: Callable[[str], Any]) -> Any:
    """Value of an expression, without its ``$``.

    Args:
        text: The expression.
        lookup: Gives the value behind ``@id``.

    Raises:
        UnsafeError: If it is outside the safe set, or has no value.
    """
    tree, names = _tree(text, "eval")
    values = {f"_ref_{index}_": name for index, name in enumerate(names)}
    try:
        return _Evaluation(values, lookup).value(tree.body)  # type: ignore[attr-defined]
    except UnsafeError:
        raise
    except (TypeError, ArithmeticError, LookupError, ValueError, RecursionError) as error:
        raise UnsafeError(f"it has no value: {error}") from error


def check_aside(text: str) -> None:
    """Look at an expression that is never run; refuse what a bundle has no honest use for.

    Raises:
        UnsafeError: If it calls, imports or reaches into anything but the known.
    """
    tree, names = _tree(text, "exec")
    known = {f"_ref_{index}_" for index in range(len(names))}
    for node in ast.walk(tree):
        if not isinstance(node, ALLOWED_ASIDE):
            raise UnsafeError(f"{type(node).__name__} is not in the safe set")
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            _check_import(node)
        elif isinstance(node, ast.Call):
            _check_call(node)
        elif isinstance(node, ast.Attribute):
            _check_reach(node)
        named = getattr(node, "id", None) or getattr(node, "attr", None) or ""
        if isinstance(named, str) and named.startswith("_") and named not in known | {"_"}:
            raise UnsafeError(f"{named} is not in the safe set")


def _tree(text: str, mode: str) -> tuple[ast.AST, list[str]]:
    """The syntax tree, and what each ``_ref_N_`` in it refers to."""
    names: list[str] = []

    def named(match: re.Match[str]) -> str:
        names.append(match[1])
        return f"_ref_{len(names) - 1}_"

    if len(text) > LONGEST:
        raise UnsafeError(f"it is longer than {LONGEST} characters")
    try:
        return ast.parse(REFERENCE.sub(named, text).strip(), mode=mode), names
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise UnsafeError("it is no Python expression") from error


def _check_import(node: ast.Import | ast.ImportFrom) -> None:
    modules = [one.name for one in node.names]
    if isinstance(node, ast.ImportFrom):
        modules = [node.module or "."]
        if modules[0].partition(".")[0] in SYSTEM:
            raise UnsafeError(f"import from {modules[0]} is not in the safe set")
    for name in modules:
        if name.partition(".")[0] not in ASIDE_MODULES:
            raise UnsafeError(f"import of {name} is not in the safe set")


def _check_reach(node: ast.Attribute) -> None:
    """Of the system's modules, name what may be called and nothing else."""
    name = dotted(node) or ""
    known = any(f"{one}.".startswith(f"{name}.") for one in ASIDE_CALLS)
    if name.partition(".")[0] in SYSTEM and not known:
        raise UnsafeError(f"{name} is not in the safe set")


def _check_call(node: ast.Call) -> None:
    name = dotted(node.func)
    if name in ASIDE_CALLS:
        return
    known = isinstance(node.func, ast.Attribute) and node.func.attr in ASIDE_METHODS
    if not known or (name or "").split(".")[0] in ASIDE_MODULES:
        raise UnsafeError(f"{name or ast.unparse(node.func)[:80]}() is not in the safe set")


def dotted(node: ast.AST) -> str | None:
    """``a.b.c`` of a chain of names, or ``None``."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        before = dotted(node.value)
        return before and f"{before}.{node.attr}"
    return None


class _Evaluation:
    def __init__(self, names: Mapping[str, str], lookup: Callable[[str], Any]) -> None:
        self.names, self.lookup = names, lookup

    def value(self, node: ast.AST) -> Any:
        """Value of a node; every kind of node has a method of its name."""
        way = getattr(self, f"_{type(node).__name__.lower()}", None)
        if way is None:
            raise UnsafeError(f"{type(node).__name__} is not in the safe set")
        return _bounded(way(node))

    def _constant(self, node: ast.Constant) -> Any:
        return node.value

    def _tuple(self, node: ast.Tuple) -> Any:
        return tuple(self.value(one) for one in node.elts)

    def _list(self, node: ast.List) -> Any:
        return [self.value(one) for one in node.elts]

    def _unaryop(self, node: ast.UnaryOp) -> Any:
        return _of(UNARY, node.op)(self.value(node.operand))

    def _binop(self, node: ast.BinOp) -> Any:
        one, other, way = self.value(node.left), self.value(node.right), _of(BINARY, node.op)
        numbers = isinstance(one, (int, float)) and isinstance(other, (int, float))
        joined = isinstance(node.op, ast.Add) and isinstance(one, (str, list, tuple))
        repeated = isinstance(node.op, ast.Mult) and isinstance(one, (list, tuple))
        small = repeated and isinstance(other, int) and len(one) * other <= LONGEST
        if not (numbers or joined or small):
            raise UnsafeError(f"{type(node.op).__name__} is for numbers, texts and lists")
        return way(one, other)

    def _boolop(self, node: ast.BoolOp) -> Any:
        values = [self.value(one) for one in node.values]
        stop = isinstance(node.op, ast.Or)
        return next((one for one in values if bool(one) is stop), values[-1])

    def _compare(self, node: ast.Compare) -> Any:
        parts = [self.value(one) for one in (node.left, *node.comparators)]
        pairs = zip(node.ops, parts, parts[1:], strict=False)
        return all(_of(COMPARE, op)(one, other) for op, one, other in pairs)

    def _ifexp(self, node: ast.IfExp) -> Any:
        return self.value(node.body if self.value(node.test) else node.orelse)

    def _subscript(self, node: ast.Subscript) -> Any:
        whole = self.value(node.value)
        if not isinstance(whole, (list, tuple, dict)):
            raise UnsafeError("only lists are taken apart")
        return whole[self.value(node.slice)]

    def _name(self, node: ast.Name) -> Any:
        if node.id in self.names:
            return self.lookup(self.names[node.id])
        raise UnsafeError(f"{node.id} is not in the safe set")

    def _attribute(self, node: ast.Attribute) -> Any:
        name = dotted(node)
        if name is None or name not in DTYPES:
            raise UnsafeError(f"{name or ast.unparse(node)[:80]} is not in the safe set")
        return DTYPES[name]

    def _call(self, node: ast.Call) -> Any:
        name = dotted(node.func)
        if name is None or name not in CALLS or node.keywords:
            raise UnsafeError(f"{name or ast.unparse(node.func)[:80]}() is not in the safe set")
        return CALLS[name](*(self.value(one) for one in node.args))


def _of(table: Mapping[type, Callable[..., Any]], node: ast.AST) -> Callable[..., Any]:
    if type(node) not in table:
        raise UnsafeError(f"{type(node).__name__} is not in the safe set")
    return table[type(node)]


def _bounded(value: Any) -> Any:
    if isinstance(value, (str, list, tuple)) and len(value) > LONGEST:
        raise UnsafeError(f"a value longer than {LONGEST}")
    if isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) > LARGEST:
        raise UnsafeError(f"a number beyond {LARGEST:g}")
    if isinstance(value, (list, tuple, dict)) and has_more_parts(value, MOST_PARTS):
        raise UnsafeError(f"a value of more than {MOST_PARTS} parts")
    return value


def has_more_parts(value: Any, most: int) -> bool:
    """Whether nested data have more parts than that; references can fold many into few."""
    left, seen = [value], 0
    while left and seen + len(left) <= most:
        part, seen = left.pop(), seen + 1
        if isinstance(part, (list, tuple, dict)):
            left.extend(part.values() if isinstance(part, dict) else part)
    return bool(left)
