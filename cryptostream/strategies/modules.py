"""Strategies of the user's own: a class out of a Python file or module, from folders that the configuration allows.

What is loaded is run with all the rights of this process. So a file is taken only from below one of `plugins.paths`,
links followed, and a module from there or from where what is installed lies: the current folder, which `python -m` has
Python look in, is no such place. The name of one comes from the configuration or the command line, never from a stream
or a request.
"""

import json
import os
import site
import sys
import sysconfig
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from hashlib import sha256
from importlib import import_module, invalidate_caches
from importlib.machinery import ModuleSpec, NamespaceLoader
from importlib.metadata import distributions
from importlib.util import find_spec
from itertools import accumulate
from pathlib import Path
from traceback import extract_tb
from types import ModuleType
from urllib.parse import urlsplit
from urllib.request import url2pathname

from cryptostream.errors import ConfigError, NotFound
from cryptostream.registry import did_you_mean

_SOURCE = "__strategy_source__"


def is_strategy(thing: object) -> bool:
    """Whether a thing is a class that takes bars or trades."""
    return isinstance(thing, type) and any(callable(getattr(thing, name, None)) for name in ("on_bar", "on_trade"))


def from_file(path: str, name: str, paths: Sequence[Path]) -> type:
    """The strategy `name` of a file, or where it is empty the only one; the same class each time.

    A relative path is looked for in the current folder and then in each of `paths`. Raises NotFound where there is no
    such file, ConfigError for one that lies elsewhere, that cannot be run, or that does not hold the strategy.
    """
    found = _allowed(path, paths)
    with _looking_in(paths):
        module = _run(found, path)
    own: dict[str, type] = {key: thing for key, thing in vars(module).items() if _is_own(module, key, thing)}
    if name or len(own) != 1:
        return _named(name, own, path)
    return next(iter(own.values()))


def from_module(module: str, name: str, paths: Sequence[Path]) -> type:
    """The class `name` of a module that is installed, or that lies below one of `paths`.

    Raises ConfigError for one that cannot be imported, that does not hold the strategy, or that would be imported from
    elsewhere; then nothing of it is run.
    """
    with _looking_in(paths):
        for each in accumulate(module.split("."), "{}.{}".format):
            # A package is run before what is in it can be looked for, so it is judged before that too.
            _refuse_elsewhere(each, paths)
            imported = _imported(each)
    return _named(name, {key: thing for key, thing in vars(imported).items() if is_strategy(thing)}, module)


def source_of(kind: type) -> str:
    """The text that a class of a file was made of; empty for one of a module, which is installed with a version."""
    return str(getattr(sys.modules.get(kind.__module__), _SOURCE, ""))


def _allowed(path: str, paths: Sequence[Path]) -> Path:
    given = Path(path).expanduser()
    here = [given] if given.is_absolute() else [given, *(folder / given for folder in paths)]
    found = [candidate.resolve() for candidate in here if candidate.is_file()]
    if not found:
        raise NotFound(f"no strategy file {path}", hint="it is looked for here and in the folders of plugins.paths")
    for candidate in found:
        if any(candidate.is_relative_to(folder.resolve()) for folder in paths):
            return candidate
    raise ConfigError(
        f"{path} lies outside of the folders that strategies may come from",
        hint=f"add {found[0].parent} to plugins.paths, if you trust what is in it",
    )


@contextmanager
def _looking_in(paths: Sequence[Path]) -> Iterator[None]:
    """Inside, modules of these folders can be imported too, unless others have their names."""
    added = [folder for folder in (str(each.resolve()) for each in paths) if folder not in sys.path]
    sys.path.extend(added)
    invalidate_caches()
    try:
        yield
    finally:
        sys.path[:] = [folder for folder in sys.path if folder not in added]


def _run(path: Path, told: str) -> ModuleType:
    try:
        return _module(path)
    except (Exception, SystemExit) as error:
        raise ConfigError(f"{_place(error, str(path), told)}: {_of(error)}") from error


@cache
def _module(path: Path) -> ModuleType:
    # Not Python's own loader: it may take a stale .pyc, and the text that was run is part of the state's identity.
    source = path.read_bytes()
    code = compile(source, str(path), "exec", dont_inherit=True)
    module = ModuleType(f"{path.stem}_{sha256(str(path).encode()).hexdigest()[:8]}")
    module.__file__ = str(path)
    setattr(module, _SOURCE, source.decode(errors="replace"))
    sys.modules[module.__name__] = module
    try:
        exec(code, vars(module))  # noqa: S102 - a file that the configuration names, below a folder that it allows
    except BaseException:
        del sys.modules[module.__name__]
        raise
    return module


