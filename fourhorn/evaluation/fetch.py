"""Download official evaluation sets: resumed, verified, unpacked.

§3. A download goes to `NAME.part` and goes on there after a break (HTTP range requests); archives are opened and
only the set's own files are kept. A file whose hash or counts are not the expected ones is refused and stays as
`.part`.

Raises `UserError` for a host that cannot be reached and for a wrong file, with the expected and the found figures.
"""

import io
import shutil
import tarfile
import urllib.error
import urllib.request
import zipfile
from pathlib import Path

from fourhorn.errors import UserError
from fourhorn.evaluation.datasets import OfficialSet, find, official, refuse_other, verify
from fourhorn.files import atomic_write
from fourhorn.progress import progress

BLOCK_BYTES = 1 << 16
TIMEOUT_SECONDS = 60


def fetch(name: str, folder: str | Path) -> list[Path]:
    """Bring one official set into `folder`; files that are already there and right are kept."""
    spec, root = official(name), Path(folder)
    root.mkdir(parents=True, exist_ok=True)
    if paths := find(name, root):
        refuse_other(verify(name, paths))
        return list(paths)
    for url in spec.urls:
        downloaded = download(url, root / Path(url).name)
        unpack(downloaded, spec, root / spec.name)
    paths = find(name, root)
    if not paths:
        wanted = ", ".join(file.names[0] for file in spec.files)
        raise UserError(
            f"{spec.urls[0]} holds no {wanted}. See {spec.source}; put the files into {root} by hand."
        )
    found = verify(name, paths)
    refuse_other(found)
    return list(paths)


def download(url: str, path: Path) -> Path:
    """Fetch `url` to `path`, going on with what an earlier attempt left in `path.part`."""
    if path.exists():
        return path
    part = path.with_name(path.name + ".part")
    have = part.stat().st_size if part.exists() else 0
    headers = {"User-Agent": "fourhorn", **({"Range": f"bytes={have}-"} if have else {})}
    try:
        with urllib.request.urlopen(
            urllib.request.Request(url, headers=headers), timeout=TIMEOUT_SECONDS
        ) as response:
            resumed = response.status == 206
            length = response.headers.get("Content-Length")
            expected = (have if resumed else 0) + int(length) if length else None
            with (
                part.open("ab" if resumed else "wb") as file,
                progress(path.name, total=expected, unit="bytes") as bar,
            ):
                bar.update(have if resumed else 0)
                while block := response.read(BLOCK_BYTES):
                    file.write(block)
                    bar.update(len(block))
    except urllib.error.HTTPError as error:
        if error.code != 416:  # the range starts at the end: everything is there
            raise UserError(f"{url} answered {error.code} {error.reason}.") from None
        expected = have
    except OSError as error:
        raise UserError(f"{url} cannot be reached: {error}. Run the same command again to go on.") from None
    if expected is not None and part.stat().st_size != expected:
        size = part.stat().st_size
        raise UserError(
            f"{url} broke off at {size:,} of {expected:,} bytes. Run the same command again to go on."
        )
    part.rename(path)
    return path


def unpack(path: Path, spec: OfficialSet, folder: Path) -> None:
    """Move the set's own files out of an archive (or the file itself) into `folder`, which bears the set's name."""
    wanted = {Path(name).name for file in spec.files for name in file.names if name}
    folder.mkdir(parents=True, exist_ok=True)
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            for member in archive.namelist():
                if Path(member).name in wanted:
                    with archive.open(member) as source, atomic_write(_place(folder, member)) as target:
                        shutil.copyfileobj(source, target)
    elif tarfile.is_tarfile(path):
        with tarfile.open(path) as archive:
            for entry in archive:
                if entry.isfile() and Path(entry.name).name in wanted:
                    stream = archive.extractfile(entry) or io.BytesIO()
                    with atomic_write(_place(folder, entry.name)) as target:
                        shutil.copyfileobj(stream, target)
    else:
        path.rename(folder / path.name)


def _place(folder: Path, member: str) -> Path:
    """Where a member goes: its own name in the set's folder, WikiText-103 under the folder name that tells it apart."""
    return folder / Path(member).name
