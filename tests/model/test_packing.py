"""Packed rows: what sees what, where answers are predicted from, and that layout changes nothing."""

from __future__ import annotations

import pytest
import torch

from biddable.model.packing import Tree, bin_pack, pack, pad


def test_one_tree_by_hand() -> None:
    """Prompt 5 6, answers 7 8 and 9: positions 0 1 | 2 3 | 2; both answers' first tokens are predicted at the prompt's last position."""
    packed = pack([Tree((5, 6), ((7, 8), (9,)))])
    assert packed.tokens.tolist() == [[5, 6, 7, 8, 9]]
    assert packed.positions.tolist() == [[0, 1, 2, 3, 2]]
    assert packed.branch.tolist() == [[0, 0, 1, 1, 2]]
    assert packed.source.tolist() == [1, 2, 1]
    assert packed.target.tolist() == [7, 8, 9]
    assert packed.answer.tolist() == [0, 0, 1]
    assert packed.last.tolist() == [3, 4]
    assert packed.mask()[0, 0].int().tolist() == [
        [1, 0, 0, 0, 0],
        [1, 1, 0, 0, 0],
        [1, 1, 1, 0, 0],
        [1, 1, 1, 1, 0],
        [1, 1, 0, 0, 1],
    ]
    assert packed.mask(window=2)[0, 0, 3].int().tolist() == [0, 0, 1, 1, 0]  # position 3 sees 2 and 3
    assert packed.mask(window=2)[0, 0, 4].int().tolist() == [0, 1, 0, 0, 1]  # position 2 sees 1 and 2


def test_running_text_counts_all_but_its_first_token() -> None:
    packed = pack([Tree((), ((4, 5, 6),))])
    assert packed.source.tolist() == [0, 1]
    assert packed.target.tolist() == [5, 6]


def test_trees_in_one_row_do_not_see_each_other() -> None:
    packed = pack([Tree((1, 2), ((3,),)), Tree((4,), ((5,),))], row_tokens=8)
    assert packed.tokens.shape == (1, 5)
    sees = packed.mask()[0, 0]
    assert not sees[packed.tree[0] == 0][:, packed.tree[0] == 1].any()
    assert not sees[packed.tree[0] == 1][:, packed.tree[0] == 0].any()
    assert sees.diagonal().all()  # every place sees itself: no row of a softmax is empty


def test_place_fills_rows_without_overflow() -> None:
    rows = bin_pack([5, 9, 3, 2, 7], 10)
    assert sorted(i for row in rows for i in row) == [0, 1, 2, 3, 4]
    assert all(sum([5, 9, 3, 2, 7][i] for i in row) <= 10 for row in rows)


def test_rows_are_filled_as_wide_as_the_longest_tree_makes_them() -> None:
    """20, 6, 6, 4 and 4 tokens in rows of 8: one tree makes every row 20 wide, so two rows hold all; filled to 8 only they would be five of 20."""
    packed = pack([Tree((), (tuple(range(n)),)) for n in (20, 6, 6, 4, 4)], 8)
    assert packed.tokens.shape == (2, 20) and packed.count == 40


def test_padded_and_its_mask() -> None:
    grid, mask = pad(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([0, 0, 1]), 2)
    assert grid.tolist() == [[1.0, 2.0], [3.0, 0.0]]
    assert mask.tolist() == [[True, True], [True, False]]


def test_empty_answer_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one token"):
        pack([Tree((1,), ((),))])
