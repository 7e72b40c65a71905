"""Mutants of a module: every small change to its logic that a test ought to notice.

A mutant replaces one node of the syntax tree: a comparison, an operator, a number, a condition, a member of an enum, a
statement. Annotations, docstrings, imports, messages and assertions are left alone: changing them changes no
behaviour that a caller relies on.
"""

from __future__ import annotations

import ast
import copy
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["ENUMS", "Mutant", "mutants_of"]

ENUMS = {
    "CircuitState": ("CLOSED", "OPEN", "HALF_OPEN"),
    "Outcome": ("SUCCESS", "TRANSIENT", "TIMEOUT", "OVERLOAD", "CLIENT", "NEUTRAL"),
}

_COMPARISONS: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
_ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.Pow: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult,
}
_REMOVABLE = (ast.Assign, ast.AugAssign, ast.Delete, ast.Raise, ast.Break, ast.Continue)
_SKIPPED = (ast.Import, ast.ImportFrom, ast.Assert, ast.JoinedStr, ast.Global, ast.Nonlocal)
# Declarations for type checkers and for the interpreter, with no behaviour of their own.
_DECLARED = {"__all__", "__slots__"}
_TYPE_MAKERS = {"TypeVar", "ParamSpec", "cast"}


@dataclass(slots=True)
class Mutant:
    """One change: in `qualname` at `line`, `before` becomes `after`; `apply` makes it in the tree it came from."""

    qualname: str
    line: int
    before: str
    after: str
    parent: ast.AST
    place: str
    index: int | None
    replacement: ast.AST
    number: int = field(default=1)

    @property
    def key(self) -> str:
        """What it is called, whatever line it is on."""
        again = f" ({self.number})" if self.number > 1 else ""
        return f"{self.qualname}: {self.before} -> {self.after}{again}"

    def apply(self) -> None:
        """Change the tree; there is no way back, so do it in a process of its own."""
        if self.index is None:
            setattr(self.parent, self.place, self.replacement)
        else:
            getattr(self.parent, self.place)[self.index] = self.replacement


def mutants_of(path: Path) -> tuple[ast.Module, list[Mutant]]:
    """The tree of the module at `path`, and its mutants in the order of its lines."""
    tree = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
    found = list(_walk(tree, ()))
    seen: Counter[str] = Counter()
    for mutant in found:
        seen[mutant.key] += 1
        mutant.number = seen[mutant.key]
    return tree, found


def _walk(node: ast.AST, names: tuple[str, ...]) -> Iterator[Mutant]:
    for place, value in ast.iter_fields(node):
        if _is_left_alone(node, place):
            continue
        for index, child in enumerate(value) if isinstance(value, list) else [(None, value)]:
            if not isinstance(child, ast.AST) or isinstance(child, _SKIPPED) or _is_declaration(child):
                continue
            for replacement in _replacements(child, parent=node):
                after = " ".join(ast.unparse(ast.fix_missing_locations(replacement)).split())
                yield Mutant(
                    qualname=".".join(names) or "module",
                    line=getattr(child, "lineno", 0),
                    before=" ".join(ast.unparse(child).split()),
                    after=after,
                    parent=node,
                    place=place,
                    index=index,
                    replacement=replacement,
                )
            is_named = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
            yield from _walk(child, (*names, child.name) if is_named else names)  # type: ignore[attr-defined]


def _is_left_alone(node: ast.AST, place: str) -> bool:
    if isinstance(node, ast.Raise) or place in {"annotation", "returns", "decorator_list", "type_ignores"}:
        return True
    # A default of None stands for "made here": anything else that is false would do as well.
    return (isinstance(node, ast.ClassDef) and place in {"bases", "keywords"}) or (
        isinstance(node, ast.ExceptHandler) and place == "type"
    )


def _is_declaration(node: ast.AST) -> bool:
    if isinstance(node, ast.Expr):
        return isinstance(node.value, ast.Constant)
    if isinstance(node, ast.Assign):
        target, value = node.targets[0], node.value
        if isinstance(target, ast.Name) and target.id in _DECLARED:
            return True
        # An alias of types, such as `Part = Callable[..., Any]`.
        if isinstance(value, ast.Subscript):
            return isinstance(target, ast.Name) and target.id[:1].isupper()
        return isinstance(value, ast.Call) and getattr(value.func, "id", "") in _TYPE_MAKERS
    return False


def _replacements(node: ast.AST, *, parent: ast.AST) -> Iterator[ast.AST]:
    if (isinstance(node, ast.Constant) and not isinstance(parent, ast.arguments | ast.MatchValue)) or (
        isinstance(node, ast.Constant) and isinstance(node.value, bool | int | float)
    ):
        yield from _constants(node)
    elif isinstance(node, ast.stmt):
        yield from _statements(node)
    elif isinstance(node, ast.expr):
        yield from _expressions(node)


def _constants(node: ast.Constant) -> Iterator[ast.AST]:
    value = node.value
    if isinstance(value, bool):
        yield ast.Constant(not value)
    elif isinstance(value, int):
        yield ast.Constant(value + 1)
        yield ast.Constant(value - 1)
    elif isinstance(value, float):
        # One more is no change to a number so large.
        yield ast.Constant(value + 1 if value + 1 != value else value * 2)
        yield ast.Constant(value / 2 if value else value - 1)


def _statements(node: ast.stmt) -> Iterator[ast.AST]:
    is_call = isinstance(node, ast.Expr) and isinstance(node.value, ast.Call | ast.Await)
    if is_call or isinstance(node, _REMOVABLE):
        yield ast.Pass()
    if isinstance(node, ast.Return) and node.value is not None and not isinstance(node.value, ast.Constant):
        yield ast.Return(ast.Constant(None))
    if isinstance(node, ast.AugAssign) and type(node.op) in _ARITHMETIC:
        changed = copy.copy(node)
        changed.op = _ARITHMETIC[type(node.op)]()
        yield changed


def _expressions(node: ast.expr) -> Iterator[ast.AST]:
    if isinstance(node, ast.Compare):
        for index, op in enumerate(node.ops):
            for other in _COMPARISONS[type(op)]:
                yield ast.Compare(node.left, [*node.ops[:index], other(), *node.ops[index + 1 :]], node.comparators)
    elif isinstance(node, ast.BinOp) and type(node.op) in _ARITHMETIC:
        yield ast.BinOp(node.left, _ARITHMETIC[type(node.op)](), node.right)
    elif isinstance(node, ast.BoolOp):
        yield ast.BoolOp(ast.Or() if isinstance(node.op, ast.And) else ast.And(), node.values)
        for left_out in range(len(node.values)):
            rest = [value for index, value in enumerate(node.values) if index != left_out]
            yield rest[0] if len(rest) == 1 else ast.BoolOp(node.op, rest)
    elif isinstance(node, ast.UnaryOp):
        yield node.operand
    elif isinstance(node, ast.IfExp):
        yield node.body
        yield node.orelse
    else:
        yield from _other_names(node)


def _other_names(node: ast.expr) -> Iterator[ast.AST]:
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in {"min", "max"}:
        yield ast.Call(ast.Name("max" if node.func.id == "min" else "min", ast.Load()), node.args, node.keywords)
    elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in ENUMS:
        members = ENUMS[node.value.id]
        following = members[(members.index(node.attr) + 1) % len(members)]
        yield ast.Attribute(node.value, following, node.ctx)
