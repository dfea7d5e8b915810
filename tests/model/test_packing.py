"""Packed rows: what sees what, where answers are predicted from, and that layout changes nothing."""

from __future__ import annotations

import pytest
import torch

from biddable.model.packing import Tree, bin_pack, pack, pad


def test_one_tree_by_hand() -> None:
    """Prompt 5 6, answers 7 8 and 9: positions 0 1 | 2 3 | 2; both answers' first tokens are predicted at the
    prompt's last position."""
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
    """20, 6, 6, 4 and 4 tokens in rows of 8: one tree makes every row 20 wide, so two rows hold all; filled
    to 8 only they would be five of 20."""
    packed = pack([Tree((), (tuple(range(n)),)) for n in (20, 6, 6, 4, 4)], 8)
    assert packed.tokens.shape == (2, 20) and packed.count == 40


def test_padded_and_its_mask() -> None:
    grid, mask = pad(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([0, 0, 1]), 2)
    assert grid.tolist() == [[1.0, 2.0], [3.0, 0.0]]
    assert mask.tolist() == [[True, True], [True, False]]


def test_empty_answer_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one token"):
        pack([Tree((1,), ((),))])


def test_the_mask_equals_a_walk_along_each_path() -> None:
    """Every token knows the list of tokens before it on its path; who stands in that list is seen, nobody
    else."""
    trees = [
        Tree((1, 2, 3), ((4, 5), (6,), (7, 8, 9))),
        Tree((), ((10, 11),)),
        Tree((12,), ((13, 14), (15, 16))),
    ]
    packed = pack(trees, row_tokens=20)
    places = {
        int(token): (r, c) for r, row in enumerate(packed.tokens) for c, token in enumerate(row) if token
    }
    seen = {token: set[int]() for token in places}
    for tree in trees:
        for answer in tree.answers:
            path = [*tree.prompt, *answer]
            for position, token in enumerate(path):
                assert int(packed.positions[places[token]]) == position
                seen[token] = set(path[: position + 1])
                for window in (1, 2, 3):
                    near = set(path[max(0, position + 1 - window) : position + 1])
                    assert columns(packed.mask(window), packed.tokens, places[token]) == near
    for token, place in places.items():
        assert columns(packed.mask(), packed.tokens, place) == seen[token]


def columns(mask: torch.Tensor, tokens: torch.Tensor, place: tuple[int, int]) -> set[int]:
    """The tokens that the one at `place` sees."""
    row, column = place
    return {int(token) for token in tokens[row][mask[row, 0, column]]}


def test_flat_fields_over_several_rows() -> None:
    """Two rows of 4. The longer tree is laid first, but answers are numbered in the order of the trees."""
    packed = pack([Tree((5,), ((6,),)), Tree((1, 2), ((3, 4),)), Tree((), ((7, 8),))], row_tokens=4)
    assert packed.tokens.tolist() == [[1, 2, 3, 4], [5, 6, 7, 8]]
    assert packed.tree.tolist() == [[1, 1, 1, 1], [0, 0, 2, 2]]
    assert packed.source.tolist() == [4, 1, 2, 6]
    assert packed.target.tolist() == [6, 3, 4, 8]
    assert packed.answer.tolist() == [0, 1, 1, 2]
    assert packed.last.tolist() == [5, 3, 7]


def test_kept_trunk_outputs_stand_where_their_tokens_do() -> None:
    def hidden(*tokens: int) -> torch.Tensor:
        return torch.tensor([[float(token), -float(token)] for token in tokens])

    trees = [
        Tree((5,), ((6,),), (hidden(5), hidden(6))),
        Tree((1, 2), ((3,), (4,)), (hidden(1, 2), hidden(3), hidden(4))),
    ]
    packed = pack(trees, row_tokens=7)
    assert packed.hidden is not None
    assert torch.equal(packed.hidden[..., 0], packed.tokens.float())
    assert torch.equal(packed.hidden[..., 1], -packed.tokens.float())
    assert pack([*trees, Tree((8,), ((9,),))]).hidden is None  # one without: all run the trunk


def test_best_fit_by_hand() -> None:
    """Rows of 10. 7 and 6 open rows with room 3 and 4; 4 fills the second, 3 the first, 1 opens a third."""
    assert bin_pack([3, 7, 1, 6, 4], 10) == [[1, 0], [3, 4], [2]]
    assert bin_pack([2, 5, 5], 4) == [[1], [2], [0]]  # a tree longer than a row makes all rows 5 wide


def test_padding_fills_behind_the_end() -> None:
    grid, mask = pad(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([1, 2, 2]), 4, fill=-9.0)
    assert grid.tolist() == [[-9, -9], [1, -9], [2, 3], [-9, -9]]
    assert mask.int().tolist() == [[0, 0], [1, 0], [1, 1], [0, 0]]
