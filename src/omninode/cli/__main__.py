"""`python -m omninode.cli`: the same as the command `omninode`."""

from omninode.cli.main import main

main()
