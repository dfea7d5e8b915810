"""biddable: the whole loop that turns a language model into one that follows instructions."""

__version__ = "0.1.0"
