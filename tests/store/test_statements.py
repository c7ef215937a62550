"""SQL is written, never put together from what came in: values go in as parameters."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

HOTPOTATO = Path(__file__).parents[2] / "hotpotato"
RUNNERS = {"rows", "execute", "statement"}
"""What runs the statement that is its first argument."""

PASSING_ON = ("store/database/", "testing/")
"""The facade runs what it is given, and the tests' own database takes names from the tests."""

KNOWN = {
    ("store/schema.py", "migration.sql"),
    ("store/upkeep.py", "kind.sql"),
    (
        "store/upkeep.py",
        "_SWEEP_DEFAULT.replace('{table}', f'{parent}_default').replace('{at}', at)",
    ),
}
"""The files of the migrations, and what upkeep has in tables of constants in its own module."""


class Module:
    """One module's source, and where statements are run in it."""

    def __init__(self, name: str, source: str) -> None:
        self.name = name
        self._tree = ast.parse(source)
        self._within: dict[ast.AST, ast.FunctionDef | ast.AsyncFunctionDef] = {}
        self._constants = {
            target.id: node.value
            for node in self._tree.body
            if isinstance(node, ast.Assign)
            for target in node.targets
            if isinstance(target, ast.Name)
        }
        self._imported = {
            alias.asname or alias.name
            for node in self._tree.body
            if isinstance(node, ast.ImportFrom)
            for alias in node.names
        }
        self._note(self._tree, None)

    def run(self) -> int:
        """How many calls run a statement."""
        return sum(1 for _ in self._calls(RUNNERS))

    def questionable(self) -> Iterator[str]:
        """The statements that are anything but literals and constants of this or another module."""
        for call in self._calls(RUNNERS):
            yield from self._questions(call, 0)

    def _note(self, node: ast.AST, inside: ast.FunctionDef | ast.AsyncFunctionDef | None) -> None:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            inside = node
        for child in ast.iter_child_nodes(node):
            if inside is not None:
                self._within[child] = inside
            self._note(child, inside)

    def _calls(self, names: set[str]) -> Iterator[ast.Call]:
        for node in ast.walk(self._tree):
            if isinstance(node, ast.Call):
                called = node.func
                name = called.attr if isinstance(called, ast.Attribute) else ast.unparse(called)
                if name in names and node.args:
                    yield node

    def _questions(self, call: ast.Call, place: int) -> Iterator[str]:
        statement = call.args[place]
        function = self._within.get(call)
        parameters = [] if function is None else [one.arg for one in function.args.args]
        if isinstance(statement, ast.Name) and function and statement.id in parameters:
            # It is its callers who say what is run.
            for outer in self._calls({function.name}):
                yield from self._questions(outer, parameters.index(statement.id))
        elif not self._written(statement):
            yield f"{self.name}:{call.lineno}: {ast.unparse(statement)}"

    def _written(self, node: ast.expr) -> bool:
        match node:
            case ast.Constant(value=str()):
                return True
            case ast.Name(id=name):
                if name in self._constants:
                    return self._written(self._constants[name])
                return name in self._imported and name.isupper()
            case ast.BinOp(left=left, op=ast.Add(), right=right):
                return self._written(left) and self._written(right)
            case ast.IfExp(body=one, orelse=other):
                return self._written(one) and self._written(other)
            case ast.JoinedStr(values=parts):
                return all(self._written(part) for part in parts)
            case ast.Call(func=ast.Attribute(value=text, attr="format"), args=given, keywords=more):
                parts = [text, *given, *(each.value for each in more)]
                return all(self._written(part) for part in parts)
            case ast.FormattedValue(value=value):
                return self._written(value)
            case _:
                return (self.name, ast.unparse(node)) in KNOWN


def modules() -> Iterator[Module]:
    for path in sorted(HOTPOTATO.rglob("*.py")):
        name = str(path.relative_to(HOTPOTATO))
        if not name.startswith(PASSING_ON):
            yield Module(name, path.read_text())


def test_every_statement_is_written_out_and_takes_its_values_as_parameters() -> None:
    found = list(modules())
    assert sum(module.run() for module in found) > 100
    assert [line for module in found for line in module.questionable()] == []


@pytest.mark.parametrize(
    "statement",
    [
        'f"SELECT {name}"',
        '"SELECT " + name',
        '"SELECT %s" % name',
        '"SELECT {}".format(name)',
        'QUERY.replace("x", name)',
        "MADE",
        "given",
        'f"{QUERY} {name}"',
        '"SELECT 1" if name else name',
        "name.sql",
    ],
)
def test_what_is_put_together_is_found(statement: str) -> None:
    source = f"""
QUERY = "SELECT x"
MADE = f"SELECT {{print()}}"
async def inner(transaction, given):
    name = input()
    await transaction.rows({statement})
async def outer(transaction):
    await inner(transaction, input())
"""
    assert len(list(Module("sample.py", source).questionable())) == 1


@pytest.mark.parametrize("statement", ['"SELECT 1"', "QUERY", 'QUERY + " WHERE 1"', "given"])
def test_what_is_written_out_is_not(statement: str) -> None:
    source = f"""
QUERY = "SELECT x"
async def inner(transaction, given):
    await transaction.rows({statement}, [input()])
async def outer(transaction):
    await inner(transaction, QUERY)
"""
    assert list(Module("sample.py", source).questionable()) == []
