"""Signatures of parts, read from source text: importing a part takes seconds and brings torch.

A dotted path is followed through imports with `ast`; only the location of the top-level package is
looked up in Python, and no module is run.
"""

import ast
import difflib
import functools
import importlib.util
import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from visionlab.config.hints import ExpectedPart, evaluate

_SECTION = re.compile(r"^(?:Args|Attributes):\n((?:[ \t].*\n?|\n)+)", re.MULTILINE)
_ENTRY = re.compile(r"^(\w+)(?: ?\(.*?\)(?=:))?:(.*(?:\n(?:[ \t].*)?)*)", re.MULTILINE)
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


class UnknownPathError(LookupError):
    """Nothing has this dotted path; `similar` are the nearest ones."""

    def __init__(self, path: str, similar: Sequence[str] = ()) -> None:
        super().__init__(f"{path} must name a class or function of a module")
        self.similar = similar


class UnreadableError(LookupError):
    """There may be something at this dotted path, but no Python source of it."""


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """A parameter of a part; no setting if it is a required positional one of a function."""

    hint: Any  # type of its values, for `hints.matches`
    default: str | None  # as source text; None if the parameter is required
    meaning: str  # from the docstring, on one line
    is_setting: bool = True  # False: the program gives it when it calls the function


@dataclass(frozen=True, kw_only=True)
class Signature:
    """A class or function as its source describes it."""

    path: str  # of the definition, where all imports end
    summary: str  # first line of the docstring
    parameters: Mapping[str, Parameter]
    accepts_any: bool  # further names are accepted, or cannot be ruled out


class _Module(NamedTuple):
    """A module as text: its names, each with its statement or the dotted path of its import."""

    name: str
    names: Mapping[str, ast.AST | str]


@functools.cache  # as its module is
def read_signature(path: str) -> Signature:
    """Return the signature of a class or function by its dotted path.

    Raises:
        UnknownPathError: there is no such class or function.
        UnreadableError: there may be one, but not in Python source.
    """
    module, node = _find(path)
    if isinstance(node, ast.ClassDef):
        parameters, accepts_any = _of_class(node, module)
    elif isinstance(node, _FUNCTIONS):
        parameters, accepts_any = _of_function(node, module)
        called_with = [each.arg for each in (*node.args.posonlyargs, *node.args.args)]
        parameters = {
            name: replace(each, is_setting=each.default is not None or name not in called_with)
            for name, each in parameters.items()
        }
    else:
        raise UnreadableError(path)
    return Signature(
        path=f"{module.name}.{node.name}",
        summary=(ast.get_docstring(node) or "").partition("\n")[0],
        parameters=parameters,
        accepts_any=accepts_any,
    )


def _of_class(node: ast.ClassDef, module: _Module) -> tuple[dict[str, Parameter], bool]:
    """Return the parameters of a class: those of `__init__`, or the fields of a dataclass."""
    for statement in node.body:
        if isinstance(statement, _FUNCTIONS) and statement.name == "__init__":
            return _of_function(statement, module, doc=_meanings(node))
    parameters: dict[str, Parameter] = {}
    accepts_any = False
    for base in node.bases:
        try:
            owner, found = _find(_absolute(base, module))
        except LookupError:
            accepts_any = accepts_any or not ast.unparse(base).startswith(("Generic", "Protocol"))
        else:
            if isinstance(found, ast.ClassDef):
                inherited, is_open = _of_class(found, owner)
                parameters, accepts_any = parameters | inherited, accepts_any or is_open
    doc = _meanings(node)
    for field in node.body if node.decorator_list else []:  # of a dataclass
        if isinstance(field, ast.AnnAssign) and "ClassVar" not in ast.unparse(field.annotation):
            name = ast.unparse(field.target)
            parameters[name] = _parameter(name, field.annotation, field.value, module, doc)
    return parameters, accepts_any


def _of_function(
    node: ast.FunctionDef | ast.AsyncFunctionDef,
    module: _Module,
    doc: Mapping[str, str] | None = None,
) -> tuple[dict[str, Parameter], bool]:
    """Return the parameters of a function, and whether it accepts others."""
    positional = [*node.args.posonlyargs, *node.args.args]
    required = [None] * (len(positional) - len(node.args.defaults))
    defaults = [*required, *node.args.defaults, *node.args.kw_defaults]
    doc = _meanings(node) | dict(doc or {})
    parameters = {
        each.arg: _parameter(each.arg, each.annotation, default, module, doc)
        for each, default in zip([*positional, *node.args.kwonlyargs], defaults, strict=True)
        if each.arg != "self"
    }
    return parameters, node.args.kwarg is not None


