"""The import contracts name whom they hold; here is who is missing."""

import ast
import tomllib
from graphlib import TopologicalSorter
from pathlib import Path

import grimp

ROOT = Path(__file__).parents[1]
ROOMS = ("runner", "server", "meter", "models")
LLAMA = "edgellm.runner.llama"


def contract(name):
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    (found,) = (one for one in settings["contracts"] if one["name"].startswith(name))
    return found


def imported(file):
    """The outermost names."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield (node.module or "").partition(".")[0]


def modules(room, pattern="*.py"):
    """Those of its inner rooms too."""
    for file in (ROOT / "edgellm" / room).rglob(pattern):
        if file.stem != "__init__":
            yield ".".join(file.relative_to(ROOT).with_suffix("").parts), file


def held(module, names):
    """By its own name, or by that of a room around it."""
    return any(f"{module}.".startswith(f"{name}.") for name in names)


def test_every_module_that_decides_without_io_is_held_to_it():
    deciding = contract("Deciding does no I/O")
    pure = {
        module
        for room in ROOMS
        for module, file in modules(room)
        if not held(module, [LLAMA]) and {*deciding["forbidden_modules"]}.isdisjoint(imported(file))
    }
    missing = sorted(one for one in pure if not held(one, deciding["source_modules"]))
    assert not missing, f"add them to the contract in pyproject.toml: {missing}"


def test_llama_cpp_is_protected_and_only_child_programs_have_it():
    rule = contract("Only runner/llama/")
    assert {*rule["protected_modules"]} == {LLAMA, "llama_cpp"}
    assert {*rule["allowed_importers"]} <= {LLAMA, *dict(modules("runner", "*_child.py"))}


def test_no_modules_import_one_another():
    """Nor in a ring, nor inside a function: one of them would know what it is a part of."""
    graph = grimp.build_graph("edgellm", cache_dir=None)
    imports = {one: graph.find_modules_directly_imported_by(one) for one in graph.modules}
    imports["edgellm"] -= {"edgellm.api"}  # its names are made at their first use
    TopologicalSorter(imports).prepare()  # raises CycleError, which names the ring
