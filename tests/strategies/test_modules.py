"""Where a module may come from: what is installed, or lies below a folder of plugins.paths. Nothing else is run."""

import json
import site
import sys
import sysconfig
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from cryptostream.errors import ConfigError
from cryptostream.strategies import modules
from cryptostream.strategies.modules import from_module

SOURCE = """
from pathlib import Path

Path(__file__).with_suffix(".ran").touch()


class Mine:
    def on_bar(self, bar):
        pass
"""
_numbers = count()


@pytest.fixture(autouse=True)
def _anew(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    modules._installed.cache_clear()
    monkeypatch.setattr(sys, "path", [*sys.path])
    before = set(sys.modules)
    yield
    modules._installed.cache_clear()
    for name in set(sys.modules) - before:
        del sys.modules[name]


@pytest.fixture
def name() -> str:
    """A name that no module had before."""
    return f"strategy_of_mine_{next(_numbers)}"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, first on Python's path, as `python -m` has it."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    sys.path.insert(0, str(folder))
    return folder


@pytest.fixture
def sites(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of installed packages."""
    folder = tmp_path / "lib" / "site-packages"
    folder.mkdir(parents=True)
    monkeypatch.setattr(site, "getsitepackages", lambda: [str(folder)])
    sys.path.append(str(folder))
    return folder


def put(path: Path, source: str = SOURCE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(source)
    return path


def ran(folder: Path) -> list[str]:
    """The modules below a folder that were run."""
    return sorted(path.stem for path in folder.rglob("*.ran"))


def refused(module: str, *paths: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        from_module(module, "Mine", paths)
    return f"{caught.value} | {caught.value.hint}"


def test_a_module_of_the_current_folder_is_not_run(here: Path, name: str, tmp_path: Path) -> None:
    path = put(here / f"{name}.py")
    told = refused(name, tmp_path / "elsewhere")
    assert told == (
        f"module {name} ({path}) lies outside of the folders that strategies may come from"
        f" | install it, or add {here} to plugins.paths, if you trust what is in it"
    )
    assert not ran(here)
    assert name not in sys.modules
    assert "lies outside" in refused(name)


@pytest.mark.parametrize("suffix", ["", "."])
def test_an_empty_entry_of_the_path_is_the_current_folder_too(
    here: Path, name: str, suffix: str, tmp_path: Path
) -> None:
    put(here / f"{name}.py")
    sys.path[0] = suffix
    assert f"add {here} to" in refused(name, tmp_path / "elsewhere")
    assert not ran(here)


def test_a_module_of_the_current_folder_is_run_where_the_configuration_allows_it(here: Path, name: str) -> None:
    put(here / f"{name}.py")
    assert from_module(name, "Mine", [Path()]).__name__ == "Mine"
    assert ran(here) == [name]


def test_a_package_is_judged_before_it_is_run(here: Path, name: str, tmp_path: Path) -> None:
    put(here / name / "__init__.py")
    put(here / name / "inner" / "__init__.py")
    put(here / name / "inner" / "deep.py")
    assert f"module {name} (" in (told := refused(f"{name}.inner.deep", tmp_path / "elsewhere"))
    assert f"add {here} to" in told
    assert not ran(here)


def test_what_is_in_a_folder_without_init_is_judged_by_itself(here: Path, name: str, tmp_path: Path) -> None:
    put(here / name / "mine.py")
    put(tmp_path / "trusted" / name / "ours.py")
    told = refused(f"{name}.mine", tmp_path / "trusted")
    assert f"module {name}.mine (" in told
    assert f"add {here} to" in told
    assert not ran(here)
    assert from_module(f"{name}.ours", "Mine", [tmp_path / "trusted"])


def test_a_package_that_is_allowed_cannot_lend_its_name_to_a_file_elsewhere(
    here: Path, name: str, tmp_path: Path
) -> None:
    trusted = tmp_path / "trusted"
    put(trusted / name / "__init__.py", f"__path__.append({str(here)!r})\n")
    put(here / "mine.py")
    assert f"module {name}.mine (" in refused(f"{name}.mine", trusted)
    assert not ran(here)


def test_a_link_out_of_a_folder_of_plugins_is_followed(here: Path, name: str, tmp_path: Path) -> None:
    trusted = tmp_path / "trusted"
    trusted.mkdir()
    (trusted / f"{name}.py").symlink_to(put(here / "other.py"))
    sys.path.remove(str(here))
    assert "lies outside" in refused(name, trusted)
    assert not ran(here)


def test_a_folder_beside_of_almost_the_same_name_is_elsewhere(here: Path, name: str) -> None:
    put(here / f"{name}.py")
    assert "lies outside" in refused(name, here.with_name("her"), here.with_name("here-too"), here / "below")


def test_a_module_that_was_imported_before_is_judged_all_the_same(here: Path, name: str, tmp_path: Path) -> None:
    put(here / f"{name}.py")
    one = from_module(name, "Mine", [here])
    assert "lies outside" in refused(name, tmp_path / "elsewhere")
    assert from_module(name, "Mine", [here]) is one


def test_what_is_installed_may_be_loaded(sites: Path, name: str) -> None:
    put(sites / name / "__init__.py")
    put(sites / name / "mine.py")
    assert from_module(f"{name}.mine", "Mine", []).__module__ == f"{name}.mine"


def test_a_link_among_what_is_installed_is_the_installers(sites: Path, name: str, tmp_path: Path) -> None:
    (sites / f"{name}.py").symlink_to(put(tmp_path / "cache" / "kept.py"))
    assert from_module(name, "Mine", [])


def test_one_in_the_current_folder_that_has_the_name_of_an_installed_one_is_not_run(
    here: Path, sites: Path, name: str
) -> None:
    put(here / f"{name}.py")
    put(sites / f"{name}.py")
    assert "lies outside" in refused(name)
    assert not ran(here)


@pytest.mark.parametrize("editable", [True, False])
def test_a_project_installed_in_editable_form_is_installed(
    sites: Path, name: str, tmp_path: Path, editable: bool
) -> None:
    project = tmp_path / "the project"
    put(project / "src" / f"{name}.py")
    told = {"url": project.as_uri(), "dir_info": {"editable": editable}}
    put(sites / f"{name}-1.0.dist-info" / "METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    put(sites / f"{name}-1.0.dist-info" / "direct_url.json", json.dumps(told))
    sys.path.append(str(project / "src"))
    if editable:
        assert from_module(name, "Mine", [])
    else:
        assert "lies outside" in refused(name)


def test_the_current_folder_cannot_call_itself_installed(here: Path, sites: Path, name: str) -> None:
    put(here / f"{name}.py")
    told = {"url": here.as_uri(), "dir_info": {"editable": True}}
    put(here / f"{name}-1.0.dist-info" / "METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    put(here / f"{name}-1.0.dist-info" / "direct_url.json", json.dumps(told))
    put(here / "site-packages" / f"{name}_inner.py")
    sys.path.insert(0, str(here / "site-packages"))
    assert "lies outside" in refused(name)
    assert "lies outside" in refused(f"{name}_inner")
    assert not ran(here)


@pytest.mark.parametrize("module", ["pathlib", "os", "sys", "os.path", "pytest", "cryptostream.strategies.macd_rsi"])
def test_python_and_its_packages_are_installed(module: str) -> None:
    with pytest.raises(ConfigError, match=f"{module} holds no strategy"):
        from_module(module, "Mine", [])


def test_the_places_are_those_of_this_python() -> None:
    places = set(modules._installed())
    assert {Path(sysconfig.get_path(name)) for name in ("stdlib", "purelib")} < places
    assert Path(modules.__file__).parents[1] in places
    assert Path.cwd().root not in map(str, places)


@pytest.mark.parametrize(
    "module", ["", ".pathlib", "nowhere_at_all", "pathlib.nowhere", "json..decoder", "a b", "../x"]
)
def test_a_name_that_no_module_has_is_told(module: str) -> None:
    assert refused(module)
