"""Makes the firmware's sources small before they are compiled for a board, whose heap holds what a module names.

`slim` takes all modules of the firmware at once and drops what only the gateway or a reader needs: functions and
methods that nothing on the board calls, docstrings, annotations, sentences of exceptions that have a reason, names of
private things and of arguments, and the names of constants, whose values take their places. What it does stays the
same. Pure. May import the standard library only. firmware_image.py calls it before mpy-cross.
"""

from __future__ import annotations

import ast
import string
from collections.abc import Callable, Collection, Iterator, Mapping

_OPERATORS: dict[type[ast.operator], Callable[[int, int], int]] = {
    ast.Add: lambda one, two: one + two,
    ast.Sub: lambda one, two: one - two,
    ast.Mult: lambda one, two: one * two,
    ast.FloorDiv: lambda one, two: one // two,
    ast.LShift: lambda one, two: one << two,
    ast.BitOr: lambda one, two: one | two,
}
# Exceptions that mean a bug, or carry a reason: whoever sees the board's console looks the line up in the sources.
_WORDLESS = ("ValueError", "TypeError")
_Function = ast.FunctionDef | ast.AsyncFunctionDef
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def slim(sources: Mapping[str, str], roots: Collection[str]) -> dict[str, str]:
    """The same modules, smaller. `sources` maps dotted module names to their text.

    `roots` are names that are used from outside, such as a main function; a name in a string of the code counts as
    used. Raises SyntaxError.
    """
    modules = {name: ast.parse(text, name) for name, text in sources.items()}
    for tree in modules.values():
        _strip(tree)
    _inline_constants(modules, roots)
    _shake(modules, roots)
    _rename_arguments(modules)
    _rename_private(modules)
    return {name: ast.unparse(ast.fix_missing_locations(tree)) + "\n" for name, tree in modules.items()}


# --- what says nothing to the interpreter ---------------------------------------------------------------------------


