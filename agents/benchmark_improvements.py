"""The document's name for `omninode bench`; it takes the same arguments."""

import sys

from omninode.cli.main import main

if __name__ == "__main__":
    sys.argv.insert(1, "bench")
    main()
