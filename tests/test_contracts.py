"""The import contracts name whom they hold; here is who is missing."""

import ast
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
ROOMS = ("runner", "server", "meter", "models")


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
    files = (ROOT / "edgellm" / room).glob(pattern)
    return {f"edgellm.{room}.{file.stem}": file for file in files if file.stem != "__init__"}


def test_every_module_that_decides_without_io_is_held_to_it():
    deciding = contract("Deciding does no I/O")
    forbidden, native = {*deciding["forbidden_modules"]}, modules("runner", "llama*.py")
    pure = {
        module
        for room in ROOMS
        for module, file in modules(room).items()
        if module not in native and forbidden.isdisjoint(imported(file))
    }
    missing = sorted(pure - {*deciding["source_modules"]})
    assert not missing, f"add them to the contract in pyproject.toml: {missing}"


def test_every_module_of_llama_cpp_is_protected():
    native = modules("runner", "llama*.py").keys() | {"llama_cpp"}
    rule = contract("Only runner/llama*.py")
    assert {*rule["protected_modules"]} == native
    assert {*rule["allowed_importers"]} <= native | modules("runner", "*_child.py").keys()
