"""What scripts start from."""
