"""Files are written whole, or not at all."""

import pytest

from keras_attn.replacing import replacing


def test_what_fails_leaves_what_was_there(tmp_path):
    path = tmp_path / "a.json"
    path.write_text("old")
    mine = tmp_path / "unfinished_a.json"
    mine.write_text("mine")
    with pytest.raises(RuntimeError), replacing(path) as unfinished:
        unfinished.write_text("ne")
        raise RuntimeError
    assert path.read_text() == "old" and mine.read_text() == "mine"
    assert sorted(tmp_path.iterdir()) == [path, mine]


def test_two_at_once_do_not_disturb_each_other(tmp_path):
    path = tmp_path / "a.json"
    with replacing(path) as first:
        with replacing(path) as second:
            first.write_text("first")
            second.write_text("sec")
            second.write_text("second")
        assert path.read_text() == "second"
    assert path.read_text() == "first"
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_stays_and_its_target_is_replaced(tmp_path):
    target, link = tmp_path / "data" / "blob", tmp_path / "a.keras"
    target.parent.mkdir()
    target.write_text("old")
    link.symlink_to(target)
    with replacing(link) as unfinished:
        assert unfinished.name == "a.keras"  # formats go by the end
        unfinished.write_text("new")
    assert link.is_symlink() and target.read_text() == "new"


def test_a_missing_folder_is_named(tmp_path):
    path = tmp_path / "nowhere" / "a.json"
    expected = pytest.raises(FileNotFoundError, match="/a.json cannot be")
    with expected, replacing(path):
        raise AssertionError("there is nothing to write to")


def test_long_names_are_names(tmp_path):
    path = tmp_path / (250 * "a" + ".json")
    with replacing(path) as unfinished:
        unfinished.write_text("all")
    assert path.read_text() == "all"