class _Stripper(ast.NodeTransformer):
    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        return self._function(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AST:
        return self._function(node)

    def _function(self, node: _Function) -> ast.AST:
        # Viper's annotations are types.
        if not node.decorator_list or all(isinstance(entry, ast.Name) for entry in node.decorator_list):
            node.returns = None
            for argument in [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]:
                argument.annotation = None
        self.generic_visit(node)
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST | None:
        self.generic_visit(node)
        return None if node.value is None else ast.copy_location(ast.Assign([node.target], node.value), node)

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        if isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            return None
        self.generic_visit(node)
        return node

    def visit_If(self, node: ast.If) -> ast.AST | None:
        if isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            return None
        self.generic_visit(node)
        return node

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        if isinstance(node.func, ast.Name):
            if node.func.id == "WireError":
                del node.args[1:]
            elif node.func.id in _WORDLESS:
                node.args.clear()
        return node


def _strip(tree: ast.Module) -> None:
    _Stripper().visit(tree)
    for node in ast.walk(tree):
        if isinstance(node, (ast.If, ast.For, ast.While, ast.With, *_FUNCTIONS, ast.ClassDef)) and not node.body:
            node.body.append(ast.Pass())


# --- constants --------------------------------------------------------------------------------------------------------


def _inline_constants(modules: Mapping[str, ast.Module], roots: Collection[str]) -> None:
    """Put the values of whole-number constants where their names stand, and drop the names."""
    texts = _texts(modules.values()) | set(roots)
    values: dict[str, dict[str, int]] = {name: {} for name in modules}
    for _ in range(3):
        for name, tree in modules.items():
            once = _assigned_once(tree)
            for target, value in _integers(tree, values[name]):
                if target in once and target not in texts:
                    values[name][target] = value
        for name, tree in modules.items():
            _Inliner(name, tree, modules, values).visit(tree)
    for name, tree in modules.items():
        tree.body = [statement for statement in tree.body if not _is_constant(statement, values[name])]


def _integers(tree: ast.Module, known: Mapping[str, int]) -> Iterator[tuple[str, int]]:
    for statement in tree.body:
        if not isinstance(statement, ast.Assign) or len(statement.targets) != 1:
            continue
        target, value = statement.targets[0], statement.value
        if isinstance(target, ast.Name) and (number := _number(value, known)) is not None:
            yield target.id, number
        elif isinstance(target, ast.Tuple) and all(isinstance(part, ast.Name) for part in target.elts):
            yield from zip(
                (part.id for part in target.elts if isinstance(part, ast.Name)), _row(value, known), strict=False
            )


def _row(value: ast.expr, known: Mapping[str, int]) -> list[int]:
    if isinstance(value, ast.Call) and isinstance(value.func, ast.Name) and value.func.id == "range":
        bounds = [_number(argument, known) for argument in value.args]
        return [] if None in bounds else list(range(*[bound for bound in bounds if bound is not None]))
    if isinstance(value, ast.Tuple):
        numbers = [_number(part, known) for part in value.elts]
        return [] if None in numbers else [number for number in numbers if number is not None]
    return []


def _number(node: ast.expr, known: Mapping[str, int]) -> int | None:
    match node:
        case ast.Constant(value=value) if type(value) is int:
            return value
        case ast.Name(id=name):
            return known.get(name)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            number = _number(operand, known)
            return None if number is None else -number
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
            one, two = _number(left, known), _number(right, known)
            return None if one is None or two is None else _OPERATORS[type(op)](one, two)
    return None


def _is_constant(statement: ast.stmt, values: Mapping[str, int]) -> bool:
    if not isinstance(statement, ast.Assign):
        return False
    target = statement.targets[0]
    names = target.elts if isinstance(target, ast.Tuple) else [target]
    return all(isinstance(name, ast.Name) and name.id in values for name in names)


def _assigned_once(tree: ast.Module) -> set[str]:
    """Names that are bound at one place of the module only, and nowhere as something else."""
    counts: dict[str, int] = {}
    for node in ast.walk(tree):
        for name in _bound(node):
            counts[name] = counts.get(name, 0) + 1
    return {name for name, count in counts.items() if count == 1}


def _bound(node: ast.AST) -> list[str]:
    match node:
        case ast.Name(id=name, ctx=ast.Store() | ast.Del()):
            return [name]
        case ast.arg(arg=name) | ast.ExceptHandler(name=str(name)):
            return [name]
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            return [name]
        case ast.alias(name=name, asname=asname):
            return [asname or name]
        case ast.Global(names=names) | ast.Nonlocal(names=names):
            return [*names, *names]
    return []


class _Inliner(ast.NodeTransformer):
    """In one module: its own constants, those it imports by name, and those it reaches through a module."""

    def __init__(
        self, name: str, tree: ast.Module, modules: Mapping[str, ast.Module], values: Mapping[str, Mapping[str, int]]
    ) -> None:
        self._values = values
        self._names = dict(values[name])
        self._modules: dict[str, str] = {}
        once = _assigned_once(tree)
        for node in ast.walk(tree):
            if not isinstance(node, ast.ImportFrom) or node.module is None:
                continue
            for alias in node.names:
                bound = alias.asname or alias.name
                if f"{node.module}.{alias.name}" in modules:
                    self._modules[bound] = f"{node.module}.{alias.name}"
                elif alias.name in values.get(node.module, {}) and bound in once:
                    self._names[bound] = values[node.module][alias.name]

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.AST | None:
        known = self._values.get(node.module or "", {})
        node.names = [alias for alias in node.names if alias.name not in known]
        return node if node.names else None

    def visit_Name(self, node: ast.Name) -> ast.AST:
        if isinstance(node.ctx, ast.Load) and node.id in self._names:
            return ast.copy_location(ast.Constant(self._names[node.id]), node)
        return node

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        if isinstance(node.value, ast.Name) and node.value.id in self._modules:
            known = self._values[self._modules[node.value.id]]
            if node.attr in known:
                return ast.copy_location(ast.Constant(known[node.attr]), node)
        self.generic_visit(node)
        return node


# --- what nothing calls -----------------------------------------------------------------------------------------------


def _shake(modules: Mapping[str, ast.Module], roots: Collection[str]) -> None:
    """Drop definitions whose names stand nowhere else, until nothing changes."""
    while True:
        counts: dict[str, int] = dict.fromkeys(roots, 1)
        for tree in modules.values():
            for name in _mentions(tree):
                counts[name] = counts.get(name, 0) + 1
        changed = False
        for tree in modules.values():
            changed |= _drop_unused(tree, counts)
        if not changed:
            return


def _mentions(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name, ctx=ast.Load()):
                yield name
            case ast.Attribute(attr=name, ctx=ast.Load()):
                yield name
            case ast.ImportFrom(module=module, names=names):
                yield from (module or "").split(".")
                yield from (alias.name for alias in names)
            case ast.Constant(value=str(text)) if text.isidentifier():
                yield text


def _drop_unused(tree: ast.Module, counts: Mapping[str, int]) -> bool:
    changed = False
    # Imports that nothing uses any more first: they are mentions themselves.
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    for holder in ast.walk(tree):
        body = getattr(holder, "body", None)
        if not isinstance(body, list):
            continue
        kept: list[ast.stmt] = []
        for statement in body:
            if isinstance(statement, (ast.ImportFrom, ast.Import)) and not isinstance(holder, ast.Try):
                if _module_imports(statement, used, tree):
                    kept.append(statement)
                else:
                    changed = True
                continue
            if isinstance(holder, (ast.Module, ast.ClassDef)) and _is_unused(statement, counts, holder):
                changed = True
                continue
            kept.append(statement)
        if len(kept) != len(body):
            holder.body = kept or ([] if isinstance(holder, ast.Module) else [ast.Pass()])  # type: ignore[attr-defined]
    return changed


def _module_imports(statement: ast.ImportFrom | ast.Import, used: set[str], tree: ast.Module) -> bool:
    before = len(statement.names)
    statement.names = [
        alias
        for alias in statement.names
        if alias.name == "*" or (alias.asname or alias.name).split(".")[0] in used or not tree.body
    ]
    return bool(statement.names) or before == 0


def _is_unused(statement: ast.stmt, counts: Mapping[str, int], holder: ast.AST) -> bool:
    if isinstance(statement, (*_FUNCTIONS, ast.ClassDef)):
        name = statement.name
        inside = sum(1 for mention in _mentions(statement) if mention == name)
        return not name.startswith("__") and counts.get(name, 0) <= inside
    if isinstance(holder, ast.Module) and isinstance(statement, ast.Assign) and len(statement.targets) == 1:
        target = statement.targets[0]
        inert = not any(isinstance(node, (ast.Await, ast.Subscript)) for node in ast.walk(statement.value))
        if isinstance(target, ast.Name) and inert:
            # The name of a named tuple stands in its definition.
            inside = sum(1 for mention in _mentions(statement.value) if mention == target.id)
            return counts.get(target.id, 0) <= inside
    return False


# --- names ------------------------------------------------------------------------------------------------------------


def _short_names() -> Iterator[str]:
    letters = string.ascii_letters + string.digits
    yield from (f"_{one}" for one in letters)
    yield from (f"_{one}{two}" for one in letters for two in letters)


def _is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__") and len(name) > 2


def _rename_private(modules: Mapping[str, ast.Module]) -> None:
    """Give each private name a short one. A module's own, and what a class says of `self`, are counted from the start
    in each: the interpreter keeps one table of names for all. The others have the same name everywhere.
    """
    texts = _texts(modules.values())
    taken = {name for tree in modules.values() for node in ast.walk(tree) for name in _identifiers(node)}
    pool = [name for name in _short_names() if name not in taken]
    shared = {name: pool.pop() for name in sorted(_seen_from_outside(modules) - texts)}
    for family in _families(modules):
        names = _numbered({name for cls in family for name in _own_names(cls)} - texts - shared.keys(), pool)
        for cls in family:
            for node in ast.walk(cls):
                if isinstance(node, ast.Attribute) and _is_self(node.value):
                    node.attr = names.get(node.attr, node.attr)
            for statement in cls.body:
                _rename(statement, names)
                for target in statement.targets if isinstance(statement, ast.Assign) else []:
                    _rename(target, names)
    for tree in modules.values():
        names = _numbered({name for name in _module_names(tree) if _is_private(name)} - texts - shared.keys(), pool)
        classes = {id(member) for node in ast.walk(tree) if isinstance(node, ast.ClassDef) for member in node.body}
        for node in ast.walk(tree):
            _rename(node, shared)
            if not isinstance(node, ast.Attribute) and id(node) not in classes:
                _rename(node, names)


def _numbered(names: set[str], pool: list[str]) -> dict[str, str]:
    # A short name may be what another private one was called before; there is none left by then.
    return dict(zip(sorted(names), pool, strict=False))


def _is_self(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id == "self"


def _seen_from_outside(modules: Mapping[str, ast.Module]) -> set[str]:
    """Private names that are used on something else than `self`, or imported, or passed by keyword."""
    found = set()
    for tree in modules.values():
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and not _is_self(node.value):
                found.add(node.attr)
            elif isinstance(node, ast.alias):
                found.add(node.name)
            elif isinstance(node, ast.keyword) and node.arg:
                found.add(node.arg)
    return {name for name in found if _is_private(name)}


def _families(modules: Mapping[str, ast.Module]) -> list[list[ast.ClassDef]]:
    """The classes, with those that they inherit from."""
    families: list[list[ast.ClassDef]] = []
    for tree in modules.values():
        for node in ast.walk(tree):
            if not isinstance(node, ast.ClassDef):
                continue
            related = [family for family in families if any(_is_related(node, other) for other in family)]
            families = [family for family in families if family not in related]
            families.append([node, *(other for family in related for other in family)])
    return families


def _is_related(one: ast.ClassDef, two: ast.ClassDef) -> bool:
    def bases(cls: ast.ClassDef) -> set[str]:
        return {base.id if isinstance(base, ast.Name) else ast.unparse(base).split(".")[-1] for base in cls.bases}

    return one.name in bases(two) or two.name in bases(one) or one.name == two.name


def _own_names(cls: ast.ClassDef) -> set[str]:
    found = {node.attr for node in ast.walk(cls) if isinstance(node, ast.Attribute) and _is_self(node.value)}
    for statement in cls.body:
        found.update(_bound(statement))
        for target in statement.targets if isinstance(statement, ast.Assign) else []:
            found.update(_bound(target))
    return {name for name in found if _is_private(name)}


def _module_names(tree: ast.Module) -> set[str]:
    found = set()
    for statement in tree.body:
        found.update(_bound(statement))
        for node in ast.walk(statement) if not isinstance(statement, (*_FUNCTIONS, ast.ClassDef)) else []:
            found.update(_bound(node))
    for node in ast.walk(tree):
        if isinstance(node, ast.Global):
            found.update(node.names)
    return found


def _identifiers(node: ast.AST) -> list[str]:
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name) | ast.arg(arg=name):
            return [name]
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            return [name]
        case ast.keyword(arg=str(name)):
            return [name]
        case ast.alias(name=name, asname=asname):
            return [*name.split("."), *([asname] if asname else [])]
        case ast.Global(names=names) | ast.Nonlocal(names=names):
            return list(names)
    return []


def _rename(node: ast.AST, names: Mapping[str, str]) -> None:
    match node:
        case ast.Name():
            node.id = names.get(node.id, node.id)
        case ast.Attribute():
            node.attr = names.get(node.attr, node.attr)
        case ast.arg():
            node.arg = names.get(node.arg, node.arg)
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
            node.name = names.get(node.name, node.name)
        case ast.keyword(arg=str(name)):
            node.arg = names.get(name, name)
        case ast.alias():
            if node.name in names:
                node.name = names[node.name]
            if node.asname is not None:
                node.asname = names.get(node.asname, node.asname)
        case ast.Global() | ast.Nonlocal():
            node.names = [names.get(name, name) for name in node.names]


def _rename_arguments(modules: Mapping[str, ast.Module]) -> None:
    """Call arguments a, b, c ... where nobody calls with their names."""
    keywords = {
        node.arg for tree in modules.values() for node in ast.walk(tree) if isinstance(node, ast.keyword) and node.arg
    }
    for tree in modules.values():
        for node in ast.walk(tree):
            if isinstance(node, _FUNCTIONS):
                _rename_in(node, keywords)


def _rename_in(function: _Function, keywords: set[str]) -> None:
    inner = [node for node in ast.walk(function) if node is not function]
    bound_inside = {
        argument.arg
        for node in inner
        if isinstance(node, (*_FUNCTIONS, ast.Lambda))
        for argument in [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
    }
    used = {name for node in ast.walk(function) for name in _identifiers(node)}
    arguments = [*function.args.posonlyargs, *function.args.args]
    if any(isinstance(entry, ast.Attribute) for entry in function.decorator_list):
        return
    fresh = (letter for letter in string.ascii_lowercase if letter not in used)
    names = {}
    for argument in arguments:
        if argument.arg == "self" or argument.arg in keywords or argument.arg in bound_inside or len(argument.arg) < 2:
            continue
        if (short := next(fresh, None)) is None:
            break
        names[argument.arg] = short
    for node in inner:
        match node:
            case ast.Name(id=name) if name in names:
                node.id = names[name]
            case ast.arg(arg=name) if name in names and node in arguments:
                node.arg = names[name]
            case ast.Nonlocal(names=listed):
                node.names = [names.get(name, name) for name in listed]


def _texts(trees: Collection[ast.Module]) -> set[str]:
    """Strings that could be names."""
    return {
        node.value
        for tree in trees
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.isidentifier()
    }
