"""Where the package's configuration files are, in a checkout and installed."""

from pathlib import Path

import mask2iv_ros


def config_file(name: str) -> Path:
    """Return the path of `config/NAME`: the checkout's own, else the installed share folder's.

    Raises:
        FileNotFoundError: the package is installed without its configuration.
    """
    package = Path(mask2iv_ros.__file__).resolve().parent
    installed = [parent / "share" / "mask2iv_ros" for parent in package.parents]
    for folder in (package.parent, *installed):
        if (folder / "config" / name).is_file():
            return folder / "config" / name
    raise FileNotFoundError(f"config/{name} is neither beside {package} nor in a share folder above it")
