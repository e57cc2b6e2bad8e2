"""Queries taken apart, with a parser of PromQL."""

import re
from collections.abc import Iterator

import promql_parser as promql

COMPARISONS = {"==", "!=", ">", "<", ">=", "<="}
SETS = {"and", "or", "unless"}
# What Grafana puts in for its own variables while a dashboard is looked at.
GRAFANA = {"$__rate_interval": "10s", "$__interval": "1s", "$__range": "1m"}


def substitute(query: str, variables: dict[str, str]) -> str:
    """The query with the values of its variables."""
    for name, value in {**GRAFANA, **{f"${name}": value for name, value in variables.items()}}.items():
        query = query.replace(name, value)
    return query


def parts(expr: object) -> Iterator[object]:
    """The direct parts of an expression."""
    match expr:
        case promql.BinaryExpr():
            yield from (expr.lhs, expr.rhs)
        case promql.Call():
            yield from expr.args
        case promql.MatrixSelector():
            yield expr.vector_selector
        case promql.AggregateExpr() | promql.ParenExpr() | promql.SubqueryExpr() | promql.UnaryExpr():
            yield expr.expr


def everything(expr: object) -> Iterator[object]:
    """The expression and all of its parts."""
    yield expr
    for part in parts(expr):
        yield from everything(part)


def metrics(query: str) -> set[str]:
    """The names of the metrics that a query reads."""
    return {part.name for part in everything(promql.parse(query)) if isinstance(part, promql.VectorSelector)}


def rated(query: str) -> Iterator[tuple[str, str, str]]:
    """Each function over a range, with its metric and its range as it is written."""
    for function, metric, span in re.findall(r"(\w+)\(\s*([a-zA-Z_:][\w:]*)(?:\{[^}]*\})?\[([^\]]+)\]", query):
        yield function, metric, span


def is_test(expr: object) -> bool:
    """Whether it decides something: a comparison, or a set of such."""
    return isinstance(expr, promql.BinaryExpr) and str(expr.op) in COMPARISONS | SETS


def operands(query: str) -> list[str]:
    """What the conditions of an alert look at: its expression without comparisons, sets, `absent` and offsets, as the queries
    that must have data for the alert to mean anything."""

    def of(expr: object) -> Iterator[object]:
        if isinstance(expr, promql.Call) and expr.func.name == "absent":
            yield from expr.args
        elif isinstance(expr, promql.ParenExpr):
            yield from of(expr.expr)
        elif is_test(expr) or any(is_test(part) for part in everything(expr)):
            for part in parts(expr):
                yield from of(part)
        elif not isinstance(expr, promql.NumberLiteral):
            yield expr

    found = (re.sub(r"\s+offset \w+", "", expr.prettify()) for expr in of(promql.parse(query)))
    return list(dict.fromkeys(" ".join(query.split()) for query in found))
