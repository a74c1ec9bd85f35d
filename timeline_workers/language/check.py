"""The checker of expressions, before any event is seen: kinds, types of columns, and the rules on both.

``check`` walks the tree once. Every column is a type variable (union-find): declared types seed it,
comparisons unify it, and what it comes to is what an event's column must be.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NoReturn

from timeline_workers.errors import ExpressionError

from . import tree as t
from .canonical import fold, to_text
from .kinds import ColumnType, Kind, KindName, ValueType, Variable, type_of
from .nesting import refuse_deep
from .operator_table import Operator, row_of, stands_in_conditions
from .suggestions import nearest

_TYPES: dict[ColumnType, ValueType] = {
    "bool": "bool",
    "int": "number",
    "float": "number",
    "string": "string",
}
_GIVES: dict[KindName, ValueType] = {"boolean": "bool", "numeric": "number"}
_A = {"bool": "a bool", "number": "a number", "string": "a string"}


@dataclass(frozen=True)
class Alike:
    """Columns that an expression compares with one another and whose type nothing fixes: in one event those
    that are there must be of one type (int and float are). ``ordered``: compared by size, too, which bools
    are not.
    """

    columns: tuple[str, ...]
    ordered: bool


@dataclass(frozen=True)
class Checked:
    """A checked expression.

    ``kind``: of the root; ``requirements``: what each column's values must be, by how the expression uses
    them and by declaration, for columns of which that is known; ``alike``: the others that are compared with
    one another; ``columns``: every column used, sorted.
    """

    expression: t.Expression
    kind: Kind
    requirements: dict[str, ValueType]
    alike: tuple[Alike, ...]
    columns: tuple[str, ...]
    _kinds: dict[int, Kind] = field(repr=False)
    _by_content: dict[t.Expression, Kind] = field(default_factory=dict, repr=False)

    def kind_of(self, node: t.Expression) -> Kind:
        """Return the kind of ``node`` or of an equal node of the expression; KeyError if there is none."""
        kind = self._kinds.get(id(node))
        if kind is not None:
            return kind
        if not self._by_content:
            for own in _nodes(self.expression):
                self._by_content[own] = self._kinds[id(own)]
        return self._by_content[node]


def check(
    expression: t.Expression,
    columns: Mapping[str, ColumnType] | None = None,
    *,
    text: str | None = None,
) -> Checked:
    """Check ``expression`` against the declared ``columns`` (None: undeclared, any column goes).

    ``text`` is what the expression was parsed from: with it, errors show the place. Raises ExpressionError
    and nothing else.
    """
    refuse_deep(expression, text)
    checker = _Checker(columns, text)
    kind = checker.root(expression)
    kinds = {key: checker.resolved(found) for key, found in checker.kinds.items()}
    return Checked(
        expression=expression,
        kind=checker.resolved(kind),
        requirements=checker.requirements(),
        alike=checker.alike(),
        columns=tuple(sorted(checker.used)),
        _kinds=kinds,
    )


def _nodes(expression: t.Expression) -> list[t.Expression]:
    nodes, stack = [], [expression]
    while stack:
        node = stack.pop()
        nodes.append(node)
        stack.extend(node.children())
    return nodes


@dataclass(slots=True)
class _Found:
    """A kind whose value type may still be open. ``constant``: made of literals only."""

    name: KindName
    value: Variable
    exact: bool = False
    constant: bool = False


class _Checker:
    def __init__(self, columns: Mapping[str, ColumnType] | None, text: str | None) -> None:
        self._declared = columns
        self._text = text
        self._variables: dict[str, Variable] = {}
        self._in_predicate = False
        self.kinds: dict[int, _Found] = {}
        self.used: set[str] = set()

    # --- results ---

    def resolved(self, found: _Found) -> Kind:
        return Kind(found.name, found.value.find().type, found.exact)

    def requirements(self) -> dict[str, ValueType]:
        types = {name: self._variables[name].find().type for name in sorted(self.used)}
        return {name: type_ for name, type_ in types.items() if type_ is not None}

    def alike(self) -> tuple[Alike, ...]:
        classes: dict[int, list[str]] = {}
        roots: dict[int, Variable] = {}
        for name in sorted(self.used):
            root = self._variables[name].find()
            if root.type is None:
                classes.setdefault(id(root), []).append(name)
                roots[id(root)] = root
        return tuple(
            Alike(tuple(names), roots[root].ordered)
            for root, names in classes.items()
            if len(names) > 1 or roots[root].ordered
        )

    # --- errors ---

    def fail(self, message: str, node: t.Expression, hint: str = "", column: str | None = None) -> NoReturn:
        span = node.span
        if self._text is None or span is None:
            message, span = f"{message} (in {_short(to_text(node))})", None
        elif column is not None and not isinstance(node, t.Column):
            # The tree keeps no span for the column inside latest_event_to_state(x) and group_by(x).
            start = self._text.rfind("group_by", *span) if isinstance(node, t.Aggregate) else span[0]
            at = self._text.find(column, self._text.find("(", start), span[1])
            span = (at, at + len(column)) if at >= 0 else span
        raise ExpressionError(message, text=self._text, span=span, hint=hint)

    # --- the walk ---

    def root(self, node: t.Expression) -> _Found:
        if isinstance(node, t.Aggregate):
            of = self.visit(node.of)
            self._refuse_end(node.of, of)
            self._column(node.group_by, node)
            if node.functions != ("count",):
                self._aggregated(node, of)
            found = _Found("numeric", Variable("number"), exact=of.exact)
            self.kinds[id(node)] = found
            return found
        found = self.visit(node)
        self._refuse_end(node, found)
        return found

    def _refuse_end(self, node: t.Expression, found: _Found) -> None:
        if found.constant:
            self.fail(
                "a metric cannot be a constant", node, "it has to look at events, as has_existed(x == 1) does"
            )

    def _aggregated(self, node: t.Aggregate, of: _Found) -> None:
        if of.name != "state":
            return
        functions = ", ".join(name for name in node.functions if name != "count")
        self._require(of.value, "number", node.of, f"{functions} cannot add up", _boolean_hint(node.of, of))

    def visit(self, node: t.Expression) -> _Found:
        found = self._visit(node)
        self.kinds[id(node)] = found
        return found

    def _visit(self, node: t.Expression) -> _Found:  # noqa: RET503 - fail() never returns
        match node:
            case t.Literal():
                return _Found("state", Variable(type_of(node.value)), constant=True)
            case t.Column():
                return self._visit_column(node)
            case t.Changelog():
                if node.kind == "number":
                    return _Found("numeric", Variable("number"))
                values = {"boolean": Variable("bool"), "numeric": Variable("number")}
                return _Found(node.kind, values.get(node.kind, Variable()), exact=node.kind == "numeric")
            case t.Compare():
                return self._compare(node)
            case t.And() | t.Or() | t.Not():
                sign = row_of(node).signs[0]
                for operand in node.children():
                    self._boolean(operand, sign)
                return self._truth()
            case t.Arithmetic():
                return self._arithmetic(node)
            case t.Aggregate():
                pass
            case _:
                return self._function(node, row_of(node))
        self.fail("aggregate is the last step of an expression, not a part of one", node)

    def _truth(self) -> _Found:
        return _Found("event" if self._in_predicate else "boolean", Variable("bool"))

    def _visit_column(self, node: t.Column) -> _Found:
        variable = self._column(node.name, node)
        if not self._in_predicate:
            self.fail(
                f"column {_name(node.name)} has a value only at its events",
                node,
                f"write latest_event_to_state({_name(node.name)}) for its latest value, or put the condition "
                "on it in has_existed(...), has_existed_within(..., 5s) or event_count(...)",
            )
        return _Found("event", variable)

    def _column(self, name: str, node: t.Expression) -> Variable:
        self.used.add(name)
        variable = self._variables.get(name)
        if variable is not None:
            return variable
        variable = Variable()
        if self._declared is not None:
            if name not in self._declared:
                near = nearest(name, self._declared)
                known = ", ".join(sorted(self._declared)) or "none"
                hint = f"did you mean {near}?" if near else f"the source declares {known}"
                self.fail(f"the source declares no column {_name(name)}", node, hint, column=name)
            declared = self._declared[name]
            variable.type = _TYPES[declared]
            variable.because = f"{_name(name)} is declared as {declared}"
        self._variables[name] = variable
        return variable

    def _function(self, node: t.Expression, row: Operator) -> _Found:
        if row.arguments[0] in ("condition", "events"):
            return self._existence(node, row, node.children()[0])
        value, exact = Variable(_GIVES.get(row.gives)), []
        if row.arguments[0] == "column":
            value = self._column(getattr(node, "column"), node)  # noqa: B009 - whichever class it is
        self._window(node)
        for kind, operand in zip(row.operands, node.children(), strict=True):
            if kind == "boolean":
                self._boolean(operand, row.name)
                exact.append(False)
                continue
            found = self.visit(operand)
            exact.append(found.exact)
            if found.constant:
                self.fail(f"{row.name} needs a timeline, not a constant", operand)
            if kind == "state" and found.exact:
                message = f"{row.name} needs a state, and a duration changes at every instant"
                self.fail(message, operand)
            if kind == "number":
                self._number(operand, found, row.name)
        return _Found(row.gives, value, exact=row.is_exact(exact))

    def _window(self, node: t.Expression) -> None:
        within = getattr(node, "within", None)
        if within is not None and within <= 0:
            self.fail("a window must be longer than 0", node)

    def _number(self, node: t.Expression, found: _Found, operator: str) -> None:
        if found.name == "boolean":
            self.fail(f"{operator} needs numbers, and this is true or false", node)
        self._require(found.value, "number", node, f"{operator} needs numbers, and this is")

    def _existence(self, node: t.Expression, row: Operator, of: t.Expression) -> _Found:
        counts = row.arguments[0] == "events"
        self._window(node)
        if self._in_predicate:
            self.fail(f"{row.name} stands in the condition on an event", node)
        column, timeline = _leaves(of)
        if column is not None and timeline is not None:
            self.fail(
                f"column {_name(column.name)} and a timeline cannot stand in one condition",
                column,
                f"a condition in {row.name} is on one event's columns or on timelines; "
                f"latest_event_to_state({_name(column.name)}) is a timeline",
            )
        if column is not None:
            self._in_predicate = True
            self._boolean(of, row.name)
            self._in_predicate = False
        elif timeline is None:
            self.visit(of)
            self.fail(f"{row.name} needs a condition on a column", of, f'as in {row.name}(x == "play")')
        elif counts:
            self.visit(of)
            self.fail(
                f"{row.name} counts events and needs a condition on columns",
                of,
                f'as in {row.name}(x == "play")',
            )
        else:
            self._boolean(of, row.name)
        return _Found(row.gives, Variable(_GIVES.get(row.gives)))

    def _boolean(self, node: t.Expression, operator: str) -> None:
        found = self.visit(node)
        if isinstance(node, t.Column):
            hint = f"compare it, as in {_name(node.name)} == ..."
            self._require(found.value, "bool", node, f"{operator} needs true or false, and this is", hint)
            return
        if found.constant:
            self.fail(f"{operator} needs a condition, not a constant", node)
        if found.name == "boolean" or (found.name == "event" and not isinstance(node, t.Arithmetic)):
            return
        what = "a state" if found.name == "state" else "a number"
        self.fail(f"{operator} needs true or false, and this is {what}", node, _boolean_hint(node, found))

    def _compare(self, node: t.Compare) -> _Found:
        left, right = self.visit(node.left), self.visit(node.right)
        if left.constant and right.constant:
            self.fail("this compares two constants", node, "one side has to be a column or a timeline")
        if node.operator not in ("==", "!="):
            for side, found in ((node.left, left), (node.right, right)):
                self._order(found.value, side, node)
        self._unify(left.value, right.value, node)
        return self._truth()

    def _order(self, variable: Variable, side: t.Expression, node: t.Compare) -> None:
        root = variable.find()
        root.ordered = True
        if root.type == "bool":
            self._refuse_order(side, node.operator)

    def _refuse_order(self, node: t.Expression, operator: str) -> NoReturn:
        self.fail(f"true and false have no order: {operator} does not apply", node, "compare with == or !=")

    def _unify(self, left: Variable, right: Variable, node: t.Compare) -> None:
        a, b = left.find(), right.find()
        if a is b:
            return
        if a.type is not None and b.type is not None and a.type != b.type:
            why = "; ".join(dict.fromkeys(reason for reason in (a.because, b.because) if reason))
            self.fail(f"this compares {_A[a.type]} with {_A[b.type]}", node, why)
        type_, ordered = a.type or b.type, a.ordered or b.ordered
        if type_ == "bool" and ordered:
            self._refuse_order(node, "one of < <= > >=")
        because = a.because or b.because
        if a.type is None or b.type is None:
            because = because or f"{_short(to_text(node))} needs {_A[type_]}" if type_ else ""
        b.parent = a
        a.type, a.ordered, a.because = type_, ordered, because

    def _require(
        self, variable: Variable, type_: ValueType, node: t.Expression, message: str, hint: str = ""
    ) -> None:
        root = variable.find()
        if root.type is not None and root.type != type_:
            why = "; ".join(reason for reason in (root.because, hint) if reason)
            self.fail(f"{message} {_A[root.type]}", node, why)
        if type_ == "bool" and root.ordered:
            self._refuse_order(node, "one of < <= > >=")
        if root.type is None:
            root.type = type_
            root.because = f"{_short(to_text(node))} is used as {_A[type_]}"

    def _arithmetic(self, node: t.Arithmetic) -> _Found:
        left, right = self.visit(node.left), self.visit(node.right)
        for side, found in ((node.left, left), (node.right, right)):
            self._number(side, found, node.operator)
        if node.operator == "*" and left.exact and right.exact:
            self.fail("* needs one side without slope, and both are durations", node)
        if node.operator == "/" and right.exact:
            self.fail(
                "/ needs one side without slope: a duration cannot be the divisor",
                node.right,
                "multiply the other side of the comparison instead",
            )
        constant = left.constant and right.constant
        divisor = fold(node.right)
        if constant and node.operator == "/" and isinstance(divisor, t.Literal) and divisor.value == 0:
            self.fail("this divides by 0", node.right)
        if constant and not isinstance(fold(node), t.Literal):
            self.fail("this constant is too large for a number", node)
        name: KindName = "event" if self._in_predicate else "state" if constant else "numeric"
        return _Found(name, Variable("number"), row_of(node).is_exact((left.exact, right.exact)), constant)


def _leaves(node: t.Expression) -> tuple[t.Column | None, t.Expression | None]:
    """The first column and the first timeline operator that stand directly in a condition."""
    column: t.Column | None = None
    timeline: t.Expression | None = None
    stack = [node]
    while stack:
        part = stack.pop()
        if isinstance(part, t.Column):
            column = column or part
        elif stands_in_conditions(part):
            stack.extend(reversed(part.children()))
        elif not isinstance(part, t.Literal):
            timeline = timeline or part
    return column, timeline


def _boolean_hint(node: t.Expression, found: _Found) -> str:
    text = _short(to_text(node))
    example = {"string": '"..."', "number": "1", "bool": "true", None: "true"}[found.value.find().type]
    return (
        f"compare it, as in {text} == {example}" if found.name == "state" else f"compare it, as in {text} > 0"
    )


def _name(name: str) -> str:
    return _short(to_text(t.Column(name=name)))


def _short(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:57]}..."
