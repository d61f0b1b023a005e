"""Settings: read once from the environment, refused by the name of the variable."""

from __future__ import annotations

from datetime import date

import pytest

from lineage.errors import SettingsError
from lineage.settings import Settings, find_root, read_settings


def test_an_empty_environment_has_every_default(tmp_path):
    """Nothing needs to be set."""
    assert Settings(root=tmp_path, home=tmp_path / ".headwater") == read_settings({}, tmp_path)


def test_every_variable_is_read(tmp_path):
    """Each setting comes from its own variable."""
    project = tmp_path / "project"
    project.mkdir()
    environ = {
        "HEADWATER_ROOT": str(project),
        "HEADWATER_HOME": "state",
        "HEADWATER_PIPELINES": "mine",
        "HEADWATER_NAMESPACE": "team",
        "DATABASE_URL": "postgresql://host/db",
        "OPENLINEAGE_URL": "http://other:5000",
        "HEADWATER_NOW": "2013-04-01",
        "HEADWATER_UI_PORT": "1",
        "HEADWATER_LINEAGE_PORT": "2",
        "HEADWATER_SERVING_PORT": "65535",
        "HEADWATER_TRAINING_MEMORY": "512MiB",
        "HEADWATER_DEVICE": "cuda",
    }

    found = read_settings(environ, tmp_path)

    assert found == Settings(
        root=project,
        home=project / "state",
        pipelines="mine",
        namespace="team",
        database_url="postgresql://host/db",
        openlineage_url="http://other:5000",
        now=date(2013, 4, 1),
        ui_port=1,
        lineage_port=2,
        serving_port=65535,
        training_memory=512 * 2**20,
        device="cuda",
    )
    assert "http://127.0.0.1:2" == found.lineage_url


@pytest.mark.parametrize(
    "name",
    [
        *("ROOT", "HOME", "PIPELINES", "NAMESPACE", "NOW", "UI_PORT", "LINEAGE_PORT", "SERVING_PORT"),
        *("TRAINING_MEMORY", "DEVICE"),
    ],
)
def test_an_empty_variable_is_not_set(tmp_path, name):
    """`HEADWATER_HOME=` in a shell or a unit file means the default, not the root."""
    assert read_settings({}, tmp_path) == read_settings({f"HEADWATER_{name}": ""}, tmp_path)


def test_home_may_lie_elsewhere(tmp_path):
    """An absolute HEADWATER_HOME is taken as it is."""
    assert tmp_path / "x" == read_settings({"HEADWATER_HOME": str(tmp_path / "x")}, tmp_path / "y").home


@pytest.mark.parametrize("text", ["2013-04-01", "2013-04-01T05:30", "2013-04-01T05:30:00+02:00", "20130401"])
def test_now_is_a_day(tmp_path, text):
    """The clock has days; a time of day is allowed and does not count."""
    assert date(2013, 4, 1) == read_settings({"HEADWATER_NOW": text}, tmp_path).now


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("HEADWATER_NOW", "2013-04"),
        ("HEADWATER_NOW", "2013-04-31"),
        ("HEADWATER_NOW", "2013-04-01 or so"),
        ("HEADWATER_UI_PORT", "http"),
        ("HEADWATER_UI_PORT", "0"),
        ("HEADWATER_LINEAGE_PORT", "65536"),
        ("HEADWATER_SERVING_PORT", "-1"),
        ("HEADWATER_SERVING_PORT", "80.0"),
        ("HEADWATER_ROOT", "/no/such/folder"),
    ],
)
def test_a_wrong_value_is_named_with_its_variable(tmp_path, name, value):
    """The message has the variable, what it holds and what it may hold."""
    with pytest.raises(SettingsError, match=f"{name}='{value}'"):
        read_settings({name: value}, tmp_path)


@pytest.mark.parametrize("mark", ["dvc.yaml", "pyproject.toml", ".git"])
def test_a_project_is_found_from_inside(tmp_path, mark):
    """A command works in any folder of the project."""
    (tmp_path / mark).touch()
    (tmp_path / "assets" / "deep").mkdir(parents=True)

    assert tmp_path == find_root(tmp_path / "assets" / "deep")


def test_the_nearest_project_is_meant(tmp_path):
    """A project inside another one is its own."""
    (tmp_path / "dvc.yaml").touch()
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "dvc.yaml").touch()

    assert tmp_path / "inner" == find_root(tmp_path / "inner")


def test_a_link_leads_to_the_project_itself(tmp_path):
    """The root has one name, however it was reached."""
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "dvc.yaml").touch()
    (tmp_path / "link").symlink_to("project")

    assert tmp_path / "project" == find_root(tmp_path / "link")


def test_settings_cannot_change(tmp_path):
    """What was read at the door holds for the process."""
    with pytest.raises(AttributeError):
        read_settings({}, tmp_path).namespace = "other"


@pytest.mark.parametrize("url", ["nonsense", "ftp://host", "http://", "https:///path"])
def test_a_backend_that_is_no_http_url_is_refused_at_the_door(url, tmp_path):
    """A misspelt OPENLINEAGE_URL is heard of before anything runs, and not repeated, for it may hold a password."""
    with pytest.raises(SettingsError, match="OPENLINEAGE_URL") as caught:
        read_settings({"OPENLINEAGE_URL": url}, tmp_path)

    assert f"{url!r}" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "size"),
    [("1", 1), ("4096 B", 4096), ("1KiB", 1024), ("1.5 GiB", 3 * 2**29), ("2TiB", 2 * 2**40)],
)
def test_memory_is_bytes_or_has_a_unit(tmp_path, text, size):
    """A size is read as people write it."""
    assert size == read_settings({"HEADWATER_TRAINING_MEMORY": text}, tmp_path).training_memory


@pytest.mark.parametrize("text", ["0", "-1", "2GB", "much", "1e9", "GiB", "0.1", "٣"])
def test_a_size_that_cannot_be_is_refused(tmp_path, text):
    """The message names the variable and says how to write it."""
    with pytest.raises(SettingsError, match=r"HEADWATER_TRAINING_MEMORY.*2GiB"):
        read_settings({"HEADWATER_TRAINING_MEMORY": text}, tmp_path)


@pytest.mark.parametrize("text", ["gpu", "cuda:0", "CPU"])
def test_a_device_that_is_none_is_refused(tmp_path, text):
    """The message names the variable and the devices there are."""
    with pytest.raises(SettingsError, match=r"HEADWATER_DEVICE.*auto, cpu, cuda"):
        read_settings({"HEADWATER_DEVICE": text}, tmp_path)
