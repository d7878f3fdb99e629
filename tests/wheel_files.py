"""Wheels as pip reads them, without a module in them."""

import zipfile


def wheel(folder, name, *requirements, version="1.0", tag="py3-none-any", files=()):
    """Returns its path. `files`: (name, bytes) of more members."""
    at = f"{name}-{version}.dist-info"
    wanted = "".join(f"Requires-Dist: {line}\n" for line in requirements)
    head = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    path = folder / f"{name}-{version}-{tag}.whl"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr(f"{at}/METADATA", f"{head}{wanted}")
        file.writestr(f"{at}/WHEEL", f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {tag}\n")
        file.writestr(f"{at}/RECORD", "")
        for member, data in files:
            file.writestr(member, data)
    return path
