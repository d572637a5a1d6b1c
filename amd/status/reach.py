"""Which files of amd/ a verb runs, from the imports that stand in them: what an edit can change, without running it.

It errs on the side of more: an import inside a function counts, and a file that imports by name (`import_module`, for
the registries of backbones and rewards) reaches its whole package.
"""

import ast
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]


def reach(verb: str) -> frozenset[str]:
    """Paths from the repository's root, such as amd/train/loop.py, of a verb of the command line."""
    functions = _functions()
    todo, called = set(), [_known(functions, verb)]
    seen = {verb}
    while called:  # the verb, and what it calls of what the verbs have in common
        function = called.pop()
        todo |= _imported(function)
        names = {node.id for node in ast.walk(function) if isinstance(node, ast.Name)} & set(functions)
        called += [functions[name] for name in sorted(names - seen) if name.startswith("_")]
        seen |= names
    found: set[Path] = set()
    while todo:
        file = todo.pop()
        if file not in found:
            found.add(file)
            todo |= _neighbours(file)
    return frozenset(file.relative_to(PACKAGE.parent).as_posix() for file in found)


def entries(verb: str) -> frozenset[str]:
    """The modules that a verb's function names itself, such as amd.train.loop."""
    files = _imported(_known(_functions(), verb))
    names = {file.relative_to(PACKAGE.parent).with_suffix("").as_posix().replace("/", ".") for file in files}
    return frozenset(name.removesuffix(".__init__") for name in names)


def _functions() -> dict[str, ast.FunctionDef]:
    verbs = ast.parse((PACKAGE / "verbs.py").read_text())
    return {node.name: node for node in verbs.body if isinstance(node, ast.FunctionDef)}


def _known(functions: dict[str, ast.FunctionDef], verb: str) -> ast.FunctionDef:
    if verb not in functions:
        raise ValueError(f"'{verb}' is no verb of amd/verbs.py")
    return functions[verb]


@cache
def _neighbours(file: Path) -> frozenset[Path]:
    text = file.read_text()
    found = _imported(ast.parse(text))
    if "import_module(" in text:
        found |= set(file.parent.glob("*.py"))
    return frozenset(found)


def _imported(tree: ast.AST) -> set[Path]:
    """Files of the package that are imported anywhere in a piece of code, but for the eyes of a type checker."""
    found: set[Path] = set()
    todo = [tree]
    while todo:
        node = todo.pop()
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            todo += node.orelse
            continue
        if isinstance(node, ast.Import):
            for alias in node.names:
                found |= _files(alias.name)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found |= _files(node.module or "")
            for alias in node.names:
                found |= _files(f"{node.module}.{alias.name}")
        todo += ast.iter_child_nodes(node)
    return found


def _files(module: str) -> set[Path]:
    """A module's file and its packages' own; nothing for a name that is no module of ours."""
    parts = module.split(".")
    if parts[0] != PACKAGE.name:
        return set()
    found: set[Path] = set()
    for count in range(1, len(parts) + 1):
        path = PACKAGE.joinpath(*parts[1:count])
        found |= {file for file in (path / "__init__.py", path.with_suffix(".py")) if file.is_file()}
    return found
