import sys

from spikegraph.cli import main

if __name__ == '__main__':
    sys.exit(main())
