"""Installs detectron2 v0.6 as a pure-Python wheel, unless detectron2 is there already.

detectron2 publishes neither wheels nor a current package, and its source distribution compiles C++ that Faster R-CNN
does not need: RoIAlign, RoIPool and NMS come from torchvision. So: download the source distribution pinned in
detectron2.txt, check its hash, leave the C++ out, and add the two things that are then missing, `detectron2._C` and
`PIL.Image.LINEAR`. The demo projects beside the package are left out too. An official build that is already in the
environment is used as it is; a wheel made here is made anew when this file or the pin changes.

Run by install/setup.sh with the Python of the virtual environment.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

PIN = Path(__file__).with_name("detectron2.txt")
VERSION = "0.6"

COMPILED_OPERATORS = '''"""Stands in for the compiled operators, which this pure-Python wheel does not have."""


def __getattr__(name):
    if name.startswith("__"):
        raise AttributeError(name)
    raise ImportError(
        f"detectron2._C.{name} is a compiled operator, and this detectron2 was installed without them "
        "(enough for Faster R-CNN); what you run needs an official detectron2 build"
    )
'''
PATCHED_FILE = "data/transforms/transform.py"
PATCH = ("interp=Image.LINEAR, fill=0):", "interp=Image.BILINEAR, fill=0):  # regionvlp: Pillow 10 dropped LINEAR")
CHECK = "import detectron2; from detectron2.modeling import build_model; print('detectron2', detectron2.__version__)"


def main() -> None:
    recipe = hashlib.sha256(Path(__file__).read_bytes() + PIN.read_bytes()).hexdigest()[:16]
    if python("-c", "import detectron2", check=False, capture_output=True).returncode == 0:
        made_by = wheel_generator()
        if not made_by.startswith("regionvlp "):
            print("detectron2 is here already, not from us: left as it is")
            return
        if made_by == f"regionvlp {recipe}":
            print("detectron2 is here already")
            return
    with tempfile.TemporaryDirectory(prefix="detectron2-") as scratch:
        source = unpack(download(Path(scratch) / "download"), Path(scratch) / "source")
        wheel = build_wheel(source, Path(scratch) / "wheel", recipe)
        uv = Path(sys.executable).with_name("uv")
        run(str(uv), "pip", "install", "--python", sys.executable, "--no-deps", "--reinstall", str(wheel))
    python("-c", CHECK)


def wheel_generator() -> str:
    """What the installed detectron2 says made its wheel; empty when it was not installed from a wheel."""
    try:
        text = importlib.metadata.distribution("detectron2").read_text("WHEEL") or ""
    except importlib.metadata.PackageNotFoundError:
        return ""
    found = re.search(r"^Generator: (.*)$", text, re.MULTILINE)
    return found.group(1) if found else ""


def download(folder: Path) -> Path:
    """Fetches the pinned source distribution; pip refuses other bytes, and so does this."""
    python(
        *("-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps", "--no-binary", ":all:"),
        *("--no-build-isolation", "--require-hashes", "--dest", str(folder), "--requirement", str(PIN)),
    )
    (archive,) = folder.iterdir()
    found = hashlib.sha256(archive.read_bytes()).hexdigest()
    if f"sha256:{found}" not in PIN.read_text():
        sys.exit(f"hash mismatch: {archive.name} has sha256 {found}, which is not the one in {PIN}")
    return archive


def unpack(archive: Path, folder: Path) -> Path:
    """Writes out the regular files of the archive, none outside the folder; returns the one folder in it.

    By hand, because `extractall(filter="data")` came with Python 3.11.4 only.
    """
    with tarfile.open(archive) as tar:
        for member in filter(tarfile.TarInfo.isfile, tar):
            path = (folder / member.name).resolve()
            if not path.is_relative_to(folder.resolve()):
                sys.exit(f"{archive.name} holds a file that would land outside its folder: {member.name!r}")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(tar.extractfile(member).read())
    (source,) = folder.iterdir()
    return source


def build_wheel(source: Path, folder: Path, recipe: str) -> Path:
    """Lays out the package, its two additions and the metadata, and packs them; returns the wheel."""
    tree = folder / "tree"
    package = tree / "detectron2"
    shutil.copytree(source / "detectron2", package)
    patch(package / PATCHED_FILE, *PATCH)
    (package / "_C.py").write_text(COMPILED_OPERATORS)

    info = tree / f"detectron2-{VERSION}.dist-info"
    (info / "licenses").mkdir(parents=True)
    shutil.copy(source / "LICENSE", info / "licenses" / "LICENSE")
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.4\nName: detectron2\nVersion: {VERSION}\nLicense-Expression: Apache-2.0\n"
        "License-File: LICENSE\nSummary: detectron2 without its compiled operators, packed by regionvlp\n"
    )
    (info / "WHEEL").write_text(
        f"Wheel-Version: 1.0\nGenerator: regionvlp {recipe}\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    )
    python("-m", "wheel", "pack", str(tree), "--dest-dir", str(folder), stdout=subprocess.DEVNULL)
    (wheel,) = folder.glob("*.whl")
    return wheel


def patch(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    if text.count(old) != 1 or text.count("Image.LINEAR") != 1:
        sys.exit(f"{file.name} is not the file this patch was written for: {old!r} should be there once")
    file.write_text(text.replace(old, new))


def python(*arguments: str, **options) -> subprocess.CompletedProcess:
    """Runs this Python with -P: the folder it starts in must not take part in imports."""
    return run(sys.executable, "-P", *arguments, **options)


def run(*command: str, **options) -> subprocess.CompletedProcess:
    return subprocess.run(command, **{"check": True, **options})


if __name__ == "__main__":
    try:
        main()
    except subprocess.CalledProcessError as error:
        sys.exit(f"this command failed: {' '.join(map(str, error.cmd))}")
