"""The bounded tables of a search: what is used stays, what is not is forgotten in time."""

from mmactors.explore.engine.generations import Generations


def test_what_is_not_used_for_two_generations_is_forgotten():
    """And no sooner."""
    table = Generations(2)
    for key in "abcd":
        assert table.renew(key, key.upper()) is None

    assert {"c": "C", "d": "D"} == table
    assert {"a": "A", "b": "B"} == table.older
    assert table.renew("e", "E") is None
    assert table.recall("a") is None


def test_what_is_used_again_moves_over():
    """With the value that it has, whether it is asked for or taken down anew."""
    table = Generations(2)
    for key in "abc":
        table.put(key, key.upper())

    assert "A" == table.recall("a")
    assert "B" == table.renew("b", "another")
    assert "B" == table["b"]
    assert {"c": "C", "a": "A"} == table.older


def test_a_table_that_is_cleared_knows_nothing():
    """Of neither generation."""
    table = Generations(1)
    table.put("a", 1)
    table.put("b", 2)
    table.clear()

    assert table.get("b") is None
    assert table.recall("a") is None
