"""PyTorch checkpoints as safetensors files, which ``tulle import`` and everything else can read without running code.

    python -m tulle.convert smlpnet.pth smlpnet.safetensors
"""

import os
import pickle
import sys

__all__ = ["checkpoint"]

# What training scripts wrap a state dict in, in the order in which it is looked for.
_WRAPPERS = ("state_dict", "model", "model_state_dict", "state_dict_ema", "model_ema")


def checkpoint(path, out, entry=None):
    """Writes the tensors of a state dict that ``torch.save`` wrote to ``out``, whole or not at all; returns their number.

    entry: the key of the state dict where the file holds more; None: the file itself, or one of "state_dict", "model",
    "model_state_dict", "state_dict_ema" and "model_ema". The file is read without running code of its own
    (``torch.load(weights_only=True)``). Needs torch and safetensors. Raises ValueError for a file that holds no state dict.
    """
    import torch
    from safetensors.torch import save_file

    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, EOFError) as error:
        raise ValueError(f"{path}: checkpoint, found other content or code, expected tensors that torch.save wrote") from error
    if entry is None:
        entry = next((name for name in _WRAPPERS if isinstance(found, dict) and isinstance(found.get(name), dict)), None)
    if entry is not None:
        if not isinstance(found, dict) or entry not in found:
            raise ValueError(f"{path}: entry, found no {entry!r}, expected one of {_keys(found)}")
        found = found[entry]
    tensors = {}
    if isinstance(found, dict):  # copies: some may share their memory
        tensors = {name: value.detach().clone().contiguous() for name, value in found.items() if torch.is_tensor(value)}
    if not tensors:
        raise ValueError(f"{path}: state dict, found {_keys(found)}, expected names with tensors")
    part = f"{out}.part"
    try:
        save_file(tensors, part)
        os.replace(part, out)
    finally:
        if os.path.exists(part):
            os.remove(part)
    return len(tensors)


def _keys(found):
    return sorted(map(str, found))[:8] if isinstance(found, dict) else f"a {type(found).__name__}"


def _main(words):
    if len(words) not in (2, 3):
        sys.exit("usage: python -m tulle.convert CHECKPOINT.pth OUT.safetensors [ENTRY]")
    try:
        print(f"{checkpoint(*words)} tensors")
    except ImportError as error:
        sys.exit(f"tulle.convert: {error}; it needs torch and safetensors".splitlines()[0])
    except (ValueError, OSError, RuntimeError) as error:
        sys.exit(f"tulle.convert: {error}".splitlines()[0])


if __name__ == "__main__":
    _main(sys.argv[1:])
