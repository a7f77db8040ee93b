"""``python -m flyball``: the command, where its script is not on the path."""

from flyball.cli import main

main()
