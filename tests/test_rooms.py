"""tools/rooms.py: a small checkout is counted right, an older layout too."""

from __future__ import annotations

import pytest

from tools.rooms import count, describe

FILES = {
    "compseg_jax/__init__.py": "",
    "compseg_jax/readers/__init__.py": "from compseg_jax.readers.cube import Cube\n",
    "compseg_jax/readers/cube.py": "class Cube: ...\n",
    "compseg_jax/store/__init__.py": "",
    "compseg_jax/store/page.py": "import compseg_jax.readers.cube\nfrom compseg_jax import readers, splits\n",
    "compseg_jax/viewer/__init__.py": "",
    "compseg_jax/viewer/page.py": (
        "def show():\n    from compseg_jax.store.page import x, y\n    from ..readers import cube\n"
    ),
    "compseg_jax/splits.py": "from compseg_jax import __version__\nfrom compseg_jax.viewer import page\n",
}


@pytest.fixture
def checkout(tmp_path):
    layout = "ROOMS = ['readers', 'splits', 'store', 'viewer']\n"
    for name, text in {**FILES, "tests/test_layout.py": layout}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def test_rooms_arrows_and_twins_of_a_checkout(checkout):
    house = count(checkout)
    assert house.rooms == {"readers": 1, "splits": 1, "store": 1, "viewer": 1}
    assert house.loose == ["splits"]
    assert dict(house.arrows) == {
        ("store", "readers"): 2,
        ("store", "splits"): 1,
        ("viewer", "store"): 1,
        ("viewer", "readers"): 1,
        ("splits", "compseg_jax"): 1,
        ("splits", "viewer"): 1,
    }
    assert dict(house.wrong) == {("splits", "compseg_jax"): 1, ("splits", "viewer"): 1}
    assert house.mutual == []
    assert house.twins == {"page.py": ["store/page.py", "viewer/page.py"]}
    assert (house.package_lines, house.test_lines) == (9, 1)
    assert "arrows between rooms: 6, import statements: 7" in describe(house)


def test_rooms_that_import_each_other_are_named(checkout):
    (checkout / "compseg_jax/readers/cube.py").write_text("from compseg_jax.store import page\n")
    assert count(checkout).mutual == [("readers", "store")]


def test_what_is_no_checkout_is_refused(checkout):
    with pytest.raises(ValueError, match=r"holds no compseg_jax/__init__\.py"):
        count(checkout / "tests")
    (checkout / "tests/test_layout.py").write_text("")
    with pytest.raises(ValueError, match="has no list ROOMS or ORDER"):
        count(checkout)
