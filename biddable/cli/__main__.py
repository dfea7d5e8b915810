"""`python -m biddable.cli` is the same as `biddable`."""

from biddable.cli.main import main

main()
