"""Config keys, made from the engine's one table: no key is written down here."""

import difflib
from functools import lru_cache

from . import _core
from .errors import ConfigError


@lru_cache(maxsize=1)
def _rows():
    return {row["name"]: row for row in _core.config_keys()}


@lru_cache(maxsize=1)
def _by_leaf():
    """Leaf name -> full name; where two sections share one, the first of the training keys."""
    leaves = {}
    for name in _rows():
        leaves.setdefault(name.split(".", 1)[1], name)
    return leaves


def full_name(key):
    """ "batch_size" or "train.batch_size" -> "train.batch_size"."""
    if key in _rows():
        return key
    if key in _by_leaf():
        return _by_leaf()[key]
    near = difflib.get_close_matches(key, [*_rows(), *_by_leaf()], n=1)
    raise ConfigError(f"unknown key {key}" + (f"; did you mean {near[0]}?" if near else ""))


def text_of(value):
    """A Python value as the command line would have it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (list, tuple)) or (hasattr(value, "tolist") and getattr(value, "ndim", 0) > 0):
        return "[" + ", ".join(f'"{v}"' if isinstance(v, str) else text_of(v) for v in value) + "]"
    if isinstance(value, float) or (hasattr(value, "dtype") and value.dtype.kind == "f"):
        return repr(float(value))
    return str(value)


def make(settings, path=None):
    """A finished engine config: the file, if any, then the settings {key: value}, then the preset's defaults."""
    config = _core.Config()
    if path is not None:
        config.read_file(str(path))
    for key, value in settings.items():
        if value is not None:
            name = full_name(key)
            try:
                config.set(name, text_of(value))
            except ConfigError:
                raise
            except ValueError as error:
                raise ConfigError(str(error)) from None
    config.finish()
    return config


def describe():
    """Every key: {name: {"default": .., "help": .., "choices": [..]}}."""
    return {
        name: {"default": row["default"], "help": row["help"], **({"choices": row["choices"]} if "choices" in row else {})}
        for name, row in _rows().items()
    }
