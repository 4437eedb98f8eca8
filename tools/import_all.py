"""Imports every module of the package and prints how many; `-x NAME...` makes these packages unimportable first."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path


def module_names(package: Path) -> list[str]:
    """Dotted names of all files of a package but `__main__`, also of those in folders that lack an __init__.py."""
    files = sorted(p.relative_to(package.parent).with_suffix("") for p in package.rglob("*.py"))
    return [".".join(f.parts).removesuffix(".__init__") for f in files if f.name != "__main__"]


def main(absent: list[str]) -> None:
    sys.modules.update(dict.fromkeys(absent))  # None makes `import name` raise ImportError
    package = importlib.import_module("edge_inspector")
    names = module_names(Path(str(package.__file__)).parent)
    if importlib.util.find_spec("fastapi") is None or "fastapi" in absent:
        names = [name for name in names if not name.startswith("edge_inspector.web.")]  # it is made of the extra `web`
    for name in names:
        importlib.import_module(name)
    print(f"{len(names)} modules imported from {package.__file__}")


if __name__ == "__main__":
    main(sys.argv[2:] if sys.argv[1:2] == ["-x"] else [])
