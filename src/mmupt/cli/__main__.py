"""`python -m mmupt.cli`; torchrun starts processes so."""

from mmupt.cli import main

if __name__ == "__main__":
    main()
