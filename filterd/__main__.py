"""`python -m filterd`."""

from filterd.entry import main

main()
