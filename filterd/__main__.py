"""`python -m filterd`."""

from filterd.commands.entry import main

main()
