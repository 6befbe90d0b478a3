"""Where the weights of an encoder are: in a file or folder, in the cache of the Hugging Face hub, or on the hub."""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from pixnet.errors import ModelError, first_line
from pixnet.network.config import DEFAULT_ENCODER
from pixnet.network.encoders.registry import Definition, definitions

if TYPE_CHECKING:
    from pixnet.network.config import EncoderConfig

_refused = False  # whether nothing may be fetched, see `without_network`
_SECONDS = (1.5, 10.0, 10.0, 10.0)  # to connect to the hub; to read, to write, and for a free connection


def check_weights(config: EncoderConfig) -> None:
    """Find the weights of an encoder, and download them if they are on the hub, before any other work is begun.

    timm itself fetches those of its models that are not in the registry, when they are made.

    Raises
    ------
    ModelError
        If the name is not known or the weights cannot be had; it says what to do.
    """
    name, weights = config.name, config.weights
    if config.definition is not None:
        if weights != "random":
            locate(name, config.definition, weights)
        return
    if name != DEFAULT_ENCODER:
        check_name(name)
    if weights not in ("pretrained", "random") and not Path(weights).is_file():
        raise ModelError(f"{weights}: file of weights not found.")


def check_name(name: str) -> None:
    """Raise ModelError unless timm knows a name that is not in the registry, or it is that of a model on the hub."""
    if name.startswith("hf-hub:"):
        check_fetched(name)
        return
    import timm

    if not timm.is_model(name):
        similar = difflib.get_close_matches(name.lower(), [*definitions(), *timm.list_models()], n=3)
        hint = f"did you mean {' or '.join(map(repr, similar))}? " if similar else ""
        raise ModelError(
            f"encoder {name!r} is neither in the registry nor known to timm; {hint}`pixnet encoders` lists what can "
            "be used."
        )


def locate(name: str, definition: Definition, weights: str) -> Path:
    """Return the file that holds the weights of an encoder; it is downloaded if `weights` is "pretrained".

    Otherwise `weights` is the path of the file, or of a folder that holds it: a copy of the hub's repository, or a
    cache of the hub (`HF_HOME`).
    """
    if weights == "pretrained":
        return _cached(definition.hub, definition.file) or _download(name, definition)
    path = Path(weights)
    if path.is_file():
        return path
    if not path.exists():
        raise ModelError(f"{path}: file or folder of weights of encoder {name!r} not found.")
    repository = f"models--{definition.hub.replace('/', '--')}"
    for pattern in ("", "snapshots/*/", f"{repository}/snapshots/*/", f"hub/{repository}/snapshots/*/"):
        for candidate in _names(definition.file):
            if found := sorted(path.glob(pattern + candidate)):
                return found[0]
    raise ModelError(
        f"{path}: holds no {definition.file}; `weights` of encoder {name!r} must be its file of weights, a copy of "
        f"{definition.hub or 'its repository'}, or a cache of the hub."
    )


@contextmanager
def without_network() -> Iterator[None]:
    """Fetch nothing from the hub within a `with` block, neither weights nor the shape of a model."""
    from huggingface_hub import constants

    global _refused
    before = _refused, constants.HF_HUB_OFFLINE
    _refused, constants.HF_HUB_OFFLINE = True, True
    try:
        yield
    finally:
        _refused, constants.HF_HUB_OFFLINE = before


def check_fetched(name: str) -> None:
    """Raise ModelError if nothing may be fetched, and the shape of a model on the hub is not on this computer."""
    hub = name.removeprefix("hf-hub:")
    if _refused and hub != name and not is_cached(hub, "config.json"):
        raise _not_here(name, hub)


def _not_here(name: str, hub: str) -> ModelError:
    return ModelError(
        f"encoder {name!r}: is not on this computer, and a model that is loaded fetches nothing by itself. Set "
        f"`download=True` to fetch it from https://huggingface.co/{hub}, or give its file or folder as "
        "`encoder_weights`."
    )


def is_cached(hub: str, file: str = "model.safetensors") -> bool:
    """Return whether weights are in the hub's cache on this computer, without using the network."""
    return _cached(hub, file) is not None


def _cached(hub: str, file: str) -> Path | None:
    if not hub:
        return None
    from huggingface_hub import try_to_load_from_cache

    found = (try_to_load_from_cache(hub, name) for name in _names(file))
    return next((Path(path) for path in found if isinstance(path, str)), None)


def check_hash(path: Path, definition: Definition) -> None:
    """Compare a file of weights that is from the hub with the hash that is known of it, if any."""
    if not definition.sha256 or path.name != definition.file:
        return
    with path.open("rb") as file:
        actual = hashlib.file_digest(file, "sha256").hexdigest()
    if actual != definition.sha256:
        raise ModelError(
            f"{path}: has SHA-256 {actual[:12]}..., but the published file has {definition.sha256[:12]}...; remove it "
            "from the cache of the hub, so that it is fetched again."
        )


def _names(file: str) -> tuple[str, ...]:
    """Return the names under which a repository may hold its weights, the known one first."""
    return tuple(dict.fromkeys((file, "model.safetensors", "pytorch_model.bin")))


def _download(name: str, definition: Definition) -> Path:
    from huggingface_hub import constants, get_token, hf_hub_download
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RepositoryNotFoundError

    hub = definition.hub
    instead = "or set `weights` in [network.encoder] to a file or folder that holds them"
    if not hub:
        raise ModelError(f"encoder {name!r}: its definition names no repository; set `weights` to a file or folder.")
    if _refused:
        raise _not_here(name, hub)
    page = f"https://huggingface.co/{hub}"
    if constants.HF_HUB_OFFLINE:
        raise ModelError(
            f"encoder {name!r}: HF_HUB_OFFLINE is set, and the weights of {hub} are not on this computer; unset it, "
            f"{instead}."
        )
    if definition.gated and not get_token():
        raise ModelError(
            f"encoder {name!r}: {hub} is gated, and there is no token on this computer. Ask for access at {page} and "
            f"run `hf auth login`, {instead}."
        )
    try:
        _answer_of_the_hub(definition)
        return Path(hf_hub_download(hub, definition.file))
    except GatedRepoError as error:
        raise ModelError(
            f"encoder {name!r}: the account of this computer's token has no access to {hub}. Ask for it at {page}, "
            f"{instead}."
        ) from error
    except RepositoryNotFoundError as error:
        raise ModelError(
            f"encoder {name!r}: the hub does not show {hub} to this computer; check the name, log in with "
            f"`hf auth login` if it is not public, {instead}."
        ) from error
    except HfHubHTTPError as error:
        raise ModelError(f"encoder {name!r}: the hub did not send {hub}: {first_line(error)}; try again.") from error
    except Exception as error:  # sockets, proxies and certificates raise many kinds; all mean the same here
        raise ModelError(
            f"encoder {name!r}: its weights are not on this computer, and the hub ({constants.ENDPOINT}) cannot be "
            f"reached. Connect to the network, {instead}."
        ) from error


def _answer_of_the_hub(definition: Definition) -> None:
    """Ask for the file's size, once: a download asks many times, for half a minute, before it gives up."""
    from huggingface_hub import get_session, get_token, hf_hub_url
    from huggingface_hub.utils import build_hf_headers, hf_raise_for_status  # type: ignore[attr-defined]

    url = hf_hub_url(definition.hub, definition.file)
    response = get_session().head(url, headers=build_hf_headers(token=get_token()), timeout=_SECONDS)
    if response.status_code >= 400:
        hf_raise_for_status(response)
