"""A dataset's files, in a folder or on the hub."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from mask2iv_ros.errors import Refused

_ID = re.compile(r"([\w-][\w.-]*/[\w-][\w.-]*)(?:@([\w.-]+))?")


@dataclass(frozen=True)
class Files:
    """Where a dataset lies.

    Attributes:
        said: how it was asked for.
        metadata: a folder that has at least its `meta`.
        repository: on the hub; "" for a folder.
        revision: of the repository, the commit that was current when it was opened: all files are of one version.
    """

    said: str
    metadata: Path
    repository: str = ""
    revision: str = ""

    @classmethod
    def find(cls, path: str | Path) -> Self:
        """Return the files of a folder, or of "owner/name" or "owner/name@revision" on the hub.

        Raises:
            Refused: neither, or the hub cannot be reached and its cache does not hold the metadata.
        """
        folder = Path(path).expanduser()
        if folder.is_dir():
            return cls(str(path), folder.resolve())
        match = _ID.fullmatch(str(path))
        if not match:
            raise Refused(f"dataset {str(path)!r} does not exist; expected a folder, or an id of the hub as owner/name")
        # Imported here: it takes a quarter of a second that folders do not need.
        from huggingface_hub import snapshot_download

        try:
            found = snapshot_download(match[1], repo_type="dataset", revision=match[2], allow_patterns="meta/**")
        except (OSError, ValueError) as error:
            raise Refused(
                f"dataset {str(path)!r} is no folder, and the hub did not give it ({_line(error)}); "
                "expected a folder, or an id of the hub that this machine can reach"
            ) from error
        return cls(str(path), Path(found), match[1], Path(found).name)

    def path(self, name: str) -> Path:
        """Return one file, fetched first where it is on the hub and not in its cache.

        Args:
            name: relative to the dataset.

        Raises:
            FileNotFoundError: the dataset has no such file.
            ConnectionError: the hub cannot be reached.
        """
        if not self.repository:
            return self.metadata / name
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

        try:
            return Path(hf_hub_download(self.repository, name, repo_type="dataset", revision=self.revision))
        except LocalEntryNotFoundError as error:  # a kind of EntryNotFoundError, and no fault of the dataset
            raise ConnectionError(f"{name} of {self.said} cannot be fetched: {_line(error)}") from error
        except EntryNotFoundError as error:
            raise FileNotFoundError(f"{self.said} has no {name}") from error
        except OSError as error:
            raise ConnectionError(f"{name} of {self.said} cannot be fetched: {_line(error)}") from error


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
