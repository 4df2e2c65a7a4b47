"""The commands `jmp` and `j`."""

VERSION = "0.9.0+1"