def _refuse_elsewhere(module: str, paths: Sequence[Path]) -> None:
    """Raise ConfigError for a module that the import would run from a place where none may come from."""
    try:
        found = find_spec(module)
    except (ImportError, ValueError):
        return  # there is nothing to run: the import says why
    if found is None or _runs_nothing(found):
        return
    origin = Path(os.path.abspath(found.origin or ""))  # noqa: PTH100 - links stay: see _is_installed
    if any(origin.resolve().is_relative_to(folder.resolve()) for folder in paths) or _is_installed(origin):
        return
    folder = origin.parents[module.count(".") + bool(found.submodule_search_locations)]
    raise ConfigError(
        f"module {module} ({origin}) lies outside of the folders that strategies may come from",
        hint=f"install it, or add {folder} to plugins.paths, if you trust what is in it",
    )


def _runs_nothing(found: ModuleSpec) -> bool:
    """Whether a module is a part of the interpreter, or a folder that is a package by its name alone."""
    if found.has_location:
        return False
    return found.origin in ("built-in", "frozen") or found.loader is None or isinstance(found.loader, NamespaceLoader)


def _is_installed(origin: Path) -> bool:
    # As it is written too: some installers fill site-packages with links to what they keep elsewhere.
    places = (origin, origin.resolve())
    return any(place.is_relative_to(folder) for folder in _installed() for place in places)


@cache
def _installed() -> tuple[Path, ...]:
    """Python's own modules, site-packages, projects installed in editable form, and this package."""
    told = sysconfig.get_paths()
    sites = [told["purelib"], told["platlib"], *site.getsitepackages()]
    if site.ENABLE_USER_SITE:
        sites.append(site.getusersitepackages())
    folders = [told["stdlib"], told["platstdlib"], *sites, *_editable(sites)]
    places = [*map(Path, folders), Path(__file__).parents[1]]
    return tuple(dict.fromkeys(known for each in places for known in (each, each.resolve())))


def _editable(sites: Sequence[str]) -> Iterator[str]:
    """The folders of projects that are installed as they lie there, by the direct_url.json of PEP 610.

    Looked for in `sites` alone: in any folder of sys.path, so in the current one, anybody could have put such a file.
    """
    for one in distributions(path=list(sites)):
        told = json.loads(one.read_text("direct_url.json") or "{}")
        if told.get("dir_info", {}).get("editable"):
            yield url2pathname(urlsplit(told["url"]).path)


def _imported(name: str) -> ModuleType:
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if not error.name or not f"{name}.".startswith(f"{error.name}."):
            raise _broken(name, error) from error
        hint = "install it, or add the folder it lies in to plugins.paths"
        raise ConfigError(f"no module {error.name} to take a strategy from", hint=hint) from error
    except (Exception, SystemExit) as error:
        raise _broken(name, error) from error


def _broken(module: str, error: BaseException) -> ConfigError:
    frames = [Path(frame.filename) for frame in extract_tb(error.__traceback__) if frame.filename != __file__]
    own = [str(path) for path in frames if path.is_file() and path.parent.name != "importlib"]
    path = own[0] if own else f"module {module}"
    return ConfigError(f"{_place(error, path, path)}: {_of(error)}")


def _place(error: BaseException, path: str, told: str) -> str:
    """The line of a user's file that an error comes from: the last one that was running."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{told if error.filename == path else error.filename}:{error.lineno}"
    lines = [frame.lineno for frame in extract_tb(error.__traceback__) if frame.filename == path]
    return f"{told}:{lines[-1]}" if lines else told


def _of(error: BaseException) -> str:
    message = error.msg if isinstance(error, SyntaxError) else str(error)
    return f"{type(error).__name__}: {' '.join(message.split())}".rstrip(": ")


def _is_own(module: ModuleType, key: str, thing: object) -> bool:
    return is_strategy(thing) and not key.startswith("_") and getattr(thing, "__module__", "") == module.__name__


def _named(name: str, known: dict[str, type], where: str) -> type:
    if name in known:
        return known[name]
    if not known:
        raise ConfigError(f"{where} holds no strategy", hint="a class with on_bar or on_trade; see docs/strategies.md")
    listed = ", ".join(known)
    if not name:
        hint = f"name one: {where}:{next(iter(known))}"
        raise ConfigError(f"{where} holds {len(known)} strategies: {listed}", hint=hint)
    raise ConfigError(f"{where} holds no strategy {name}", hint=did_you_mean(name, known) or f"it holds: {listed}")