def _parameter(
    name: str,
    annotation: ast.expr | None,
    default: ast.expr | None,
    module: _Module,
    doc: Mapping[str, str],
) -> Parameter:
    return Parameter(
        hint=Any if annotation is None else evaluate(annotation, functools.partial(_hint, module)),
        default=None if default is None else ast.unparse(default),
        meaning=doc.get(name, ""),
    )


def _hint(module: _Module, name: str) -> Any:
    """Return the type that a name in an annotation means: an alias's, or that of a part."""
    try:
        owner, node = _find(f"{module.name}.{name}")
    except LookupError:
        return Any
    if isinstance(node, ast.Assign) and isinstance(node.value, ast.Subscript):
        return evaluate(node.value, functools.partial(_hint, owner))
    return type(node.name, (ExpectedPart,), {}) if isinstance(node, ast.ClassDef) else Any


def _meanings(node: ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> dict[str, str]:
    return meanings(ast.get_docstring(node) or "")


def meanings(docstring: str) -> dict[str, str]:
    """Return what a docstring says of parameters or attributes, each on one line."""
    return {
        entry[1]: " ".join(entry[2].split())
        for section in _SECTION.finditer(docstring)
        for entry in _ENTRY.finditer(textwrap.dedent(section[1]))
    }


@functools.cache
def exported(module: str) -> frozenset[str]:
    """Return the names that a module lists in `__all__`.

    Raises:
        UnknownPathError: there is no such module.
    """
    listed = _module(module).names.get("__all__")
    value = listed.value if isinstance(listed, ast.Assign) else ast.Tuple(elts=[])
    return frozenset(ast.literal_eval(value))


def _find(path: str, seen: frozenset[str] = frozenset()) -> tuple[_Module, ast.AST]:
    """Return the module and the statement that define what a dotted path names."""
    owner, _, name = path.rpartition(".")
    if not owner or path in seen:
        raise UnknownPathError(path)
    module = _module(owner)
    bound = module.names.get(name)
    for origin in [each[1:] for each in module.names if each.startswith("*") and bound is None]:
        with suppress(UnknownPathError):
            return _find(f"{origin}.{name}", seen | {path})
    if bound is None:
        close = difflib.get_close_matches(name, list(module.names), n=2)
        raise UnknownPathError(path, [f"{owner}.{each}" for each in close])
    return _find(bound, seen | {path}) if isinstance(bound, str) else (module, bound)


def _absolute(node: ast.expr, module: _Module) -> str:
    """Return the dotted path of a base class."""
    head, _, rest = ast.unparse(node).partition("[")[0].partition(".")
    bound = module.names.get(head)
    start = bound if isinstance(bound, str) else f"{module.name}.{head}"
    return f"{start}.{rest}" if rest else start


@functools.cache
def _module(name: str) -> _Module:
    file = _file(name)
    package = name if file.name == "__init__.py" else name.rpartition(".")[0]
    try:
        body = ast.parse(file.read_bytes()).body
        return _Module(name, dict(_bindings(body, package)))
    except (OSError, SyntaxError, ValueError, ImportError) as error:
        raise UnreadableError(name) from error


def _file(name: str) -> Path:
    """Return the file of a module, by the location of its top-level package."""
    first, *rest = name.split(".")
    if "" in rest:
        raise UnknownPathError(name)
    try:
        spec = importlib.util.find_spec(first)
    except (ImportError, ValueError):
        spec = None
    if spec is None:
        raise UnknownPathError(name)
    places = [Path(each) for each in spec.submodule_search_locations or ()]
    starts = [place.joinpath(*rest) for place in places] or [Path(spec.origin or "")]
    files = [each for start in starts for each in (start / "__init__.py", start.with_suffix(".py"))]
    found = [file for file in files if file.is_file()]
    if not found or (rest and not places):
        raise UnknownPathError(name)
    return found[0]


def _bindings(body: Sequence[ast.stmt], package: str) -> Iterator[tuple[str, ast.AST | str]]:
    """Yield the names that statements bind, each with its statement or the path of its import."""
    for statement in body:
        match statement:
            case ast.ClassDef(name=name) | ast.FunctionDef(name=name):
                yield name, statement
            case ast.Assign(targets=[ast.Name(id=name)]):
                yield name, statement
            case ast.Import(names=imported):
                yield from ((each.asname or each.name, each.name) for each in imported)
            case ast.ImportFrom(names=imported, module=origin, level=level):
                origin = importlib.util.resolve_name("." * level + (origin or ""), package)
                for each in imported:  # what a star brings is looked up when it is needed
                    is_star = each.name == "*"
                    name = f"*{origin}" if is_star else each.asname or each.name
                    yield name, origin if is_star else f"{origin}.{each.name}"
            case ast.If(body=inner) | ast.Try(body=inner):
                yield from _bindings(inner, package)
