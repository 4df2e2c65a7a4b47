"""Test a board with pytest: fixtures, contract checks and a virtual board."""
