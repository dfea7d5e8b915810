"""Prose out of documentation: what stays, what goes, and how it is cut."""

from __future__ import annotations

import inspect

from hypothesis import given, settings
from hypothesis import strategies as st

from biddable.collect.text import docstrings as prose

NUMPYDOC = """
    Return the elements that are in both of the arrays, in the order in which the first one has them.

    The arrays are flattened before they are compared. It does not matter how often
    an element occurs; see `numpy.unique` and :func:`~numpy.lib.sort` for what to do [1]_ when it has to.

    Parameters
    ----------
    first : array_like
        The array whose elements are looked up one by one in the other one, as they are found.

    Notes
    -----
    .. versionadded:: 1.2
       It was added when the old function had become too slow for most of its users.

    .. note:: The result is a copy, so that it may be
       changed without any effect on the arrays that were given to the function.

    * The first point is a sentence that is long enough to be taken by itself as it is.
    * short point

    The value is computed as shown here, and this is the sentence before the formula:

    .. math:: x = y + 1

    It is proven in [1]_ that the order of the elements is the same as before for all of them.

    Examples
    --------
    This sentence belongs to the examples, and so it is not taken with the rest of the text.

    >>> intersect([1], [2])
    []
"""


def test_a_numpy_docstring() -> None:
    assert list(prose.paragraphs(inspect.cleandoc(NUMPYDOC))) == [
        "Return the elements that are in both of the arrays, in the order in which the first one has them.",
        "The arrays are flattened before they are compared. It does not matter how often an element occurs; "
        "see numpy.unique and sort "
        "for what to do when it has to.",
        "The result is a copy, so that it may be changed without any effect on the arrays that were given to "
        "the function.",
        "The first point is a sentence that is long enough to be taken by itself as it is.",
    ]


def test_a_help_topic_with_its_signatures_and_grammar() -> None:
    topic = (
        'The "del" statement\n*******************\n\n   del_stmt: "del" target_list\n\nDeletion is defined '
        "in the same way as assignment is, "
        'and so it is\nnot spelled out here in full detail.  It is done for a "list" and for other well-\n'
        "known types:\n\n   a = [1]\n\n"
        "clear()\n\n   Remove all of the items from the dictionary, so that it is as empty as it was at "
        "first.\n"
    )
    assert list(prose.paragraphs(topic)) == [
        "Deletion is defined in the same way as assignment is, and so it is not spelled out here in full "
        "detail.",
        "Remove all of the items from the dictionary, so that it is as empty as it was at first.",
    ]


def test_code_lists_and_shouting_are_no_prose() -> None:
    assert not prose.is_prose(
        "array float int complex object string bytes list tuple dict set frozenset range slice."
    )
    assert not prose.is_prose(
        "It is called as f(x=1, y=2) and so it is the same as the other one that was there before."
    )
    assert not prose.is_prose(
        "and this one starts in the middle of a sentence that was cut from the one before it was read."
    )
    assert not prose.is_prose(
        "The path is /usr//lib and the code is at http://example.org for all of those who want to read it."
    )
    assert prose.is_prose(
        "The order of the terms does not matter (it never did), but all of them have to be there in the end."
    )


def test_docstrings_in_the_order_of_the_source() -> None:
    source = (
        b'"""Module."""\nclass A:\n    """Class."""\n    def f(self):\n        """Method."""\ndef g():\n'
        b'    """Function."""\n'
    )
    source += (
        b'add_newdoc("numpy", "abs", """\n    Added.\n\n    More.\n    """)\nadd_newdoc("numpy", "x", '
        b'("y", "one line"))\n'
    )
    assert list(prose.docstrings(source)) == ["Module.", "Class.", "Method.", "Function.", "Added.\n\nMore."]


def test_pieces_keep_every_word_but_a_short_rest() -> None:
    paragraphs = [
        "One two three. Four five six.",
        "a" * 50 + ". B" + "b" * 60 + ". C" + "c" * 20 + ".",
        "Seven.",
    ]
    found = list(prose.pieces(paragraphs, 60))
    # 29 + 2 characters, and the second is cut at its sentence ends, 51 and 62 characters: no two of these fit
    # into 75 = 1.25 * 60, while 22 + 2 + 6 do.
    assert found == [paragraphs[0], "a" * 50 + ".", "B" + "b" * 60 + ".", "C" + "c" * 20 + ".\n\nSeven."]
    assert list(prose.pieces(["Too short."], 60)) == []


@given(
    st.lists(st.text('ab .A("', min_size=1, max_size=300).map(str.strip).filter(bool), max_size=8),
    st.integers(20, 90),
)
@settings(deadline=None)
def test_pieces_have_the_length_asked_for(paragraphs: list[str], characters: int) -> None:
    found = list(prose.pieces(paragraphs, characters))
    assert all(characters / 2 - 2 <= len(one) <= 1.25 * characters for one in found)
    kept, given_ = "".join("".join(found).split()), "".join("".join(paragraphs).split())
    at = 0
    for letter in kept:  # in order, nothing made up
        at = given_.index(letter, at) + 1


def test_sentences_for_finding_repetitions() -> None:
    text = (
        "This is a sentence that has quite a lot more than forty letters. Short one. (It ends here, but "
        "not before it has forty letters in it.)"
    )
    assert [len(one) for one in prose.sentences(text)] == [51, 43]
